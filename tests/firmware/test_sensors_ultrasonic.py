"""A02YYUW, JSN-SR04T and the loop detector: drivers on MicroPython against their models."""

import random

import pytest
from citynode.virtual.chips.a02yyuw import A02YYUW
from citynode.virtual.chips.jsnsr04t import JSNSR04T
from citynode.virtual.chips.loop import Loop
from node.sensors import a02yyuw
from node.sensors.frames import Scanner
from sensors_bench import MS, PULSES, Bench
from test_sensors_lidar import CLOCK, Bytes
from test_sensors_radar import HEAR, rows

# Driver, model, its options, nearest (mm), what it says without an echo.
CHIPS = {
    "a02yyuw": ("A02YYUW", A02YYUW, {}, 30, 0xFFFD),
    "jsnsr04t": ("JSNSR04T", JSNSR04T, {}, 200, 0),
    "jsnsr04t_bare": ("JSNSR04T", JSNSR04T, {"bare": True}, 200, 0),
    "jsnsr04t_asked": ("JSNSR04T", JSNSR04T, {"ask": 0x55}, 200, 0),
    "jsnsr04t_aj": ("JSNSR04T", JSNSR04T, {"ask": 0x01, "bare": True}, 200, 0),
}
EVERY = pytest.mark.parametrize("name", CHIPS)


class Scene:
    """A bench with one sensor, and what is before it."""

    def __init__(self, name):
        driver, model, options, self.nearest, self.none = CHIPS[name]
        self.seen = (2_345.0, 0)
        self.bench = Bench()
        self.bench.on("seen", lambda mm: setattr(self, "seen", (mm, 0)))
        self.chip = self.bench.connect(model(self.bench.time, lambda ns: self.seen, **options))
        self.bench.on("later", self.later)
        self.bench.on("other", lambda: setattr(self.chip, "bare", not self.chip.bare))
        self.start = f"""{CLOCK}{HEAR}
from node.sensors.{name.split("_")[0]} import {driver}
line = uart(9600)
make = lambda: {driver}(line, clock)
def samples(chip, ms, each=100):
    return hear(chip, ms, each, lambda chip: (chip.distance_mm, int(chip.valid)))
"""

    def later(self, ms):
        self.bench.time.call_later(ms / 1e3, self.chip.unplug)

    def run(self, script):
        return self.bench.run(self.start + script)


@pytest.fixture
def scene(request):
    scene = Scene(request.getfixturevalue("name"))
    with scene.bench:
        yield scene


@EVERY
def test_distances_over_the_reach(scene, name):
    near = scene.nearest
    cases = {
        near: (near, 1), near - 10: (near, 1), 255: (255, 1), 256: (256, 1), 4_500: (4_500, 1),
        4_520: (scene.none, 0), 0: (scene.none, 0), 2_000: (2_000, 1),
    }  # fmt: skip
    lines = scene.run(f"""
chip = make()
samples(chip, 1500)
for mm in {[*cases]!r}:
    do("seen", mm)
    samples(chip, 250)
    print(samples(chip, 1000))
if {name == "a02yyuw"}:
    do("fault", "interfered", True)
    samples(chip, 200)
    print(set(samples(chip, 500)))
""")
    for want, line in zip(cases.values(), lines, strict=False):
        got = rows(line)
        assert 6 <= len(got) <= 11
        assert set(got) == {want}
    assert lines[len(cases) :] == (["{(65534, 0)}"] if name == "a02yyuw" else [])


@EVERY
def test_dead_damaged_noisy_pulled_out_or_run_over_and_back(scene, name):
    lines = scene.run("""
chip = make()
samples(chip, 1500)
for fault in ("dead", "bad-sum"):
    do("fault", fault, True)
    samples(chip, 100)
    print(samples(chip, 3300))
    do("fault", fault, False)
    samples(chip, 1600)
    print(set(samples(chip, 500)))
do("fault", "noisy", True)
print(set(samples(chip, 1000)))
do("fault", "noisy", False)
for ms in (97, 98.5):
    while not chip.read():
        clock.wait_ms(1)
    do("later", ms)
    samples(chip, 150)
    print(set(samples(chip, 2300)))
    do("power_up")
    samples(chip, 2500)
    print(set(samples(chip, 500)))
clock.wait_ms(60000)  # what has come in that time is old
do("seen", 600)
clock.wait_ms(110)
print(set(samples(chip, 1000)))
""")
    right = {(2_345, 1)}
    for line in (lines[0], lines[2]):
        assert rows(line) in (["timeout"] * 3, ["timeout"] * 4)
    for place in (1, 3, 4, 6, 8):
        assert rows(lines[place]) == right, (place, lines[place])
    for place in (5, 7):
        assert "timeout" in rows(lines[place])
        assert rows(lines[place]) <= {"timeout", (2_345, 1)}
    assert (600, 1) in rows(lines[9])
    assert rows(lines[9]) <= {(600, 1), (2_345, 1)}


@pytest.mark.parametrize("name", ["jsnsr04t_bare", "jsnsr04t"])
def test_jsn_replaced_by_one_with_the_other_sum(scene, name):
    lines = scene.run("""
chip = make()
samples(chip, 1500)
do("other")
samples(chip, 2500)
print(set(samples(chip, 500)))
""")
    assert rows(lines[0]) == {(2_345, 1)}


def test_frames_of_the_manuals():
    # JSN-SR04T data: FF 07 A1 A7 are 1953 mm.
    frame = bytes.fromhex("ff07a1a7")
    assert a02yyuw.judge(frame, 4) == 4
    assert [a02yyuw.judge(frame, count) for count in (1, 2, 3)] == [0, 0, 0]
    for place in range(4):
        damaged = bytearray(frame)
        damaged[place] ^= 0x02
        assert a02yyuw.judge(damaged, 4) == -1
    # A distance may have the head's byte in it.
    for mm in (0x00FF, 0x01FF, 0x0FFF):
        body = b"\xff" + mm.to_bytes(2, "big")
        each = body + bytes((sum(body) & 0xFF,))
        scanner = Scanner(Bytes(each[2:] + each * 20), 4, a02yyuw.judge)
        found = []
        while scanner.poll():
            found.append(bytes(scanner.frame))
        assert found.count(each) >= 19


# -- loop detector -----------------------------------------------------------------------------

LOOP = f"""{CLOCK}
from node.sensors.loop import Loop
chip = Loop(Pin({PULSES}, Pin.IN, Pin.PULL_UP), clock)
def hear(ms, each=1000):
    # Interrupts come when they happen, and not all at the end.
    rows, end = [], now() + ms
    due = now() + each
    while now() < end:
        do("next", min(end, due) - now())
        if now() >= due:
            due += each
            try:
                while chip.read():
                    rows.append((chip.t_ms, chip.occupied_ms))
            except SensorError as error:
                rows.append(error.kind)
    return rows
"""


@pytest.mark.parametrize("faults", [(), ("bounces",)])
def test_loop_counts_each_vehicle_once(faults):
    with Bench() as bench:
        rng = random.Random(4)
        loop = Loop(bench.time, lambda level: bench.pins.drive(PULSES, level), rng)
        loop.faults.update(faults)
        true, at = [], bench.time.ns // MS + 500
        for _ in range(30):
            stays = rng.randrange(60, 1_500)
            loop.passes(at * MS, stays * MS)
            true.append(((at + stays // 2) & 0x3FFFFFFF, stays))
            at += stays + rng.randrange(300, 4_000)
        lines = bench.run(f"{LOOP}print(hear({at - bench.time.ns // MS + 2_000}))\n"
                          "print(chip.lost, chip.short)\n")  # fmt: skip
        got = rows(lines[0])
        assert len(got) == loop.vehicles == 30
        for (t, stays), (when, occupied) in zip(got, true, strict=True):
            assert abs(t - when) <= 5
            assert abs(stays - occupied) <= 7
        assert lines[1] == "0 0"


def test_loop_that_hangs_and_one_that_flickers():
    with Bench() as bench:
        loop = Loop(bench.time, lambda level: bench.pins.drive(PULSES, level), random.Random(1))
        bench.watch_faults(loop)
        bench.on("pass", lambda after, ms: loop.passes(
            bench.time.ns + after * MS, ms * MS))  # fmt: skip
        bench.on("open", lambda: bench.pins.drive(PULSES, 1))
        lines = bench.run(
            LOOP
            + """
for place in range(50):
    do("pass", 100 + 60 * place, 10)
print(hear(5000), chip.short, chip.lost)
do("fault", "stuck", True)
do("pass", 100, 500)
print(hear(1900000, 100000))
do("open")
do("fault", "stuck", False)
rows = hear(2000)
print(len(rows), rows[0][1] // 200000)
do("pass", 100, 500)
print([row[1] for row in hear(3000)])
# Nobody has read for long: what has no room is counted.
for place in range(50):
    do("pass", 500 * place, 200)
print(len(hear(60000, 30000)) + chip.lost // 2)
"""
        )
        assert lines == ["[] 50 0", "['skipped', 'skipped']", "1 9", "[500]", "50"]

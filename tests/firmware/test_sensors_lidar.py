"""TF-Luna, TF02-Pro, TFmini: the drivers on MicroPython against the models, and resync."""

import random
from types import SimpleNamespace

import pytest
from citynode.virtual.chips.tf02pro import TF02Pro
from citynode.virtual.chips.tfluna import TFLuna
from citynode.virtual.chips.tfmini import TFMini
from node.sensors import benewake
from node.sensors.frames import Scanner
from node.sensors.stream import Stream
from sensors_bench import MS, Bench, Bytes

# Driver, model, options of the model, reach (mm), what it sends for a weak and too strong an echo.
CHIPS = {
    "tfluna": ("TFLuna", TFLuna, {}, 8_000, (0, 0)),
    "tf02pro": ("TF02Pro", TF02Pro, {}, 40_000, (45_000, 45_000)),
    "tfmini": ("TFMini", TFMini, {}, 12_000, (655_350, 655_340)),
    "tfmini_first": ("TFMini", TFMini, {"first": True}, 12_000, (655_350, 655_340)),
}
EVERY = pytest.mark.parametrize("name", CHIPS)
CLOCK = """
class clock(clock):
    @staticmethod
    def ticks_add(ticks, ms):
        return (ticks + ms) & 0x3fffffff
"""
SAMPLES = """
def samples(chip, ms, each=10):
    # What comes in some ms, by a program that looks every few.
    rows = []
    for _ in range(ms // each):
        clock.wait_ms(each)
        while chip.read():
            rows.append((chip.t_ms, chip.distance_mm, chip.strength, int(chip.valid)))
    return rows

def told(chip, ms, each=10):
    # What it raises in some ms.
    kinds = []
    for _ in range(ms // each):
        clock.wait_ms(each)
        said = kind(chip.read)
        if said:
            kinds.append(said)
    return kinds
"""


class Scene:
    """A bench with one lidar, and what is before it."""

    def __init__(self, bench, name, **options):
        driver, model, given, self.reach, self.none = CHIPS[name]
        self.seen = (3_210.0, 1_200)
        self.bench = bench
        bench.on("seen", lambda *seen: setattr(self, "seen", seen))
        look = lambda ns: self.seen(ns) if callable(self.seen) else self.seen  # noqa: E731
        self.chip = bench.connect(model(bench.time, look, **given, **options))
        module = name.split("_")[0]
        self.start = f"""{CLOCK}{SAMPLES}
from node.sensors.{module} import {driver}
line = uart(115200)
make = lambda: {driver}(line, clock)
"""

    def run(self, script):
        return self.bench.run(self.start + script)


@pytest.fixture
def scene(request):
    with Bench() as bench:
        yield Scene(bench, request.getfixturevalue("name"))


def rows(line):
    return eval(line)  # a list of tuples of numbers that the script has printed


@EVERY
def test_distances_over_the_reach_and_what_is_none(scene, name):
    cases = [
        (210.0, 100), (3_214.0, 65_534), (scene.reach - 10.0, 5_000),  # valid ones
        (scene.reach + 20.0, 5_000), (3_000.0, 99), (3_000.0, 59), (3_000.0, 65_535), (0.0, 3),
    ]  # fmt: skip
    lines = scene.run(f"""
chip = make()
samples(chip, 100)
for seen in {cases!r}:
    do("seen", *seen)
    samples(chip, 30)
    print(samples(chip, 100))
""")
    for (mm, strength), line in zip(cases, lines, strict=True):
        got = rows(line)
        assert 9 <= len(got) <= 11
        nothing = mm == 0 or strength < scene.chip.weakest or strength == 65_535
        want = scene.none[strength == 65_535] if nothing else round(mm / 10) * 10
        for _, distance, told, valid in got:
            assert (distance, told) == (want, strength)
            assert valid == (100 <= strength < 65_535 and 0 < mm < scene.reach)


@pytest.mark.parametrize("name", ["tf02pro", "tfmini"])
def test_times_of_samples_that_have_waited(scene, name):
    # What is before it goes away 1 cm each ms: its distance tells when it was taken.
    began = scene.bench.time.ns
    scene.seen = lambda ns: (10 * (ns - began) / MS, 500)
    scene.bench.on("began", lambda: (began // MS) & 0x3FFFFFFF)
    lines = scene.run("""
chip = make()
samples(chip, 100)
for each in (10, 7, 60):
    rows = samples(chip, 240, each)
    began = do("began")
    late = [t - began - mm // 10 for t, mm, _, _ in rows]
    steps = [b[0] - a[0] for a, b in zip(rows, rows[1:])]
    print(len(rows), min(late), max(late), min(steps), max(steps))
clock.wait_ms(60000)  # the buffer has run over: what is in it is old
do("seen", 2000., 700)
clock.wait_ms(15)
print({row[1:] for row in samples(chip, 50)})
""")
    for line in lines[:3]:
        count, early, late, least, most = map(int, line.split())
        assert 22 <= count <= 25
        assert early >= -1
        assert late <= 12
        assert least >= 0
        assert most <= 20
    assert rows(lines[3]) == {(2_000, 700, 1)}


@pytest.mark.parametrize("name", ["tf02pro", "tfmini", "tfmini_first"])
def test_dead_damaged_or_noisy_and_back(scene, name):
    lines = scene.run("""
chip = make()
for fault in ("dead", "bad-sum"):
    do("fault", fault, True)
    samples(chip, 20)
    print(told(chip, 900), kind(make))
    do("fault", fault, False)
    print([row[1:] for row in samples(chip, 100)][-5:])
do("fault", "noisy", True)
chip = make()
print(len(samples(chip, 500)), {row[1:] for row in samples(chip, 300)})
do("fault", "dazzled", True)
samples(chip, 50)
print({row[1:] for row in samples(chip, 200)})
""")
    right = (3_210, 1_200, 1)
    # Once for each 200 ms, so that it floods nobody.
    for line in (lines[0], lines[2]):
        assert line in ("['timeout', 'timeout', 'timeout', 'timeout'] timeout",
                        "['timeout', 'timeout', 'timeout'] timeout")  # fmt: skip
    assert rows(lines[1]) == rows(lines[3]) == [right] * 5
    count, seen = lines[4].split(maxsplit=1)
    assert int(count) >= 48
    assert rows(seen) == {right}
    assert rows(lines[5]) == {(3_210, 65_535, 0)}


@pytest.mark.parametrize("name", ["tfluna", "tfmini_first"])
def test_pulled_out_in_the_middle_of_a_frame(scene, name):
    def later(ms):
        scene.bench.time.call_later(ms / 1e3, scene.chip.unplug)

    scene.bench.on("later", later)
    lines = scene.run("""
chip = make()
for tenths in (0, 2, 5, 7, 9):
    while not chip.read():
        clock.wait_ms(1)
    do("later", 9 + tenths / 10.)
    clock.wait_ms(20)
    got = samples(chip, 20)
    print(told(chip, 300), {row[1:] for row in got})
    do("power_up")
    told(chip, 200)
    print({row[1:] for row in samples(chip, 100)})
""")
    assert len(lines) == 10
    for out, back in zip(lines[0::2], lines[1::2], strict=True):
        kinds, seen = out.split("] ")
        assert kinds in ("['timeout'", "['timeout', 'timeout'")
        assert seen in ("set()", "{(3210, 1200, 1)}")
        assert rows(back) == {(3_210, 1_200, 1)}


@pytest.mark.parametrize("name", ["tfluna", "tf02pro"])
def test_what_was_saved_in_it_is_put_right(name):
    saved = {0x03: 10, 0x05: 6, 0x07: 0}  # 10 Hz, in mm, silent
    with Bench() as bench:
        scene = Scene(bench, name, saved=saved)
        lines = scene.run("""
chip = make()
print([len(samples(chip, 200)), samples(chip, 50)[-1][1:]])
do("power_up")
print(told(chip, 300))
print([len(samples(chip, 200)), samples(chip, 50)[-1][1:]])
do("fault", "deaf", True)
print(kind(make))
""")
        for line in (lines[0], lines[2]):
            count, row = rows(line)
            assert count in (19, 20, 21)
            assert row == (3_210, 1_200, 1)
        assert lines[1] == "['timeout']"
        assert lines[3] == "timeout"
        assert scene.chip.saved[0x03] == 10  # what is saved is not worn out by each start


def test_a_vehicle_goes_through_the_driver_into_its_detector():
    with Bench() as bench:
        scene = Scene(bench, "tf02pro")
        begins = bench.time.ns + 4_000 * MS
        scene.seen = lambda ns: (2_600.0, 900) if 0 <= ns - begins < 400 * MS else (12_000.0, 2_500)
        lines = scene.run("""
from node.traffic import kinds
chip = make()
detector = kinds.make("tf02pro", "across", {"lane": 3000})
end = now() + 6000
while now() < end:
    clock.wait_ms(30)
    while chip.read():
        gone = detector.feed(chip.t_ms, chip.distance_mm, chip.strength)
        if gone:
            print(gone.t_ms, gone.occupied_ms)
""")
        assert len(lines) == 1
        middle, occupied = map(int, lines[0].split())
        assert middle == pytest.approx(begins // MS + 200, abs=20)
        assert occupied == pytest.approx(400, abs=20)


def test_a_sample_leaves_nothing_on_the_heap():
    with Bench() as bench:
        lines = Scene(bench, "tfluna").run("""
import gc
chip = make()
class Full:
    frame = bytes((0x59, 0x59, 0x41, 0x01, 0xb0, 0x04, 0x00, 0x09, 0xb1))
    def any(self):
        return 9
    def readinto(self, buffer):
        for i in range(9):
            buffer[i] = self.frame[i]
        return 9
class still:
    @staticmethod
    def ticks_ms():
        return 5
    @staticmethod
    def ticks_diff(a, b):
        return 0
    @staticmethod
    def ticks_add(a, b):
        return 5
chip._stream._uart = Full()
chip._stream._clock = still
gc.collect()
gc.disable()
assert chip.read()
before = gc.mem_alloc()
for _ in range(100):
    chip.read()
print(gc.mem_alloc() - before, chip.distance_mm, chip.strength)
""")
        assert lines == ["0 3210 1200"]


# -- frames ------------------------------------------------------------------------------------


def test_commands_and_frames_of_the_manual():
    # TF-Luna manual A05, appendix: version, 100 Hz, cm, output on.
    for code, values, sent in (
        (1, (), "5a04015f"),
        (3, (100, 0), "5a06036400c7"),
        (5, (1,), "5a05050165"),
        (7, (1,), "5a05070167"),
    ):
        assert benewake.command(code, *values) == bytes.fromhex(sent)
        assert benewake.judge(bytes.fromhex(sent), len(sent) // 2) == len(sent) // 2
    frame = bytes((0x59, 0x59, 0x59, 0x00, 0x59, 0x59, 0x00, 0x09))
    frame += bytes((sum(frame) & 0xFF,))
    assert benewake.judge(frame, 9) == 9
    assert [benewake.judge(frame, count) for count in range(1, 9)] == [0] * 8
    for place in range(9):
        damaged = bytearray(frame)
        damaged[place] ^= 0x08
        assert benewake.judge(damaged, 9) != 9


def test_times_never_go_back():
    frame = bytes.fromhex("595941 01b004 0009b1")
    ms = [100]
    clock = SimpleNamespace(
        ticks_ms=lambda: ms[0], ticks_diff=lambda a, b: a - b, ticks_add=lambda a, b: a + b
    )
    uart = Bytes(frame)
    stream = Stream(uart, clock, 9, benewake.judge, 10, 200)
    got = []
    # Late by up to three frames, and not later again.
    for now, count in ((105, 0), (108, 2), (140, 3), (142, 0)):
        uart.data += frame * count
        ms[0] = now
        while stream.next():
            got.append(stream.t_ms)
    assert got == [105, 105, 108, 120, 130, 140]


@pytest.mark.parametrize("seed", range(4))
def test_every_frame_is_found_behind_noise(seed):
    rng = random.Random(seed)
    data, frames = b"", []
    for _ in range(60):
        body = b"\x59\x59" + rng.randbytes(6)
        frames.append(body + bytes((sum(body) & 0xFF,)))
        noise = bytes(rng.choice(b"\x59\x5a\x04\x00") for _ in range(rng.randrange(5)))
        data += (noise if rng.random() < 0.5 else b"") + frames[-1]
    scanner = Scanner(Bytes(data + bytes(9)), 9, benewake.judge)
    found = []
    while length := scanner.poll():
        found.append(bytes(scanner.frame[:length]))
    # Noise that ends as a frame begins, and by chance has a sum that fits, may cost a few.
    assert len([frame for frame in frames if frame in found]) >= 57
    assert len([frame for frame in found if frame not in frames]) <= 3

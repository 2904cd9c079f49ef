"""OPS243 and LD2410: the drivers on MicroPython against the models, and the makers' frames."""

import itertools
import json
import random

import pytest
from citynode.virtual.chips.ld2410 import LD2410
from citynode.virtual.chips.ops243 import OPS243
from node.sensors import ld2410, ops243
from node.sensors.frames import Scanner
from sensors_bench import MS, Bench
from test_sensors_lidar import CLOCK, Bytes

HEAR = """
def hear(chip, ms, each=50, what=lambda chip: chip):
    # What comes, and what is raised, in some ms.
    rows = []
    for _ in range(ms // each):
        clock.wait_ms(each)
        try:
            while chip.read():
                rows.append(what(chip))
        except SensorError as error:
            rows.append(error.kind)
    return rows
"""
RADAR = f"""{CLOCK}{HEAR}
from node.sensors.ops243 import OPS243
line = uart(19200)
make = lambda: OPS243(line, clock)
def reports(chip, ms, each=50):
    return hear(chip, ms, each, lambda chip: chip.targets)
"""
PRESENCE = f"""{CLOCK}{HEAR}
from node.sensors.ld2410 import LD2410
line = uart(256000)
make = lambda: LD2410(line, clock)
def samples(chip, ms, each=50):
    return hear(chip, ms, each, lambda chip: (
        chip.moving_mm if chip.moving else None, chip.moving_energy,
        chip.still_mm if chip.still else None, chip.still_energy, chip.distance_mm))
"""


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


class Seen:
    """What is before a chip, which the script sets."""

    def __init__(self, bench, what):
        self.what = what
        bench.on("seen", self.set)

    def set(self, *what):
        self.what = [None if row is None else tuple(row) for row in what]

    def __call__(self, ns):
        return self.what(ns) if callable(self.what) else self.what


def rows(line):
    return eval(line)  # what the script has printed: lists and tuples of numbers


# -- OPS243 ------------------------------------------------------------------------------------


def radar(bench, what=((13_890, 2_400),), **options):
    seen = Seen(bench, what)
    chip = bench.connect(OPS243(bench.time, seen, **options))
    bench.time.advance(1_200)
    return chip


def near(speeds, *true):
    return speeds == tuple(
        (pytest.approx(mms, abs=36), magnitude) for mms, magnitude in true if magnitude
    )


@pytest.mark.parametrize("numbers", [False, True])
def test_radar_speeds_and_magnitudes(bench, numbers):
    chip = radar(bench)
    if numbers:
        chip.faults.add("numbers")
    cases = [
        [(13_890, 2_400)], [(-8_333, 77)], [(400, 5), (-60_000, 123_456)], [],
        [(9_000, 1), (-1_000, 30), (5_000, 20)],
    ]  # fmt: skip
    lines = bench.run(
        RADAR
        + f"""
chip = make()
for case in {cases!r}:
    do("seen", *case)
    reports(chip, 300)
    print(reports(chip, 1000))
print(chip.strange)
"""
    )
    for case, line in zip(cases, lines, strict=False):
        got = rows(line)
        assert 9 <= len(got) <= 11
        strongest = sorted(case, key=lambda row: -row[1])[:2]
        assert all(near(report, *strongest) for report in got), (case, got)
    assert lines[5] == "0"


def test_radar_times_of_its_reports(bench):
    radar(bench)
    lines = bench.run(
        RADAR
        + """
chip = make()
print(hear(chip, 3000, 20, lambda chip: chip.t_ms))
"""
    )
    times = rows(lines[0])
    assert len(times) == pytest.approx(29, abs=1)
    assert all(80 <= b - a <= 140 for a, b in itertools.pairwise(times))


def test_radar_other_units_saved_and_after_a_power_cut(bench):
    # Saved by somebody: plain numbers in mph; JSON in mph, with and without its unit.
    chip = radar(bench)
    script = """
do("power_up")
clock.wait_ms(1200)
chip = make()
reports(chip, 300)
print(set(reports(chip, 500)))
do("power_up")
print(set(reports(chip, 3000, 70)))
before = do("heard")
print(set(reports(chip, 1500)))
assert do("heard") == before  # it is told once, and not for ever
do("units")
print(set(reports(chip, 2000)))
"""
    heard = []
    hear = chip.hear
    chip.hear = lambda data: (heard.append(data), hear(data))
    bench.on("heard", lambda: len(heard))
    bench.on("units", lambda: chip.settings.update(unit="UK", on="JMU"))
    lines = []
    for on in ("", "JMU", "JM", "J"):
        chip.saved |= {"unit": "US", "on": on}
        lines += bench.run(RADAR + script)
    assert len(lines) == 16
    for line in lines:
        # Never a speed in the wrong unit, and right ones in the end.
        assert all(near(report, (13_890, 2_400)) for report in rows(line))
        assert rows(line)


def test_radar_dead_damaged_noisy_deaf_and_another(bench):
    chip = radar(bench)
    bench.on("product", lambda name: setattr(chip, "product", name))
    lines = bench.run(
        RADAR
        + """
chip = make()
do("fault", "dead", True)
reports(chip, 200)
print([row for row in reports(chip, 4500)], kind(make))
do("fault", "dead", False)
print(len(set(reports(chip, 1000)[-5:])))
do("fault", "bad-sum", True)
reports(chip, 100)
before = chip.strange
print(reports(chip, 1000), chip.strange - before > 5, kind(make))
do("fault", "bad-sum", False)
print(len(set(reports(chip, 1000)[-5:])))
do("fault", "noisy", True)
chip = make()
print(len(reports(chip, 1000)) > 7)
do("fault", "noisy", False)
do("fault", "deaf", True)
print(kind(make))
do("fault", "deaf", False)
do("product", "OPS241-B")
print(kind(make))
"""
    )
    assert lines[0] == "['timeout', 'timeout'] timeout"
    assert lines[1] == lines[3] == "1"
    assert lines[2] == "[] True timeout"
    assert lines[4] == "True"
    assert lines[5:] == ["timeout", "id"]


def test_radar_pulled_out_and_a_buffer_that_has_run_over(bench):
    radar(bench)
    lines = bench.run(
        RADAR
        + """
chip = make()
for _ in range(4):
    while not chip.read():
        clock.wait_ms(5)
    clock.wait_ms(77 + 3 * _)
    do("unplug")
    print(set(reports(chip, 2500)))
    do("power_up")
    reports(chip, 2500)
    print(set(reports(chip, 500)))
clock.wait_ms(60000)
do("seen", (5000, 60))
clock.wait_ms(120)
print(reports(chip, 1000)[-1:], chip.read())
"""
    )
    for out, back in zip(lines[0:8:2], lines[1:8:2], strict=True):
        assert "timeout" in out
        assert all(row == "timeout" or near(row, (13_890, 2_400)) for row in rows(out))
        assert all(near(row, (13_890, 2_400)) for row in rows(back))
        assert rows(back)
    last, more = lines[8].rsplit(" ", 1)
    assert near(rows(last)[0], (5_000, 60))
    assert more == "False"


def test_a_vehicle_goes_through_the_driver_into_its_detector(bench):
    begins = bench.time.ns + 5_000 * MS
    # It comes up to the radar and is gone; its echo grows.
    radar(
        bench,
        lambda ns: (
            [(13_500, 200 + (ns - begins) // (4 * MS))] if 0 <= ns - begins < 3_000 * MS else []
        ),
    )
    lines = bench.run(
        RADAR
        + """
from node.traffic import kinds
chip = make()
detector = kinds.make("ops243", "", {"angle": 15})
end = now() + 12000
while now() < end:
    clock.wait_ms(50)
    while chip.read():
        gone = detector.feed(chip.t_ms, chip.targets)
        if gone:
            print(gone.direction, gone.speed_mms)
"""
    )
    assert len(lines) == 1
    direction, speed = map(int, lines[0].split())
    assert direction == 1
    assert speed == pytest.approx(13_500, rel=0.02)


def test_radar_lines():
    # User manual: a speed of 0.58 m/s; AN-010: lists where more than one report is asked for.
    for text, found in (
        ('{"magnitude":"24.0","speed":"0.58"}', ((580, 24),)),
        ('{"unit":"mps","magnitude":24.6,"speed":-13.89}', ((-13_890, 24),)),
        ('{"magnitude":["9","8"],"speed":["1.5","-2.25"]}', ((1_500, 9), (-2_250, 8))),
        ('{"magnitude":"0","speed":"0.0"}', ()),
        ('{"magnitude":[],"speed":[]}', ()),
        ('{"speed":"0.00"}', ()),
    ):
        assert ops243.targets(json.loads(text)) == found
    for text in (
        '{"speed":"1.0"}', '{"magnitude":"1"}', '{"magnitude":["1"],"speed":["1","2"]}', "{}",
        '{"magnitude":"1","speed":"1e9"}', '{"magnitude":"1","speed":"nan"}',
        '{"magnitude":"-1","speed":"2"}', '{"magnitude":{},"speed":{}}',
        '{"magnitude":null,"speed":null}', '{"magnitude":"a","speed":"b"}',
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError, KeyError)):
            ops243.targets(json.loads(text))
    text = b"x" * 500 + b"\n{1}\r\n\r\n" + b"y" * 160 + b"\n" + b"z" * 161 + b"\nlast\r\nhalf"
    lines = ops243.Lines(Bytes(text))
    assert [lines.next() for _ in range(4)] == [b"{1}", b"y" * 160, b"last", None]
    # The rest of a line that was thrown away is no line.
    lines = ops243.Lines(uart := Bytes(b"x" * 40 + b'{"speed":"1'))
    lines.flush()
    uart.data = b'3.9","magnitude":"5"}\n{2}\n'
    assert [lines.next() for _ in range(2)] == [b"{2}", None]


# -- LD2410 ------------------------------------------------------------------------------------


def presence(bench):
    seen = Seen(bench, ((2_340.0, 60), None))
    chip = bench.connect(LD2410(bench.time, seen))
    bench.on("state", lambda: (chip.enabled, chip.engineering))
    bench.on("engineer", lambda: setattr(chip, "engineering", True))
    bench.time.advance(400)
    return chip


def test_presence_over_its_range(bench):
    presence(bench)
    cases = [
        ((2_340, 60), None), (None, (755, 100)), ((5_990, 20), (3_000, 77)),
        ((1_500, 33), (1_510, 44)), (None, None),
    ]  # fmt: skip
    lines = bench.run(
        PRESENCE
        + f"""
do("engineer")  # somebody left it so
chip = make()
print(do("state"))
for long in (False, True):
    for case in {cases!r}:
        do("seen", *case)
        samples(chip, 150)
        print(samples(chip, 1000))
    do("engineer")
"""
    )
    assert rows(lines[0]) in ([False, False], (False, False))
    for case, line in zip(cases * 2, lines[1:], strict=True):
        got = rows(line)
        assert 9 <= len(got) <= 11
        moving, still = case
        want = (
            moving and round(moving[0] / 10) * 10, moving[1] if moving else 0,
            still and round(still[0] / 10) * 10, still[1] if still else 0,
            min(round(each[0] / 10) * 10 for each in case if each) if moving or still else 0,
        )  # fmt: skip
        assert set(got) == {want}


def test_presence_dead_damaged_noisy_refusing_and_another(bench):
    presence(bench)
    lines = bench.run(
        PRESENCE
        + """
chip = make()
for fault in ("dead", "bad-sum"):
    do("fault", fault, True)
    samples(chip, 100)
    print(samples(chip, 2500), kind(make))
    do("fault", fault, False)
    samples(chip, 1300)
    print(len(samples(chip, 1000)))
do("fault", "noisy", True)
chip = make()
print(len(samples(chip, 1000)) > 8)
do("fault", "noisy", False)
for fault in ("other-id", "refuses"):
    do("fault", fault, True)
    print(kind(make), do("state")[0])
    do("fault", fault, False)
# Left in the middle of commands by a reset of the node: it says nothing until they are ended.
line.write(bytes.fromhex("fdfcfbfa0400ff00010004030201"))
said = samples(chip, 1500)
print(said[-1] != "timeout", "timeout" in said)
"""
    )
    assert lines[0] == lines[2] == "['timeout', 'timeout'] timeout"
    assert all(int(lines[i]) in (9, 10, 11) for i in (1, 3))
    assert lines[4:] == ["True", "id False", "refused False", "True True"]


def test_presence_pulled_out_and_overruns(bench):
    chip = presence(bench)

    def later(ms):
        bench.time.call_later(ms / 1e3, chip.unplug)

    bench.on("later", later)
    lines = bench.run(
        PRESENCE
        + """
chip = make()
what = lambda chip: (chip.moving_mm, chip.still)
for tenths in range(8):
    while not chip.read():
        clock.wait_ms(1)
    do("later", 99 + tenths / 8)
    clock.wait_ms(150)
    print(set(hear(chip, 1200, 50, what)))
    do("power_up")
    hear(chip, 600)
    print(set(hear(chip, 300, 50, what)))
# A buffer that has run over in the middle of a frame, which has no sum: two halves of two.
clock.wait_ms(90)
hear(chip, 50)
head, tail = bytes.fromhex("f4f3f2f10d0002aa01"), bytes.fromhex("00000000005500f8f7f6f5")
def frame(mm, energy):
    return head + bytes((mm // 10 & 0xff, mm // 2560, energy)) + tail
do("noise", frame(1000, 10) * 9 + frame(5000, 50)[:10] + frame(2000, 20)[10:] + frame(3000, 30))
print(set(samples(chip, 2000)))
"""
    )
    for out, back in zip(lines[0:16:2], lines[1:16:2], strict=True):
        assert "timeout" in out
        assert rows(out) <= {"timeout", (2_340, False)}
        assert rows(back) == {(2_340, False)}
    assert lines[16:] == ["{(2340, 60, None, 0, 2340)}"]


def test_presence_frames_of_the_protocol():
    # Serial protocol V1.02: 2.3.2 (report), 2.2 (commands and their answers).
    report = bytes.fromhex("f4f3f2f10d0002aa0251000000003b00005500f8f7f6f5")
    assert ld2410.judge(report, len(report)) == 23
    for code, value, sent in (
        (0xFF, b"\x01\x00", "fdfcfbfa0400ff00010004030201"),
        (0xFE, b"", "fdfcfbfa0200fe0004030201"),
        (0x63, b"", "fdfcfbfa0200630004030201"),
        (0xA0, b"", "fdfcfbfa0200a00004030201"),
    ):
        assert ld2410.command(code, value) == bytes.fromhex(sent)
    answer = bytes.fromhex("fdfcfbfa0c00a0010000000102011624062204030201")
    assert ld2410.judge(answer, len(answer)) == 22
    for place in (*range(8), *range(17, 23)):
        damaged = bytearray(report)
        damaged[place] ^= 0x10
        assert ld2410.judge(damaged, 23) != 23
    rng = random.Random(1)
    data, count = b"", 0
    for _ in range(60):
        data += bytes(rng.choice(b"\xf4\xf3\xf2\xfd\xfc\x0d\x00") for _ in range(rng.randrange(6)))
        data += report
    scanner = Scanner(Bytes(data), 64, ld2410.judge)
    while scanner.poll():
        count += bytes(scanner.frame[:23]) == report
    assert count == 60

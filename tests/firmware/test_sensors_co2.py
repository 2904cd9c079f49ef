"""SCD41: the driver on MicroPython against the model, and both against the datasheet's numbers."""

import random

import pytest
from citynode.virtual.chips.scd41 import SCD41
from node.sensors import scd41
from node.sensors.sensirion import crc8
from sensors_bench import Bench, in_rows

START = """
from node.sensors.scd41 import SCD41
i2c = bus(400000)
chip = SCD41(i2c, 0x62, clock)
"""


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def put(bench, **options):
    chip = SCD41(bench.time, bench.conditions, bench.surroundings, random.Random(3), **options)
    return bench.put(chip)


def test_numbers_of_the_datasheet():
    # SCD4x datasheet, the examples of the commands' tables: words and their CRCs.
    for words in ("01f433 6667a2 5eb93c", "f89631 9f07c2 3bbe89", "03db42", "07e648", "079e09",
                  "01e0b4 7fce7b"):  # fmt: skip
        data = bytes.fromhex(words)
        for i in range(0, len(data), 3):
            assert crc8(data, i, i + 2) == data[i + 2], words
    assert scd41.celsius(0x6667) == pytest.approx(25, abs=0.005)
    assert scd41.percent(0x5EB9) == pytest.approx(37, abs=0.005)


def test_shots_are_right_over_the_range(bench):
    put(bench)
    cases = ((-10, 0, 400), (0, 95, 420), (21.5, 47, 612), (60, 100, 5000), (25, 37, 40000))
    got = bench.numbers(
        START
        + f"""
for t, h, co2 in {cases!r}:
    do("air", t, h, 101325.)
    do("around", co2, 8., 12., 14., 19., 7e4, 33.)
    start = now()
    say(*finished(chip.measure()), now() - start)
    say(*finished(chip.measure_rht()))
"""
    )
    for (t, h, co2), shot, rht in zip(cases, got[::2], got[1::2], strict=True):
        assert shot[:3] == pytest.approx((co2, t, h), abs=0.002)
        assert rht == pytest.approx((t, h), abs=0.002)
    # The first one after the start throws two away.
    assert 15_000 <= got[0][3] <= 15_200
    assert all(5_000 <= shot[3] <= 5_100 for shot in got[2::2])


def test_pressure_compensation_and_its_unit(bench):
    put(bench)
    bench.air = in_rows(20.0, 50.0, 95_000.0)
    lines = bench.run(
        START
        + """
say(finished(chip.measure())[0])
chip.set_pressure(95000)
say(finished(chip.measure())[0])
chip.start()
do("air", 20., 50., 90000.)
chip.set_pressure(90000)  # taken in periodic measurement, too
say(finished(chip.measure())[0])
finished(chip.stop())
print(kind(chip.set_pressure, 950), kind(chip.set_pressure, 0), kind(chip.set_pressure, 69999))
"""
    )
    assert float(lines[0]) == pytest.approx(612 * 95_000 / 101_325, abs=1)
    assert lines[1:] == ["612", "612", "ValueError ValueError ValueError"]


def test_periodic_measurement_gives_each_once(bench):
    put(bench)
    bench.air = in_rows(20.0, 50.0, 101_325.0)
    got = bench.numbers(
        START
        + """
chip.start()
for co2 in (500, 510, 520):
    do("around", co2, 8., 12., 14., 19., 7e4, 33.)
    say(finished(chip.measure())[0], now())
# A restart of the node finds it measuring.
chip = SCD41(i2c, 0x62, clock)
chip.start(low_power=True)
start = now()
say(finished(chip.measure())[0], now() - start)
finished(chip.stop())
start = now()
say(finished(chip.measure())[0], now() - start)
"""
    )
    assert [row[0] for row in got] == [500, 510, 520, 520, 520]
    times = [row[1] for row in got]
    assert times[1] - times[0] == pytest.approx(5000, abs=150)
    assert times[2] - times[1] == pytest.approx(5000, abs=150)
    assert times[3] == pytest.approx(30_000, abs=150)
    assert times[4] == pytest.approx(15_000, abs=200)


def test_somebody_else_has_started_it(bench):
    put(bench)
    lines = bench.run(
        START
        + """
i2c.writeto(0x62, bytes((0x21, 0xb1)))
print(len(finished(chip.measure())), len(finished(chip.measure_rht())))
"""
    )
    assert lines == ["3 2"]


def test_first_shots_are_low_and_not_believed(bench):
    chip = put(bench)
    chip.faults.add("low-first-shots")
    got = bench.numbers(
        START
        + """
say(finished(chip.measure())[0])
do("power_up")
clock.wait_ms(30)
say(finished(SCD41(i2c, 0x62, clock).measure())[0])
"""
    )
    assert got == [(pytest.approx(612 * 100_250 / 101_325, abs=1),)] * 2


def test_automatic_calibration_is_off_by_choice_and_a_forced_one_stays(bench):
    chip = put(bench, error_ppm=-70)
    chip.faults.add("reinit-forgets-frc")
    lines = bench.run(
        START
        + """
do("air", 20., 50., 101325.)
do("around", 430., 8., 12., 14., 19., 7e4, 33.)
print(kind(chip.recalibrate, 430))
for _ in range(36):
    finished(chip.measure())
print(finished(chip.recalibrate(430)), finished(chip.measure())[0])
chip = SCD41(i2c, 0x62, clock)  # restarts of the node, and of the chip
print(finished(chip.measure())[0])
do("power_up")
clock.wait_ms(30)
chip = SCD41(i2c, 0x62, clock, asc=True)
print(finished(chip.measure())[0])
"""
    )
    assert lines == ["calibration", "70 430", "430", "430"]
    assert chip.settings.asc
    bench.run("from node.sensors.scd41 import SCD41\nSCD41(bus(), 0x62, clock)")
    assert not chip.settings.asc
    assert chip.kept.asc  # its memory wears out and was not written


@pytest.mark.parametrize(
    ("options", "faults", "said"),
    [
        ({"variant": 0}, (), "id None"),
        ({"variant": 5}, (), "None None"),
        ({}, ("dead",), "OSError OSError"),
        ({}, ("bad-crc",), "crc crc"),
        ({}, ("never-ready",), "None timeout"),
    ],
)
def test_a_chip_that_is_none_or_does_not_work_is_told(bench, options, faults, said):
    # The first word is what making the driver says, the second what a measurement says of it.
    chip = put(bench, **options)
    lines = bench.run(
        f"""
from node.sensors.scd41 import SCD41
chip = None
def make():
    global chip
    chip = SCD41(bus(), 0x62, clock)
start = now()
for name in {faults!r}:
    do("fault", name, True)
first = kind(make)
if chip is None:
    for name in {faults!r}:
        do("fault", name, False)
    kind(make)
    for name in {faults!r}:
        do("fault", name, True)
print(first, None if chip is None else kind(chip.measure))
print(now() - start < 17000)
"""
    )
    assert lines == [said, "True"]
    assert chip.address == 0x62

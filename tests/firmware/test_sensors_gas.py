"""BME680: the driver on MicroPython against the model, and both against the maker's numbers."""

import random

import pytest
from citynode.virtual.chips import bme680 as model
from node.sensors import SensorError, bme680
from sensors_bench import Bench

START = """
from node.sensors.bme680 import BME680
make = lambda: BME680(bus(400000), 0x76, clock)
"""


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def put(bench, seed=3, **options):
    rng = random.Random(seed)
    return bench.put(model.BME680(bench.time, bench.conditions, bench.surroundings, rng, **options))


def words_of(chip):
    return bme680.Words(
        bytearray(chip.registers_1()),
        bytearray(chip.registers_2()),
        bytearray(chip.registers_heater()),
    )


# The words of a chip as it is sold, with what the maker's integers make of them: tests of
# pimoroni/bme680-python (test_compensation.py), which are also the model's words where not drawn.
def test_compensation_gives_the_reference_numbers():
    chip = model.Words()
    words = words_of(chip)
    assert (words.t1, words.t2, words.t3) == chip.t
    p = words.p1, words.p2, words.p3, words.p4, words.p5, words.p6, words.p7, words.p8, words.p9
    assert (*p, words.p10) == chip.p
    h = words.h1, words.h2, words.h3, words.h4, words.h5, words.h6, words.h7
    assert h == chip.h
    assert (words.gh1, words.gh2, words.gh3) == chip.gh
    assert (words.heat_value, words.heat_range, words.gas_error) == (48, 1, 0)
    for temperature, pressure, humidity, gas in (
        (words.temperature, words.pressure, words.humidity, words.gas),
        (chip.t_fine, chip.pascal, chip.percent, chip.ohm),
    ):
        t_fine = temperature(501240)
        assert t_fine / 5120 == pytest.approx(26.69, abs=0.005)
        # The integers lose up to 6 Pa and some hundredths of a per cent.
        assert pressure(353485, t_fine) == pytest.approx(98712, abs=6)
        assert humidity(19019, t_fine) == pytest.approx(42.402, abs=0.03)
        assert gas(0, 0) == pytest.approx(12946860, abs=1)


def test_all_ranges_of_the_gas_converter_and_the_heater():
    for seed in range(20):
        chip = model.Words.draw(random.Random(seed))
        words = words_of(chip)
        for gas_range in range(16):
            for raw in (0, 100, 511, 512, 513, 900, 1023):
                assert words.gas(raw, gas_range) == pytest.approx(
                    chip.ohm(raw, gas_range), rel=1e-6
                )
        for celsius in (200, 320, 400):
            for ambient in (-20, 0, 25, 60):
                setting = words.heater(celsius, ambient)
                assert chip.plate_c(setting, ambient) == pytest.approx(celsius, abs=3)


def test_words_of_a_dead_bus_are_refused():
    for byte in (b"\0", b"\xff"):
        with pytest.raises(SensorError) as caught:
            bme680.Words(bytearray(byte * 25), bytearray(byte * 15), bytearray(byte * 5))
        assert caught.value.kind == "calibration"


def test_values_are_right_over_the_range(bench):
    chip = put(bench)
    cases = (
        (-40.0, 5.0, 30_500.0, 600.0),
        (-12.3, 93.0, 98_765.0, 5_000.0),
        (21.5, 47.0, 100_250.0, 74_000.0),
        (45.0, 12.0, 108_900.0, 400_000.0),
        (84.9, 60.0, 101_325.0, 9_000_000.0),
    )
    plates = []
    bench.on("plate", lambda: plates.append(chip.plate_c))
    got = bench.numbers(
        START
        + f"""
chip = make()
for t, h, p, gas in {cases!r}:
    do("air", t, h, p)
    do("around", 400., 8., 12., 14., 19., gas, 33.)
    finished(chip.measure())  # knows the air now, which the heater needs
    start = now()
    say(*["%.3f" % value for value in finished(chip.measure())], now() - start)
    do("plate")
"""
    )
    for (t, h, p, gas), row, plate in zip(cases, got, plates, strict=True):
        assert row[0] == pytest.approx(t, abs=0.011)
        assert row[1] == pytest.approx(h, abs=0.05)
        assert row[2] == pytest.approx(p, abs=0.6)
        assert row[3] == pytest.approx(gas, rel=0.06)
        assert 195 <= row[4] <= 220
        assert plate == pytest.approx(320, abs=3)


@pytest.mark.parametrize(
    ("options", "fault", "said"),
    [
        ({"variant": 1}, None, "id None"),
        ({}, "dead", "OSError OSError"),
        ({}, "stays-forced", "None timeout"),
    ],
)
def test_a_chip_that_is_another_or_hangs_is_told(bench, options, fault, said):
    put(bench, **options)
    lines = bench.run(
        START
        + f"""
chip = None
def first():
    global chip
    chip = make()
if {fault!r} is not None and {fault!r} != "dead":
    first()
    finished(chip.measure())
if {fault!r}:
    do("fault", {fault!r}, True)
told = kind(first)
if chip is None and {fault!r}:
    do("fault", {fault!r}, False)
    first()
    do("fault", {fault!r}, True)
start = now()
print(told, chip and kind(chip.measure), now() - start < 400)
if {fault!r}:
    do("fault", {fault!r}, False)
    # What it hung in is over with the driver's new start, and no sooner.
    print(kind(chip.measure), kind(lambda: make().measure()))
"""
    )
    assert lines[0] == f"{said} True"
    if fault:
        assert lines[1].split()[1] == "None"
        assert lines[1].split()[0] == ("timeout" if fault == "stays-forced" else "None")


def test_gas_of_a_cold_plate_is_no_number_and_the_rest_is(bench):
    chip = put(bench)
    chip.faults.add("cold")
    lines = bench.run(
        START
        + """
from node.wire.cbor import UNDEFINED
t, h, p, gas = finished(make().measure())
print(abs(t - 21.5) < 0.02, abs(h - 47) < 0.1, abs(p - 100250) < 0.6, gas is UNDEFINED)
"""
    )
    assert lines == ["True True True True"]

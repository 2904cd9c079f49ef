"""DS18B20, MLX90614: the drivers on MicroPython against the models, and the datasheets' numbers."""

import random

import pytest
from citynode.virtual.chips.bme280 import BME280
from citynode.virtual.chips.ds18b20 import DS18B20
from citynode.virtual.chips.mlx90614 import MLX90614
from citynode.virtual.chips.mlx90614 import pec as model_pec
from node.sensors import ds18b20, mlx90614
from sensors_bench import Bench, in_rows

WIRE = """
from node.sensors.ds18b20 import DS18B20
make = lambda rom=None: DS18B20(wire(), clock, rom)
"""


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def hang(bench, seed=3, air=None, **options):
    """Hang a DS18B20 on the wire."""
    chip = DS18B20(bench.time, air or bench.conditions, random.Random(seed), **options)
    bench.wire.devices.append(chip)
    bench.watch(chip)
    bench.on("hold_wire", bench.wire.hold_low)
    bench.on("release_wire", bench.wire.release)
    bench.on("pull", bench.wire.devices.clear)
    return chip


def test_ds18b20_numbers_of_the_datasheet():
    # 19-7487, table 1; the number and its CRC are those of application note 27, example 1.
    for raw, celsius in (
        (0x07D0, 125), (0x0550, 85), (0x0191, 25.0625), (0x00A2, 10.125), (0x0008, 0.5), (0, 0),
        (0xFFF8, -0.5), (0xFF5E, -10.125), (0xFE6F, -25.0625), (0xFC90, -55),
    ):  # fmt: skip
        signed = raw - (1 << 16 if raw & 0x8000 else 0)
        assert ds18b20.celsius(signed) == celsius
    assert ds18b20.crc8(bytes.fromhex("021cb8010000 00a2")) == 0
    assert ds18b20.crc8(bytes.fromhex("021cb801000000")) == 0xA2


def test_ds18b20_values_are_right_over_the_range(bench):
    hang(bench)
    cases = (-55.0, -25.06, -10.13, -0.5, 0.0, 0.04, 10.1, 21.47, 85.0, 124.99)
    got = bench.numbers(
        WIRE
        + f"""
chip = make()
for t in {cases!r}:
    do("air", t, 50., 1e5)
    start = now()
    say(finished(chip.measure())[0], now() - start)
"""
    )
    for celsius, row in zip(cases, got, strict=True):
        assert row[0] == pytest.approx(celsius, abs=0.0315)
        assert 750 <= row[1] <= 860


def test_ds18b20_several_on_one_wire_and_micropythons_own_driver(bench):
    temperatures = [-3.0, 14.5, 85.0, 31.25]
    chips = [
        hang(bench, seed, lambda ns, t=t: in_rows(t, 50.0, 1e5))
        for seed, t in enumerate(temperatures)
    ]
    lines = bench.run(
        WIRE
        + """
for rom in wire().scan():
    print(rom.hex(), finished(make(rom).measure())[0])
print(kind(make))  # all say their number at once
from ds18x20 import DS18X20
all = DS18X20(wire())
all.convert_temp()
clock.wait_ms(750)
print(sorted([all.read_temp(rom) for rom in all.scan()]))
print(kind(make, bytes.fromhex("281cb801000000c6")))  # a good number that nobody has
"""
    )
    assert sorted(lines[:4]) == sorted(
        f"{chip.rom.hex()} {t}" for chip, t in zip(chips, temperatures, strict=True)
    )
    assert lines[4] in ("crc", "id")
    assert lines[5] == str(sorted(temperatures))
    assert lines[6] == "OSError"


def test_ds18b20_power_on_value_is_not_believed_and_85_degrees_are(bench):
    hang(bench)
    lines = bench.run(
        WIRE
        + """
chip = make()
do("power_up")  # between two measurements
print(kind(chip.measure))
chip = make()
do("fault", "brown-out", True)  # and within one
print(kind(chip.measure), kind(chip.measure))
do("fault", "brown-out", False)
do("air", 85., 50., 1e5)
print(finished(make().measure()))
"""
    )
    assert lines == ["skipped", "skipped skipped", "(85.0,)"]


def test_ds18b20_that_is_none_damaged_or_gone_is_told(bench):
    chip = hang(bench)
    lines = bench.run(
        WIRE
        + """
for fault in ("dead", "bad-crc"):
    chip = make()
    do("fault", fault, True)
    print(kind(make), kind(chip.measure))
    do("fault", fault, False)
    print(kind(make))
chip = make()
do("hold_wire")
start = now()
print(kind(make), kind(chip.measure), now() - start < 1000)
do("release_wire")
print(kind(make), finished(chip.measure())[0])
class clock(clock):
    @staticmethod
    async def sleep_ms(ms):
        clock.wait_ms(ms)
        do("pull")
print(kind(make().measure))  # in the middle of a conversion
"""
    )
    assert lines[:4] == ["OSError OSError", "None", "crc crc", "None"]
    assert lines[4] == "id timeout True"
    assert lines[5] == "None 21.5"
    assert lines[6:] == ["OSError"]
    bench.wire.devices.append(chip)
    assert bench.run(WIRE + "print(finished(make().measure())[0])") == ["21.5"]


@pytest.mark.parametrize(("family", "said"), [(0x28, "None"), (0x10, "id"), (0x22, "id")])
def test_ds18b20_has_a_family(bench, family, said):
    hang(bench, family=family)
    assert bench.run(WIRE + "print(kind(make))") == [said]


# -- MLX90614 ----------------------------------------------------------------------------------

SMBUS = """
from node.sensors.mlx90614 import MLX90614
make = lambda: MLX90614(bus(), 0x5a, clock)
"""


def put_mlx(bench, **options):
    chip = MLX90614(bench.time, bench.conditions, bench.surroundings, random.Random(3), **options)
    bench.put(chip)
    bench.time.advance(300)
    return chip


def test_mlx90614_numbers_of_the_datasheet():
    # 3901090614 rev. 13, section 8.4.3: reading 3AD2h, writing C807h, sleeping, and their PEC.
    for check in (mlx90614.pec, lambda data, start, end: model_pec(data[start:end])):
        assert check(bytes.fromhex("b407b5d23a"), 0, 5) == 0x30
        assert check(bytes.fromhex("b42207c8"), 0, 4) == 0x48
        assert check(bytes.fromhex("b4ff"), 0, 2) == 0xE8
    # Section 8.4.6.
    for raw, celsius in ((0x27AD, -70.01), (0x3AF7, 28.75), (0x7FFF, 382.19)):
        assert mlx90614.celsius(raw) == pytest.approx(celsius, abs=0.011)


def test_mlx90614_values_are_right_over_the_range(bench):
    put_mlx(bench)
    cases = ((-40.0, -69.9), (-12.34, -3.21), (0.0, 0.0), (21.5, 55.55), (124.9, 382.0))
    got = bench.numbers(
        SMBUS
        + f"""
chip = make()
for t, surface in {cases!r}:
    do("air", t, 50., 1e5)
    do("around", 400., 8., 12., 14., 19., 7e4, surface)
    say(*finished(chip.measure()))
"""
    )
    for (t, surface), row in zip(cases, got, strict=True):
        assert row == pytest.approx((surface, t), abs=0.0101)


def test_mlx90614_is_read_to_the_end_so_that_it_does_not_freeze(bench):
    chip = put_mlx(bench)
    chip.faults.add("freezes")
    got = bench.numbers(
        SMBUS
        + """
chip = make()
short = bytearray(2)
def of(surface):
    do("around", 400., 8., 12., 14., 19., 7e4, surface)
    clock.wait_ms(1000)
i2c = bus()
for surface in (10., 20.):
    of(surface)
    say(*finished(chip.measure()))
for surface in (30., 40.):  # as others read it
    i2c.readfrom_mem_into(0x5a, 0x07, short)
    of(surface)
i2c.readfrom_mem_into(0x5a, 0x07, short)
say((short[0] | short[1] << 8) * 0.02 - 273.15)
finished(chip.measure())
say(*finished(chip.measure()))
"""
    )
    assert [row[0] for row in got] == pytest.approx([10, 20, 40, 40], abs=0.02)
    assert chip.faults == {"freezes"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [("dead", "OSError OSError"), ("bad-pec", "crc crc"), ("flagged", "None skipped")],
)
def test_mlx90614_that_does_not_work_is_told(bench, fault, said):
    put_mlx(bench)
    lines = bench.run(
        SMBUS
        + f"""
chip = make()
do("fault", {fault!r}, True)
print(kind(make), kind(chip.measure))
do("fault", {fault!r}, False)
print(kind(make), kind(chip.measure))
do("power_up")
print(kind(make), kind(chip.measure))  # nothing valid yet
clock.wait_ms(250)
print(kind(chip.measure))
"""
    )
    assert lines == [said, "None None", "None skipped", "None"]


def test_another_chip_at_the_address_of_a_mlx90614_is_told(bench):
    # An MPR121 has the same address, and a BME280 in its place answers with bytes as well.
    put_mlx(bench)
    lines = bench.run(
        SMBUS
        + """
from node.sensors.mlx90614 import pec
i2c = bus()
for word in (b"\\0\\0", b"\\x33\\xbe"):  # erase, write
    data = b"\\xb4\\x2e" + word
    i2c.writeto_mem(0x5a, 0x2e, word + bytes((pec(data, 0, 4),)))
print(kind(make))
"""
    )
    assert lines == ["id"]
    bench.put(BME280(bench.time, bench.conditions, random.Random(1), 0x5A))
    assert bench.run(SMBUS + "print(kind(make))") == ["crc"]

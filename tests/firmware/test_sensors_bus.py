"""Every driver on I2C: unplugged at any byte, and on a bus that is held low and recovered."""

import random

import pytest
from citynode.virtual.chips.bme280 import BME280
from citynode.virtual.chips.bme680 import BME680
from citynode.virtual.chips.mlx90614 import MLX90614
from citynode.virtual.chips.scd41 import SCD41
from citynode.virtual.chips.sht4x import SHT4x
from citynode.virtual.chips.sps30 import SPS30
from sensors_bench import Bench, in_rows

# Driver, model, what the model needs of air and surroundings, what a measurement gives.
CHIPS = {
    "bme280": ("BME280", BME280, "a", (21.5, 47.0, 101_325.0)),
    "sht4x": ("SHT4x", SHT4x, "a", (21.5, 47.0)),
    "bme680": ("BME680", BME680, "ab", (21.5, 47.0, 101_325.0, 74_000.0)),
    "scd41": ("SCD41", SCD41, "ab", (612.0, 21.5, 47.0)),
    "sps30": ("SPS30", SPS30, "b", (8.0, 12.0, 14.0, 19.0)),
    "mlx90614": ("MLX90614", MLX90614, "ab", (33.0, 21.5)),
}


@pytest.fixture(params=CHIPS)
def chip(request):
    """The chip on its bus, what a script needs to make its driver, and the right values."""
    with Bench() as bench:
        driver, model, needs, right = CHIPS[request.param]
        sources = {"a": bench.conditions, "b": bench.surroundings}
        bench.air = in_rows(21.5, 47.0, 101_325.0)
        made = model(bench.time, *[sources[need] for need in needs], random.Random(3))
        bench.on("plug", bench.plug(made))
        bench.time.advance(300)
        start = f"""
from node.sensors.{request.param} import {driver}
i2c = bus(400000)
def whole():
    return {driver}(i2c, 0x{made.address:02x}, clock).measure()
def told(call):
    try:
        return " ".join(["%.3f" % value for value in finished(call())])
    except SensorError as error:
        return error.kind
    except OSError:
        return "OSError"
"""
        yield bench, start, right


def is_right(line, right):
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        return False
    return values == pytest.approx(list(right), rel=0.05)


def test_unplugged_at_any_byte(chip):
    bench, start, right = chip
    lines = bench.run(
        start
        + """
left = 1
while True:
    do("plug", left)
    began = now()
    said = told(whole)
    print(said, now() - began < 60000)
    do("plug", -1)
    clock.wait_ms(300)
    if " " in said:
        break
    left += 1 + left // 40
print(told(whole))
"""
    )
    assert is_right(lines.pop(), right)
    for line in lines[:-1]:
        assert line in ("OSError True", "crc True", "id True", "calibration True", "skipped True",
                        "timeout True"), line  # fmt: skip
    # Pulled out behind its last byte it has measured.
    assert is_right(lines[-1].rsplit(" ", 1)[0], right)
    assert len(lines) > 8


def test_held_low_and_recovered(chip):
    bench, start, right = chip
    lines = bench.run(
        start
        + """
for line in ("sda", "scl"):
    do("hold", line)
    began = now()
    print(told(whole), i2c.recover(), now() - began < 1000)
    do("release")
    print(i2c.recover())
    print(told(whole))
do("stick", 9)  # a chip that a reset of the node has stopped within a byte
print(told(whole), i2c.recover())
print(told(whole))
"""
    )
    assert [lines[i] for i in (0, 1, 3, 4)] == ["OSError False True", "True"] * 2
    # The first try is what frees a chip that is stuck, and may be one that needs no answer.
    said, free = lines[6].rsplit(" ", 1)
    assert free == "True"
    assert said == "OSError" or is_right(said, right)
    assert all(is_right(lines[i], right) for i in (2, 5, 7))

"""A month of measured weather through the chip models and the firmware's drivers."""

import importlib
import random
from pathlib import Path

import pytest
from citynode.resources import firmware
from citynode.virtual.chips.bme280 import BME280
from citynode.virtual.chips.sht4x import SHT4x
from citynode.virtual.world.weather import Weather
from citynode.wire import frame, schema

NS = 1_000_000_000
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "bochum-weather-2024-06.csv"
STEPS = {"temperature_c": 0.01, "humidity_pct": 0.1, "pressure_pa": 1.0}

pytestmark = pytest.mark.skipif(not DATA.is_file(), reason=f"{DATA} is not there")


class Bench:
    """A clock and an I2C bus as the firmware's drivers take them, around one chip."""

    def __init__(self, kind, weather):
        self.unix_ns = round(weather.start_s * NS) - 10 * NS
        self.weather = weather
        self.shift_ns = self.unix_ns
        self.chip = kind(self, lambda ns: self.at(ns), random.Random(7))

    def at(self, ns):
        # What is asked for before the first sample is only the chip's start.
        return self.weather.at(max(self.weather.start_s, (ns + self.shift_ns) / NS))

    def now_ns(self):
        return self.unix_ns - self.shift_ns

    def ticks_ms(self):
        return self.now_ns() // 1_000_000

    def ticks_diff(self, a, b):
        return a - b

    def wait_ms(self, ms):
        self.unix_ns += ms * 1_000_000

    async def sleep_ms(self, ms):
        self.wait_ms(ms)

    def writeto(self, address, data):
        assert address == self.chip.address
        if not self.chip.begin(False):
            raise OSError(19)
        if not all(self.chip.write(byte) for byte in data):
            raise OSError(19)
        self.chip.end()

    def readfrom_into(self, address, buffer):
        assert address == self.chip.address
        if not self.chip.begin(True):
            raise OSError(19)
        buffer[:] = bytes(self.chip.read() for _ in buffer)
        self.chip.end()

    def writeto_mem(self, address, register, data):
        self.writeto(address, bytes((register,)) + bytes(data))

    def readfrom_mem_into(self, address, register, buffer):
        self.writeto(address, bytes((register,)))
        self.readfrom_into(address, buffer)


def finished(coroutine):
    """Run a coroutine that never waits for anyone."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def through_the_air(values):
    """Encode a climate record and decode it."""
    names = [field[0] for field in schema.RECORDS[schema.CLIMATE][1]]
    data = frame.encode(schema.CLIMATE, 1, 1_717_192_800, 0, [values.get(name) for name in names])
    (record,) = frame.decode(data)
    return record.values


@pytest.fixture
def drivers(monkeypatch):
    monkeypatch.syspath_prepend(str(firmware()))
    bme280 = importlib.import_module("node.sensors.bme280")
    sht4x = importlib.import_module("node.sensors.sht4x")
    return {BME280: bme280.BME280, SHT4x: sht4x.SHT4x}


@pytest.mark.parametrize("kind", [BME280, SHT4x])
def test_a_month_comes_back_within_one_step(kind, drivers):
    weather = Weather.from_csv(DATA)
    bench = Bench(kind, weather)
    bench.wait_ms(2)
    driver = drivers[kind](bench, bench.chip.address, bench)
    worst = dict.fromkeys(STEPS, 0.0)
    values = gaps = 0
    # Every two and a half minutes: at each sample, and between two.
    for second in range(round(weather.start_s), round(weather.end_s) + 1, 150):
        bench.unix_ns = second * NS
        true = weather.at(second)
        # A measurement in whose midst the weather ends is no measurement either.
        if true is None or weather.at(second + 0.1) is None:
            with pytest.raises(OSError, match="19"):
                finished(driver.measure())
            gaps += 1
            continue
        measured = dict(zip(driver.FIELDS, finished(driver.measure()), strict=True))
        decoded = through_the_air(measured)
        for name in driver.FIELDS:
            worst[name] = max(worst[name], abs(decoded[name] - getattr(true, name)))
        values += 1
    assert values > 17_000
    assert gaps >= 34
    for name in driver.FIELDS:
        assert worst[name] <= STEPS[name] + 1e-9, worst

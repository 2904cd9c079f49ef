"""A month of measured weather through the chip models and the firmware, on MicroPython."""

import random
import subprocess
import threading
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from citynode.frames import FIELDS, decode
from citynode.resources import firmware, micropython, upy
from citynode.virtual.chips.bme280 import BME280
from citynode.virtual.chips.sht4x import SHT4x
from citynode.virtual.world.weather import Weather
from citynode.wire.cbor import UNDEFINED
from citynode.wire.schema import CLIMATE, CLOCK_SYNCED, EVENT, SENSOR_FAULT

NS = 1_000_000_000
HERE = Path(__file__).parent
NODE_TESTS = HERE.parent / "firmware"
DATA = HERE.parents[2] / "shared" / "data" / "bochum-weather-2024-06.csv"
INTERVAL_S = 300  # of the file as well
LIMIT_S = 60
FIELDS_OF = {
    BME280: ("temperature_c", "humidity_pct", "pressure_pa"),
    SHT4x: ("temperature_c", "humidity_pct"),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_file(), reason=f"{DATA} is not there"),
]


class Replay:
    """The measured weather, whole seconds at a time, with digits that the station did not have.

    It gives 0.1 °C, 1 % and 10 Pa; without more digits nearly all values would be whole steps of
    ours, and no rounding would be seen.
    """

    def __init__(self):
        self.measured = Weather.from_csv(DATA)
        self.start_s, self.end_s = round(self.measured.start_s), round(self.measured.end_s)

    @cache  # noqa: B019
    def at(self, second):
        coarse = self.measured.at(second)
        if coarse is None:
            return None
        rng = random.Random(second)
        return replace(
            coarse,
            temperature_c=coarse.temperature_c + rng.uniform(-0.05, 0.05),
            humidity_pct=min(100.0, coarse.humidity_pct + rng.uniform(-0.5, 0.5)),
            pressure_pa=coarse.pressure_pa + rng.uniform(-5, 5),
        )


class Bench:
    """A chip on a bus whose other end is the firmware; the firmware says what time it is."""

    def __init__(self, kind, weather):
        self.us = 0
        self.weather = weather
        # The firmware starts at 10 s, and that is 10 s before the first sample.
        self.zero_s = weather.start_s - 20
        self.chip = kind(self, self.air, random.Random(7))

    def now_ns(self):
        return self.us * 1000

    def air(self, ns):
        # What is asked for before the first sample is only the chip's start. A measurement is done
        # within a second: the edge of a gap does not cut it in two.
        return self.weather.at(max(self.weather.start_s, self.zero_s + ns // NS))

    def answer(self, order, us, address, *rest):
        """Do one transfer; return what was read, None where something was not acknowledged."""
        self.us = int(us)
        if int(address) != self.chip.address:
            return None
        if order == "w":
            return b"" if self.write(bytes.fromhex(rest[0])) else None
        if order == "m" and not self.write(bytes((int(rest[0]),))):
            return None
        if not self.chip.begin(True):
            return None
        data = bytes(self.chip.read() for _ in range(int(rest[-1])))
        self.chip.end()
        return data

    def write(self, data):
        if not self.chip.begin(False) or not all(self.chip.write(byte) for byte in data):
            return False
        self.chip.end()
        return True


def frames(kind, weather):
    """Run the firmware over the whole of the weather; return the frames it made."""
    bench = Bench(kind, weather)
    folders = [upy(), upy() / "core", NODE_TESTS / "fast", NODE_TESTS, HERE, firmware()]
    numbers = bench.chip.address, weather.start_s, weather.end_s, INTERVAL_S
    found = []
    with subprocess.Popen(
        [
            micropython(),
            "-X",
            "heapsize=8M",
            NODE_TESTS / "upy_run.py",
            ":".join(map(str, folders)),
            "weather_node:run",
            kind.__name__.lower(),
            *map(str, numbers),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd="/",
    ) as process:
        guard = threading.Timer(LIMIT_S, process.kill)
        guard.start()
        try:
            for line in process.stdout:
                order, *rest = line.split()
                if order == "f":
                    found.append(bytes.fromhex(rest[0]))
                elif order in ("w", "r", "m"):
                    data = bench.answer(order, *rest)
                    process.stdin.write("nack\n" if data is None else data.hex() + "\n")
                else:
                    assert line == "end\n", line + process.stdout.read()
        finally:
            guard.cancel()
            process.kill()
    assert line == "end\n"
    return found


@pytest.mark.parametrize("kind", [BME280, SHT4x])
def test_a_month_comes_back_within_one_step(kind):
    weather = Replay()
    records = [record for frame in frames(kind, weather) for record in decode(frame)]
    assert [record.seq for record in records] == list(range(len(records)))
    climate = [record for record in records if record.kind == CLIMATE]
    instants = range(weather.start_s, weather.end_s + 1, INTERVAL_S)
    assert [record.t for record in climate] == list(instants)
    fields = [field for field in FIELDS[CLIMATE] if field.name in FIELDS_OF[kind]]
    worst = {field.name: 0.0 for field in fields}
    good = 0
    for record in climate:
        true = weather.at(record.t)
        if true is None:
            # In a gap nothing was measured, and nothing is told.
            assert record.faults == FIELDS_OF[kind]
            assert record.status & SENSOR_FAULT
        else:
            good += 1
            assert not record.status & SENSOR_FAULT
            for field in fields:
                off = abs(record.values[field.name] - getattr(true, field.name))
                worst[field.name] = max(worst[field.name], off)
                assert off <= field.resolution + 1e-9, (record, true)
        others = {name for name, value in record.values.items() if value is None}
        assert others == {field.name for field in FIELDS[CLIMATE]} - set(FIELDS_OF[kind])
        assert UNDEFINED not in record.values.values() or true is None
        assert not record.status & CLOCK_SYNCED
    print(f"\n{kind.__name__}: {good} of {len(climate)} records; at most off by {worst}")
    assert good > 8600
    assert len(climate) - good >= 34
    # A fault is told at the start of each gap, and its end at the next value.
    runs = [key for key, _ in groupby(weather.at(t) is None for t in instants)]
    assert [r.values["code"] for r in records if r.kind == EVENT] == [
        "fault_on" if gap else "fault_off" for gap in runs[1:]
    ]

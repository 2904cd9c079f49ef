"""A month of measured weather through the chip models and the firmware, on MicroPython."""

import heapq
import math
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
from citynode.virtual.chips.anemometer import MS_PER_HZ
from citynode.virtual.chips.bme280 import BME280
from citynode.virtual.chips.raingauge import RainGauge
from citynode.virtual.chips.sht4x import SHT4x
from citynode.virtual.chips.windvane import WindVane
from citynode.virtual.world.climate import Climate
from citynode.virtual.world.weather import Weather
from citynode.wire.cbor import UNDEFINED
from citynode.wire.schema import CLIMATE, CLOCK_SYNCED, EVENT, SENSOR_FAULT, SUSPECT, WEATHER

NS = 1_000_000_000
HERE = Path(__file__).parent
NODE_TESTS = HERE.parent / "firmware"
DATA = HERE.parents[2] / "shared" / "data" / "bochum-weather-2024-06.csv"
INTERVAL_S = 300  # of the file as well
LIMIT_S = 300
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


def frames(bench, program, *arguments):
    """Run the firmware with a bench that answers its questions; return the frames it made."""
    folders = [upy(), upy() / "core", NODE_TESTS / "fast", NODE_TESTS, HERE, firmware()]
    found = []
    with subprocess.Popen(
        [
            micropython(),
            "-X",
            "heapsize=8M",
            NODE_TESTS / "upy_run.py",
            ":".join(map(str, folders)),
            f"weather_node:{program}",
            *map(str, arguments),
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
                elif order in ("w", "r", "m", "c"):
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
    bench = Bench(kind, weather)
    place = kind.__name__.lower(), bench.chip.address
    made = frames(bench, "run", *place, weather.start_s, weather.end_s, INTERVAL_S)
    records = [record for frame in made for record in decode(frame)]
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
    events = [record.values["code"] for record in records if record.kind == EVENT]
    runs = [key for key, _ in groupby(weather.at(t) is None for t in instants)]
    assert [code for code in events if code.startswith("fault")] == [
        "fault_on" if gap else "fault_off" for gap in runs[1:]
    ]
    # The file has moments at which its pressure is off by 20 hPa and more.
    suspects = {record.t for record in climate if record.status & SUSPECT}
    jumps = {
        t
        for t in instants[1:]
        if (now := weather.at(t)) and (before := weather.at(t - INTERVAL_S))
        if abs(now.pressure_pa - before.pressure_pa) > 1500
    }
    assert suspects == (jumps if kind is BME280 else set())
    marked = [key for key, _ in groupby(t in suspects for t in instants)]
    assert events.count("suspect_on") == marked.count(True)


class Mast:
    """Rain gauge, cups and vane in the measured weather; the firmware says what time it is."""

    def __init__(self, weather, first_s):
        self.climate = Climate(weather, random.Random(3))
        self.zero_s = first_s - 20
        self.ns = 0
        self.clock = self
        self.due = []
        self.turns = 0.0
        self.until_ns = 0
        self.level = 1
        self.gauge = RainGauge(self, self.rain, self.drive, random.Random(4))
        self.vane = WindVane(self.now_ns, lambda ns: self.climate.wind_from_deg(self.at(ns)))

    def at(self, ns):
        return self.zero_s + ns / NS

    def now_ns(self):
        return self.ns

    def call_at(self, due_ns, call):
        heapq.heappush(self.due, (due_ns, len(self.due), call))

    def rain(self, start_ns, end_ns):
        return self.climate.rain_mm(self.at(start_ns), self.at(end_ns))

    def drive(self, level):
        self.level = level

    def go_on(self, ns):
        """Let time go on; the cups turn in the wind that there is."""
        while self.due and self.due[0][0] <= ns:
            self.ns, _, call = heapq.heappop(self.due)
            call()
        while self.until_ns < ns:
            speed, until_s = self.climate.wind_ms(self.at(self.until_ns))
            until = min(ns, max(self.until_ns + 1, round((until_s - self.zero_s) * NS)))
            self.turns += (speed or 0.0) / MS_PER_HZ * (until - self.until_ns) / NS
            self.until_ns = until
        self.ns = ns

    def answer(self, order, us, name):
        self.go_on(int(us) * 1000)
        if name == "vane":
            return round(1000 * self.vane.volts()).to_bytes(2, "big")
        count = self.gauge.contact.closings if name == "rain" else int(self.turns)
        return (count & 0xFFFF).to_bytes(2, "big")


def vector_mean(pairs):
    """Return the mean of (direction in degrees, weight)."""
    pairs = list(pairs)
    east = sum(weight * math.sin(math.radians(angle)) for angle, weight in pairs)
    north = sum(weight * math.cos(math.radians(angle)) for angle, weight in pairs)
    return math.degrees(math.atan2(east, north)) % 360


def test_rain_and_wind_of_a_month_add_up_to_what_the_file_says():
    measured = Weather.from_csv(DATA)
    first, last = round(measured.start_s), round(measured.end_s)
    made = frames(Mast(measured, first), "mast", first, last, INTERVAL_S)
    records = [record for frame in made for record in decode(frame)]
    weather = {record.t: record.values for record in records if record.kind == WEATHER}
    assert list(weather) == list(range(first, last + 1, INTERVAL_S))
    told = {name: [values[name] for values in weather.values()] for name in weather[first]}

    rows = [measured.at(t) for t in range(first, last + 1, INTERVAL_S)]
    rain = sum(row.rain_mm_h or 0 for row in rows if row is not None) * INTERVAL_S / 3600
    winds = [(row.wind_from_deg, row.wind_ms) for row in rows if row is not None]
    speed = sum(speed for _, speed in winds) / len(winds)
    direction = vector_mean((angle, 1) for angle, speed in winds)

    # Gaps have neither rain nor wind; the record is of the time before it, not of one moment.
    known = [v["wind_ms"] for t, v in weather.items() if measured.at(t) and measured.at(t - 300)]
    total, mean = sum(told["rain_mm"]), sum(known) / len(known)
    turned = vector_mean((angle, 1) for angle in told["wind_from_deg"] if angle is not None)
    print(
        f"\nrain {total:.1f} of {rain:.1f} mm, wind {mean:.3f} of {speed:.3f} m/s,"
        f" from {turned:.1f} of {direction:.1f} degrees"
    )
    assert total == pytest.approx(rain, abs=2 * 0.2794)
    assert mean == pytest.approx(speed, rel=0.01)
    assert abs((turned - direction + 180) % 360 - 180) < 3

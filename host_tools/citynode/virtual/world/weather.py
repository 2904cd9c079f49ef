"""The weather around the boards: measured (a CSV file) or made up, the same for the same time.

What a file does not have is not invented: in a gap there are no conditions at all.
"""

import bisect
import csv
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, Self

from citynode.errors import CitynodeError
from citynode.virtual.world.chance import Chance

_DAY_S = 86400.0
_YEAR_S = 365.2425 * _DAY_S
# Samples further apart than this many sampling intervals have a gap between them.
_GAP = 1.5
# A column's name, what it holds, and what takes its number to our unit; earlier rows win.
_COLUMNS = (
    ("temperature_c", "temperature_c", 1.0),
    ("outdoor_temperature", "temperature_c", 1.0),
    ("humidity_pct", "humidity_pct", 1.0),
    ("outdoor_humidity", "humidity_pct", 1.0),
    ("pressure_pa", "pressure_pa", 1.0),
    # A sensor feels the absolute pressure, not the one reduced to sea level.
    ("pressure_absolute", "pressure_pa", 100.0),
    ("rain_mm_h", "rain_mm_h", 1.0),
    ("rainfall_piezo_rain_rate", "rain_mm_h", 1.0),
    ("wind_ms", "wind_ms", 1.0),
    ("wind_wind_speed", "wind_ms", 1 / 3.6),
    ("gust_ms", "gust_ms", 1.0),
    ("wind_wind_gust", "gust_ms", 1 / 3.6),
    ("wind_from_deg", "wind_from_deg", 1.0),
    ("wind_wind_direction", "wind_from_deg", 1.0),
    ("solar_wm2", "solar_wm2", 1.0),
    ("solar_and_uvi_solar", "solar_wm2", 1.0),
)
_TIMES = ("datetime", "time", "timestamp")
_NEEDED = ("temperature_c", "humidity_pct", "pressure_pa")
_CIRCULAR = "wind_from_deg"


@dataclass(frozen=True, slots=True)
class Conditions:
    """The air at one moment; None where it is not known.

    Temperature in °C, relative humidity in %, absolute pressure in Pa, rain in mm/h, wind and
    gusts in m/s, where the wind comes from in degrees, solar irradiance in W/m².
    """

    temperature_c: float
    humidity_pct: float
    pressure_pa: float
    rain_mm_h: float | None = None
    wind_ms: float | None = None
    gust_ms: float | None = None
    wind_from_deg: float | None = None
    solar_wm2: float | None = None


class Source(Protocol):
    """Something that knows the weather."""

    def at(self, unix_s: float) -> Conditions | None:
        """Return the conditions at a time (s since 1970), None where they are not known."""
        ...


class Weather:
    """The weather at any time; `synthetic`, `from_csv` and `constant` make one."""

    def __init__(self, source: Source, *, start_s: float = -math.inf, end_s: float = math.inf):
        self.start_s = start_s
        self.end_s = end_s
        self._source = source
        self._behind_s = 0.0
        self._period_s = math.inf

    @classmethod
    def synthetic(cls, seed: int = 0) -> Self:
        """Make weather of a mild climate: seasons, days and drifting fronts, without gaps."""
        return cls(_Synthetic(Chance(seed).rng("weather")))

    @classmethod
    def constant(cls, conditions: Conditions | None) -> Self:
        """Make weather that never changes; None: never known."""
        return cls(_Constant(conditions))

    @classmethod
    def from_samples(cls, samples: Iterable[tuple[float, Conditions]]) -> Self:
        """Make weather from samples (time in s since 1970), in any order.

        Of two at the same time the last counts. Raises ValueError if there are none.
        """
        table = _Table(sorted(dict(samples).items(), key=lambda sample: sample[0]))
        return cls(table, start_s=table.times[0], end_s=table.times[-1])

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read the file of a weather station.

        Takes the columns of the city of Bochum's open data, or ours by their names (`time`,
        `temperature_c`, `humidity_pct`, `pressure_pa` …); times are ISO 8601, in UTC where they
        carry no offset. Raises CitynodeError naming the file and line.
        """
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                samples = list(_samples(path, csv.reader(file)))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CitynodeError(
                f"cannot read {path}: {reason}", "give --weather a CSV file in UTF-8"
            ) from error
        if not samples:
            raise CitynodeError(
                f"{path} has no complete sample", "give --weather a file with measured values"
            )
        return cls.from_samples(samples)

    def replayed(self, now_s: float) -> "Weather":
        """Return this weather as seen from a world whose date is `now_s` (s since 1970).

        A record that covers the date is used as it is. Another is moved by whole days, so that
        it begins on the date's day and the hours fit, and starts again when it is over.
        """
        if self.start_s <= now_s <= self.end_s or math.isinf(self.start_s):
            return self
        span_s = self.end_s - self.start_s
        moved = Weather(self._source, start_s=self.start_s, end_s=self.end_s)
        # The next start is a whole number of days later too.
        moved._period_s = _DAY_S * max(1, math.ceil(span_s / _DAY_S))
        moved._behind_s = _DAY_S * math.ceil((now_s - self.start_s) / _DAY_S - 1)
        if now_s - moved._behind_s > self.end_s:
            # Less than a day long and not at this time of day: better now than never.
            moved._behind_s = now_s - self.start_s
        return moved

    def at(self, unix_s: float) -> Conditions | None:
        """Return the conditions at a time (s since 1970), None where they are not known."""
        if self._behind_s or math.isfinite(self._period_s):
            unix_s -= self._behind_s
            if unix_s > self.end_s:
                unix_s = self.start_s + (unix_s - self.start_s) % self._period_s
        return self._source.at(unix_s)


@dataclass(frozen=True, slots=True)
class _Constant:
    conditions: Conditions | None

    def at(self, unix_s: float) -> Conditions | None:
        return self.conditions


class _Table:
    """Samples in order of time; straight lines between neighbours, nothing across a gap."""

    def __init__(self, samples: Sequence[tuple[float, Conditions]]) -> None:
        if not samples:
            raise ValueError("no samples")
        self.times = [time for time, _ in samples]
        self._values = [value for _, value in samples]
        steps = sorted(b - a for a, b in zip(self.times, self.times[1:], strict=False))
        # The sampling interval is the commonest step, and half of all are at most that.
        self._longest_s = _GAP * steps[len(steps) // 2] if steps else 0.0

    def at(self, unix_s: float) -> Conditions | None:
        index = bisect.bisect_right(self.times, unix_s)
        if index == 0:
            return None
        start, value = self.times[index - 1], self._values[index - 1]
        if start == unix_s:
            return value
        if index == len(self.times) or self.times[index] - start > self._longest_s:
            return None
        share = (unix_s - start) / (self.times[index] - start)
        return _between(value, self._values[index], share)


class _Synthetic:
    """A sum of waves with drawn phases: years, days, and fronts that take days to pass."""

    def __init__(self, rng: random.Random) -> None:
        # Periods without a common multiple in sight: no two weeks are alike.
        self._fronts = [
            (days * _DAY_S * rng.uniform(0.9, 1.1), rng.uniform(0, math.tau))
            for days in (17.0, 7.3, 3.1, 1.7)
        ]
        self._gusts = [(period, rng.uniform(0, math.tau)) for period in (3607.0, 1297.0, 311.0)]
        self._turn = rng.uniform(0, 360)

    def at(self, unix_s: float) -> Conditions | None:
        # 1 January 1970 was deep in winter, 5 o'clock is the coldest hour of a day.
        year = -math.cos(math.tau * (unix_s - 20 * _DAY_S) / _YEAR_S)
        day = -math.cos(math.tau * (unix_s / _DAY_S - 4 / 24))
        front = _waves(unix_s, self._fronts)
        flicker = _waves(unix_s, self._gusts)
        temperature = 10.5 + 8.0 * year + (3.0 + 1.5 * year) * day + 4.0 * front + 0.15 * flicker
        # Warm afternoons are dry; a low (front < 0 below) is wet.
        humidity = 76.0 - 6.0 * year - 13.0 * day - 14.0 * front + 0.6 * flicker
        pressure = 100_400.0 + 1_500.0 * front + 60.0 * math.sin(4 * math.pi * unix_s / _DAY_S)
        wind = max(0.0, 3.0 - 2.0 * front + 1.0 * day + 0.8 * flicker)
        sun = max(0.0, -math.cos(math.tau * (unix_s / _DAY_S + 0.5 / 24)))
        return Conditions(
            temperature_c=temperature,
            humidity_pct=min(100.0, max(15.0, humidity)),
            pressure_pa=pressure,
            rain_mm_h=max(0.0, -6.0 * (front + 0.6)),
            wind_ms=wind,
            gust_ms=wind * 1.6,
            wind_from_deg=(self._turn + 90.0 * front + 360.0) % 360.0,
            solar_wm2=sun * (450.0 + 250.0 * year),
        )


def _waves(unix_s: float, waves: Sequence[tuple[float, float]]) -> float:
    """Return the mean of sine waves (period in s, phase), -1 to 1."""
    return sum(math.sin(math.tau * unix_s / p + phase) for p, phase in waves) / len(waves)


def _between(a: Conditions, b: Conditions, share: float) -> Conditions:
    """Return what lies between two samples; what one of them lacks is not known."""
    values: dict[str, float | None] = {}
    for field in fields(Conditions):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if x is None or y is None:
            values[field.name] = None
        elif field.name == _CIRCULAR:
            # The short way round: from 350° to 10° the wind goes through north.
            values[field.name] = (x + share * ((y - x + 180) % 360 - 180)) % 360
        else:
            values[field.name] = x + share * (y - x)
    return replace(a, **values)  # type: ignore[arg-type]


def _samples(path: Path, rows: Iterable[list[str]]) -> Iterable[tuple[float, Conditions]]:
    """Yield the complete rows of a file; a row that lacks a needed value is part of a gap."""
    lines = iter(rows)
    header = [name.strip() for name in next(lines, [])]
    columns = _match(header)
    time_at = next((header.index(name) for name in _TIMES if name in header), None)
    missing = [name for name in _NEEDED if name not in columns]
    if time_at is None or missing:
        what = ", ".join((["time"] if time_at is None else []) + missing)
        raise CitynodeError(
            f"{path} is no weather file: no column for {what}",
            f"name the columns {', '.join(('time', *_NEEDED))}",
        )
    for number, row in enumerate(lines, start=2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            time = datetime.fromisoformat(row[time_at].strip())
        except (ValueError, IndexError) as error:
            raise CitynodeError(
                f"{path}, line {number}: no time", "write it as in 2024-06-01 02:00:00+02:00"
            ) from error
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        values = {name: _number(row, at, scale) for name, (at, scale) in columns.items()}
        if all(values[name] is not None for name in _NEEDED):
            yield time.timestamp(), Conditions(**values)  # type: ignore[arg-type]


def _match(header: Sequence[str]) -> dict[str, tuple[int, float]]:
    """Return for each value the place of its column and its scale."""
    found: dict[str, tuple[int, float]] = {}
    for alias, name, scale in _COLUMNS:
        if alias in header and name not in found:
            found[name] = header.index(alias), scale
    return found


def _number(row: Sequence[str], at: int, scale: float) -> float | None:
    """Return a cell as a number; None for all that stations write where they have none."""
    try:
        value = float(row[at])
    except (ValueError, IndexError):
        return None
    return value * scale if math.isfinite(value) else None

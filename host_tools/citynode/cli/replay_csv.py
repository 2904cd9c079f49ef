"""Recordings of traffic sensors as others write them: any delimiter, header or none, any unit.

The columns are found by their names, or by their order: time; distance and strength; x, y, z of one
sensor or of two; speed and magnitude. What a row leaves out is not known (a strength) or not seen
(a distance).
"""

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from citynode.errors import CitynodeError

RANGE, FIELD, SPEED = "range", "field", "speed"
MM_PER = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
NT_PER = {"nt": 1.0, "ut": 1000.0, "mg": 100.0, "g": 100000.0}
_MS_PER = {"us": 0.001, "ms": 1.0, "s": 1000.0}
_EARTH_NT = 48000.0  # the field in Central Europe
_EARTH_RANGE = (22000.0, 67000.0)  # anywhere (IGRF)
_SAMPLE = 2000  # rows that units are judged by
_ROLES = {
    RANGE: ("distance", "strength"),
    FIELD: ("x1", "y1", "z1", "x2", "y2", "z2"),
    SPEED: ("speed", "magnitude"),
}
_NAMES = (
    (re.compile(r"^(t|ts|time|times|timestamp|datetime|date|millis|micros|seconds|sec)$"), "time"),
    (re.compile(r"^(d|dist|distance|range|height)$"), "distance"),
    (re.compile(r"^(s|str|strength|signal|amp|amplitude|flux|intensity|quality)$"), "strength"),
    (re.compile(r"^(v|speed|velocity)$"), "speed"),
    (re.compile(r"^(mag|magnitude|level|power)$"), "magnitude"),
    (re.compile(r"^(?:mag|m|b|field)?_?([xyz])_?([12]?)$"), ""),
    (re.compile(r"^(?:mag|m|b|field|sensor)_?([12])_?([xyz])$"), ""),
)
_UNIT = re.compile(
    r"[ _]*[\[(]?(ns|us|µs|ms|s|mm|cm|m|nt|ut|µt|mg|g|gauss|ms2|kmh|km/h|m/s)[\])]?$"
)


@dataclass(frozen=True)
class Recording:
    """Samples as the detectors take them: (ms, …), times from the first one; and what was left out.

    `start_s` is the time of the first sample as the file has it, in seconds.
    """

    samples: list[tuple[int, ...]]
    start_s: float
    skipped: int


def load(path: Path, sort: str, native: str, unit: str | None = None) -> Recording:
    """Read a recording of `sort`; `native` is the unit the sensor itself tells, `unit` overrides.

    Raises CitynodeError if there is nothing in it to replay.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise CitynodeError(
            f"cannot read {path}: {error.strerror}", "give a readable CSV file"
        ) from error
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise CitynodeError(f"{path} is empty", "give a CSV file with a line for each sample")
    rows = _split(lines)
    header = rows[0] if not any(_is_value(word) for word in rows[0]) else None
    body = rows[1:] if header is not None else rows
    columns, units = _by_name(header, sort) if header is not None else _by_order(body, sort)
    wanted = ["time", *(role for role in _ROLES[sort] if role in columns)]
    if "time" not in columns or len(wanted) < (4 if sort == FIELD else 2):
        needed = " and ".join(_ROLES[sort][: 3 if sort == FIELD else 1])
        raise CitynodeError(
            f"{path} has no columns of time and {needed}",
            "give them names in a first line, as time,distance,strength or time,x,y,z",
        )
    found = [tuple(_value(row, columns[role]) for role in wanted) for row in body]
    good = [row for row in found if not math.isnan(row[0])]
    if sort != RANGE:
        good = [row for row in good if not any(math.isnan(value) for value in row)]
    if not good:
        raise CitynodeError(f"{path} has no sample", "see that its numbers have points, not commas")
    per_ms = _MS_PER[units.get("time") or _time_unit(good)]
    first = good[0][0]
    times = [round((row[0] - first) * per_ms) for row in good]
    samples = _scaled(sort, times, good, unit or units.get(wanted[1]), native, unit is not None)
    return Recording(samples, first * per_ms / 1000, len(body) - len(good))


def _split(lines: Sequence[str]) -> list[list[str]]:
    probe = lines[len(lines) // 2]
    delimiter = next((each for each in (";", "\t", ",") if each in probe), None)
    rows = [[word.strip().strip('"') for word in line.split(delimiter)] for line in lines]
    if delimiter in (";", "\t"):
        rows = [[word.replace(",", ".") for word in row] for row in rows]
    return rows


def _number(word: str) -> float:
    try:
        value = float(word)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _time(word: str) -> float:
    value = _number(word)
    if math.isnan(value):
        try:
            return datetime.fromisoformat(word).timestamp()
        except ValueError:
            return math.nan
    return value


def _is_value(word: str) -> bool:
    return not math.isnan(_time(word))


def _value(row: Sequence[str], column: int) -> float:
    if column >= len(row):
        return math.nan
    return _time(row[column]) if column == 0 or _is_date(row[column]) else _number(row[column])


def _is_date(word: str) -> bool:
    return len(word) > 9 and word[4:5] == "-"


def _by_name(header: Sequence[str], sort: str) -> tuple[dict[str, int], dict[str, str]]:
    columns: dict[str, int] = {}
    units: dict[str, str] = {}
    for place, word in enumerate(header):
        name = word.strip().lower()
        unit = ""
        role = _role(name)
        if not role and (match := _UNIT.search(name)) is not None:
            unit = match[1].replace("µ", "u").replace("gauss", "g")
            role = _role(name[: match.start()].rstrip("_ "))
        if role == "time" and name in ("millis", "micros"):
            unit = "ms" if name == "millis" else "us"
        if role and role not in columns:
            columns[role] = place
            if unit in MM_PER or unit in NT_PER or unit in _MS_PER:
                units[role] = unit
    return {role: at for role, at in columns.items() if role in ("time", *_ROLES[sort])}, units


def _role(name: str) -> str:
    for pattern, role in _NAMES:
        if (match := pattern.match(name)) is not None:
            if role:
                return role
            axis, number = sorted(match.groups(), reverse=True)
            return axis + (number or "1")
    return ""


def _by_order(rows: Sequence[Sequence[str]], sort: str) -> tuple[dict[str, int], dict[str, str]]:
    """Time first, then the values; a column that only counts the rows is none of them."""
    width = statistics.median_low([len(row) for row in rows])
    places = [0]
    for place in range(1, width):
        values = [_value(row, place) for row in rows[:_SAMPLE]]
        steps = [after - before for before, after in pairwise(values)]
        counts = sum(step == 1 for step in steps)
        if len(steps) < 8 or counts < 0.9 * len(steps):
            places.append(place)
    roles = ("time", *_ROLES[sort])
    if sort == FIELD and len(places) < 7:
        roles = roles[:4]
    return dict(zip(roles, places, strict=False)), {}


def _time_unit(rows: Sequence[tuple[float, ...]]) -> str:
    steps = [after[0] - before[0] for before, after in pairwise(rows[:_SAMPLE])]
    positive = [step for step in steps if step > 0]
    if not positive:
        return "s"
    step = statistics.median(positive)
    # 4 to 250 samples a second: the three ranges do not meet.
    return "s" if step < 0.6 else "ms" if step < 600 else "us"


def _scaled(
    sort: str,
    times: Sequence[int],
    rows: Sequence[tuple[float, ...]],
    unit: str | None,
    native: str,
    given: bool,
) -> list[tuple[int, ...]]:
    if sort == RANGE:
        per = MM_PER[unit or _length_unit([row[1] for row in rows], native)]
        samples: list[tuple[int, ...]] = []
        for t, row in zip(times, rows, strict=True):
            strength = row[2] if len(row) > 2 else -1.0
            distance = 0 if math.isnan(row[1]) else round(row[1] * per)
            samples.append((t, distance, -1 if math.isnan(strength) else round(strength)))
        return samples
    if sort == SPEED:
        return [
            (t, round(row[1] * 1000), round(row[2]) if len(row) > 2 else 100)
            for t, row in zip(times, rows, strict=True)
        ]
    per = NT_PER[unit] if unit in NT_PER else _field_scale(rows)
    return [
        (t, *(round(value * per) for value in row[1:])) for t, row in zip(times, rows, strict=True)
    ]


def _length_unit(values: Sequence[float], native: str) -> str:
    seen = [value for value in values if 0 < value < 65535]
    if not seen:
        return native
    high = statistics.quantiles(seen, n=50)[-1] if len(seen) > 1 else seen[0]
    if high < 60 and any(value != int(value) for value in seen[:_SAMPLE]):
        return "m"
    if native == "cm" and high > 6000:
        return "mm"
    return "cm" if native == "mm" and high <= 500 else native


def _field_scale(rows: Sequence[tuple[float, ...]]) -> float:
    """Return what takes the numbers to nanotesla: the Earth's field tells the unit."""
    size = statistics.median(math.hypot(*row[1:4]) for row in rows[:_SAMPLE])
    for scale in NT_PER.values():
        if _EARTH_RANGE[0] <= size * scale <= _EARTH_RANGE[1]:
            return scale
    # Counts of a chip, or the Earth's field taken off: the former are scaled to that field.
    return _EARTH_NT / size if size > 600 else 1000.0

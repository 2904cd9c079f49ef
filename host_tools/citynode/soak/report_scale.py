"""The arithmetic of plots: steps a person would choose, fewer points, and numbers in words."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
_STEPS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(MINUTE * n for n in (1, 2, 5, 10, 15, 30)),
    *(HOUR * n for n in (1, 2, 3, 6, 12)),
    *(DAY * n for n in (1, 2, 5, 7, 10, 14, 28)),
)

Point = tuple[float, float]


def time_step(least_s: float) -> float:
    """Return the shortest step of a clock or calendar that is not below `least_s`, in seconds."""
    for step in _STEPS:
        if step >= least_s:
            return step
    return DAY * nice_step(least_s / DAY)


def nice_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is not below `least` (> 0)."""
    power = 10.0 ** math.floor(math.log10(least))
    for factor in (1, 2, 5, 10):
        if factor * power >= least:
            return factor * power
    return 20 * power  # rounding took us below


def ticks(low: float, high: float, about: int) -> list[float]:
    """Return about so many round values that reach from below `low` to above `high`."""
    if high - low <= 1e-9 * max(abs(low), abs(high), 0.001):  # all alike, as far as floats tell
        low, high = low - 1, high + 1
    step = nice_step((high - low) / about)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [n * step for n in range(first, last + 1)]


def time_ticks(span_s: float, at_most: int) -> list[float]:
    """Return round times from 0 to `span_s`, at most so many."""
    step = time_step(span_s / (at_most - 1)) if span_s > 0 else 1.0
    return [n * step for n in range(math.floor(span_s / step + 1e-9) + 1)]


def downsample(points: Sequence[Point], at_most: int) -> list[Point]:
    """Return some of the points, in order: of each stretch of time first, last, lowest, highest.

    `points` are in the order of their first value. At most `at_most` (4 or more) are returned;
    the lowest and the highest of all are among them. The method is M4 (Jugel et al., VLDB 2014).
    """
    if len(points) <= at_most:
        return list(points)
    start, end = points[0][0], points[-1][0]
    count = at_most // 4
    if not end > start:
        return _corners(points)
    stretches: list[list[Point]] = [[] for _ in range(count)]
    for point in points:
        place = int((point[0] - start) / (end - start) * count)
        stretches[min(place, count - 1)].append(point)
    return [point for stretch in stretches if stretch for point in _corners(stretch)]


def _corners(points: Sequence[Point]) -> list[Point]:
    places = range(len(points))
    lowest = min(places, key=lambda place: points[place][1])
    highest = max(places, key=lambda place: points[place][1])
    return [points[place] for place in sorted({0, lowest, highest, len(points) - 1})]


def stretches(points: Sequence[Point], span_s: float) -> list[list[Point]]:
    """Cut a line where nothing was heard for long: five times as long as usual, and 1 % of all."""
    if len(points) < 3:
        return [list(points)] if points else []
    usual = median(b[0] - a[0] for a, b in pairwise(points))
    longest = max(5 * usual, span_s / 100)
    found = [[points[0]]]
    for before, point in pairwise(points):
        if point[0] - before[0] > longest:
            found.append([])
        found[-1].append(point)
    return found


def bucket_s(times: Sequence[float], span_s: float, at_most: int) -> float:
    """Return a width of buckets in which a node that sends evenly leaves none empty, in seconds."""
    even = [b - a for a, b in pairwise(times) if b > a]
    usual = 2 * median(even) if even else 0.0
    return time_step(max(span_s / at_most, min(usual, span_s / 8), 0.001))


def counts(times: Iterable[float], width_s: float, span_s: float) -> list[int]:
    """Return how many of the times are in each bucket from 0 to `span_s`."""
    found = [0] * max(1, math.ceil(span_s / width_s))
    for time in times:
        found[min(int(time / width_s), len(found) - 1)] += 1
    return found


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the ordered values lie (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def merged(spans: Iterable[Point]) -> list[Point]:
    """Put spans together that touch: from, to, in order."""
    found: list[Point] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def length(seconds: float) -> str:
    """Return a length of time with its unit: 0.25 s, 90 s, 1.5 h, 30 d."""
    for unit, size in (("d", DAY), ("h", HOUR), ("min", MINUTE)):
        if seconds >= size * (2 if unit == "min" else 1):
            return f"{brief(seconds / size)} {unit}"
    if 0 < seconds < 0.1:
        return f"{brief(seconds * 1000)} ms"
    return f"{brief(seconds)} s"


def moment(seconds: float) -> str:
    """Return a time since the start: 03:04:05, or 2 d 03:04:05."""
    days, rest = divmod(int(seconds), int(DAY))
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def brief(value: float) -> str:
    """Return a number with three figures, or all before the point."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

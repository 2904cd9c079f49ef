"""The steep and straight part of a track of distances, weighted by their strength."""

from node.traffic.passage import FASTEST_MMS
from node.wire.const import const

FEWEST = const(4)  # readings that make a slope

_SLOWEST_MMS = const(800)
_SHORTEST_MM = const(350)  # a slope over less than this is not one
_ON_LINE_MM = const(40)
_WIDE = const(15)
_UNKNOWN = const(20)  # keeps a strength of -1 (one not told) above nothing, and no RMS from all


def _sigma_mm(strength: int) -> int:
    """Return the standard deviation of a reading; TF-Luna manual, table of strength (100 Hz)."""
    if strength >= 2000:
        return 5
    if strength >= 1000:
        return 10
    return 20 if strength >= 400 else 30


def _line(t, d, s, first: int, last: int) -> tuple:
    """Return slope (mm/s), place of the line at `t[first]` (mm), and RMS of what is off it (mm)."""
    t0, d0 = t[first], d[first]
    w = wt = wd = wtt = wtd = 0.0
    for i in range(first, last):
        sigma = _sigma_mm(s[i])
        weight = 900 / (sigma * sigma)
        x = t[i] - t0
        y = d[i] - d0
        w += weight
        wt += weight * x
        wd += weight * y
        wtt += weight * x * x
        wtd += weight * x * y
    spread = w * wtt - wt * wt
    if spread <= 0:
        return 0.0, float(d0), 1e9
    slope = (w * wtd - wt * wd) / spread
    base = (wd - slope * wt) / w
    off = 0.0
    for i in range(first, last):
        y = d[i] - d0 - base - slope * (t[i] - t0)
        off += y * y
    return slope * 1000, d0 + base, (off / (last - first)) ** 0.5


def fit(t, d, s, n: int) -> tuple:
    """Fit the steep part of `n` readings (ms, mm, strength).

    Returns its rate (mm/s, 0 if there is none) and the confidence (0…100).
    """
    width = max(FEWEST, n // 3 if n < 2 * _WIDE else n // 4)
    step = max(1, width // 4)
    best = 0.0
    first = -1
    for at in range(0, n - width + 1, step):
        travelled = abs(d[at + width - 1] - d[at])
        if travelled < _SHORTEST_MM:
            continue
        rate, _, rms = _line(t, d, s, at, at + width)
        if rms > _ON_LINE_MM + travelled // 20 or abs(rate) > FASTEST_MMS:
            continue
        # Sides and bends only lower a slope; a face at right angles to the lane echoes best.
        strength = 0
        for i in range(at, at + width):
            strength += s[i] + _UNKNOWN
        quality = abs(rate) * strength / (rms + _UNKNOWN)
        if quality > best:
            best, first = quality, at
    if first < 0:
        return 0, 30
    last = first + width
    rate, base, rms = _line(t, d, s, first, last)
    low, high = first, last
    while high < n and abs(d[high] - base - rate * (t[high] - t[first]) / 1000) < _room(s[high]):
        high += 1
    while low > 0 and abs(d[low - 1] - base - rate * (t[low - 1] - t[first]) / 1000) < _room(
        s[low - 1]
    ):
        low -= 1
    rate, base, rms = _line(t, d, s, low, high)
    if not _SLOWEST_MMS <= abs(rate) <= FASTEST_MMS:
        return 0, 30
    travelled = max(abs(d[high - 1] - d[low]), 1)
    sure = min(99 - 400 * int(rms) // travelled, 40 + 4 * (high - low))
    return int(rate), max(sure, 20)


def _room(strength: int) -> int:
    return _ON_LINE_MM + 2 * _sigma_mm(strength)

"""Durations as people write them: 90s, 10m, 24h, 7d."""

import re

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_FORM = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhd]?)")


def seconds(text: str) -> float | None:
    """Return a duration in seconds, None if the text is none or it takes no time."""
    found = _FORM.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        return None
    return float(found[1]) * _UNITS[found[2]]


def words(seconds_: float) -> str:
    """Return a duration in the largest unit that leaves at least one of it."""
    for unit in "dhm":
        if seconds_ >= _UNITS[unit]:
            return f"{seconds_ / _UNITS[unit]:.4g}{unit}"
    return f"{seconds_:.3g}s"

"""GPS time: seconds since 6 January 1980, ahead of UTC by the leap seconds since then."""

# UTC has had no leap second since 2017 (IERS, bulletin C).
_AHEAD_NS = (18 - 315_964_800) * 1_000_000_000


def from_unix(unix_ns: int) -> int:
    """Return the GPS time (ns) of a date."""
    return unix_ns + _AHEAD_NS


def to_unix(gps_ns: int) -> int:
    """Return the date (ns since 1970) of a GPS time."""
    return gps_ns - _AHEAD_NS

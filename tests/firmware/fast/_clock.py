"""The clocks of the virtual board's `time`, in virtual time: they go on while all tasks wait."""

_EPOCH_NS = 946684800 * 1000000000  # a chip's time of day at power-up is 2000-01-01
_now_us = 0
_offset_ns = _EPOCH_NS


def us():
    """Return the microseconds since the start."""
    return _now_us


def unix_ns():
    """Return the time of day in nanoseconds since 1970."""
    return _now_us * 1000 + _offset_ns


def set_unix_ns(ns):
    """Set the time of day."""
    global _offset_ns
    _offset_ns = ns - _now_us * 1000


def advance_us(us):
    """Let time go by."""
    global _now_us
    _now_us += us

"""The board's two clocks: microseconds since its start, and the time of day that was set."""

from _native import time as _time
from _rpc import call

_ticks_us = _time.ticks_us
# The host gives both at the start: microseconds since the board's start, and what to add to
# them (in nanoseconds) for the time of day since 1970.
_base_us = 0
_offset_ns = 0


def start(uptime_us, offset_ns):
    """Take over the clocks that the host has kept."""
    global _base_us, _offset_ns
    _base_us = uptime_us - _ticks_us()
    _offset_ns = offset_ns


def us():
    """Return the microseconds since the board's start."""
    return _ticks_us() + _base_us


def unix_ns():
    """Return the board's time of day in nanoseconds since 1970."""
    return us() * 1000 + _offset_ns


def set_unix_ns(ns):
    """Set the board's time of day."""
    global _offset_ns
    _offset_ns = ns - us() * 1000
    call("app.set_clock", _offset_ns)

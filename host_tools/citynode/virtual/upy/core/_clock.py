"""The board's two clocks: microseconds since its start, and the time of day that was set."""

from _native import time as _time
from _rpc import call

_LOOK_US = 1000
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


bus_us = us  # the time on the wires of a bus


def spend_us(us):
    """Wait while the bus transfers."""
    if us > 0:
        _time.sleep_us(us)


def doze_us(us):
    """Wait so long at most; who waits for input looks again then."""
    _time.sleep_us(us if us < _LOOK_US else _LOOK_US)


def unix_ns():
    """Return the board's time of day in nanoseconds since 1970."""
    return us() * 1000 + _offset_ns


def set_unix_ns(ns):
    """Set the board's time of day."""
    global _offset_ns
    _offset_ns = ns - us() * 1000
    call("app.set_clock", _offset_ns)

"""`time` of the ESP32 port: epoch 2000, whole seconds, ticks that wrap at 2**30."""

import _clock
import _facts
from _native import time as _time

_WIDER = (1, 27)  # the release from which on times are 64 bits wide
_MHZ = 240 if _facts.chip == "esp32s3" else 160
_EPOCH = 946684800  # 2000-01-01 in seconds since 1970
_MASK = 0x3FFFFFFF
_HALF = 0x20000000

sleep = _time.sleep
sleep_us = _time.sleep_us
_us = _clock.us


def sleep_ms(ms):
    start = _us()
    _time.sleep_ms(ms)
    # The interpreter counts whole milliseconds and ends up to one early; the port never does.
    left = start + 1000 * ms - _us()
    while left > 0:
        _time.sleep_us(left)
        left = start + 1000 * ms - _us()


def ticks_ms():
    return (_us() // 1000) & _MASK


def ticks_us():
    return _us() & _MASK


def ticks_cpu():
    return (_us() * _MHZ) & _MASK


def ticks_diff(end, start):
    return ((end - start + _HALF) & _MASK) - _HALF


def ticks_add(ticks, delta):
    if not -_HALF < delta < _HALF:
        raise OverflowError("ticks interval overflow")
    return (ticks + delta) & _MASK


def time():
    return _clock.unix_ns() // 1000000000 - _EPOCH


def time_ns():
    return _clock.unix_ns() - _EPOCH * 1000000000


def gmtime(seconds=None):
    if seconds is None:
        seconds = time()
    elif not -0x80000000 <= seconds < 0x80000000 and _facts.release < _WIDER:
        raise OverflowError("overflow converting long int to machine word")
    return _time.gmtime(int(seconds) + _EPOCH)[:8]


localtime = gmtime


def mktime(fields):
    fields = tuple(fields)
    if not 8 <= len(fields) <= 9:
        raise TypeError("mktime needs a tuple of length 8 or 9")
    # Days from the civil calendar; months and days may be out of range, as on the port.
    year, month, day, hour, minute, second = fields[:6]
    year += (month - 1) // 12
    month = (month - 1) % 12 + 1
    if month <= 2:
        year -= 1
        month += 12
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day
    seconds = (days - _FIRST_DAY) * 86400 + hour * 3600 + minute * 60 + second
    return seconds & 0xFFFFFFFF if _facts.release < _WIDER else seconds


_FIRST_DAY = 365 * 1999 + 1999 // 4 - 1999 // 100 + 1999 // 400 + (153 * 13 - 457) // 5 + 1

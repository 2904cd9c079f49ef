"""The node's clocks: ticks, time since the start, time of day; and waiting by them."""

import asyncio
import time

from node.wire.const import const

# MicroPython counts from 2000 on most ports, from 1970 on some.
_EPOCH_MS = 946684800000 if time.gmtime(0)[0] == 2000 else 0
_NS_IN_MS = const(1000000)


class Clock:
    """All times of the node; `known` tells whether the time of day was set from the network.

    `set_rtc(unix_ms)` sets the hardware's time of day. `changed` is an Event set with it.
    """

    ticks_ms = staticmethod(time.ticks_ms)
    ticks_us = staticmethod(time.ticks_us)
    ticks_add = staticmethod(time.ticks_add)  # type: ignore[arg-type]
    ticks_diff = staticmethod(time.ticks_diff)  # type: ignore[arg-type]
    sleep_ms = staticmethod(asyncio.sleep_ms)  # type: ignore[arg-type]
    # For a few milliseconds: blocks all tasks.
    wait_ms = staticmethod(time.sleep_ms)  # type: ignore[arg-type]
    wait_us = staticmethod(time.sleep_us)  # type: ignore[arg-type]

    def __init__(self, set_rtc, known: bool) -> None:
        self._set_rtc = set_rtc
        self._last = time.ticks_ms()
        self._uptime_ms = 0
        self.known = known
        self.changed = asyncio.Event()

    def uptime_ms(self) -> int:
        """Return milliseconds since the start of the program; to be asked every few days at least.

        Ticks wrap at 2^30 ms (12 days), this does not.
        """
        now = time.ticks_ms()
        self._uptime_ms += time.ticks_diff(now, self._last)
        self._last = now
        return self._uptime_ms

    def unix_ms(self) -> int:
        """Return the time of day in ms since 1970; if it is not `known`, from 2000 at power-up."""
        return time.time_ns() // _NS_IN_MS + _EPOCH_MS

    def set(self, unix_ms: int) -> int:
        """Set the time of day and return by how many ms it was moved."""
        step = unix_ms - self.unix_ms()
        self._set_rtc(unix_ms)
        self.known = True
        self.changed.set()
        return step

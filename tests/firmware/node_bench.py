"""The core's objects joined as `hal.compose` joins them, without hardware; MicroPython only."""

import asyncio

import _clock
from node.core.channel import Channel
from node.core.clock import Clock
from node.core.counters import SIZE, Counters
from node.core.crumb import Crumb
from node.core.health import Health
from node.core.log import Log
from node.core.record import Recorder
from node.wire import frame
from node_flash import Files, formatted

EPOCH = 0xC0FFEE
YEAR_2024 = 1717200000  # Unix seconds of a whole hour
MS = 1000


def channel_on(bus, sensor, driver, clock):
    """Return the channel of a sensor with a driver for I2C, as `hal.sensing` makes it."""
    recover = getattr(bus, "recover", None)
    return Channel(sensor, driver.FIELDS, lambda: driver(bus, sensor.address, clock), recover)


class Board:
    """What outlives the program: the flash and RTC memory; `power_cut` leaves the flash alone."""

    def __init__(self):
        self.flash = formatted()
        self.rtc = b""

    def power_cut(self):
        self.rtc = b""
        _clock.set_unix_ns(946684800 * 1000000000)


class Node:
    """One run of the program on a board, from a start to the end of the `with`."""

    def __init__(self, board=None, woke=False, limit=16384):
        self.board = board or Board()
        self.lines = []
        self.files = Files(self.board.flash)
        self.files.__enter__()
        self.crumb = Crumb(lambda: self.board.rtc, self._store)
        self.clock = Clock(self._set_rtc, self.crumb.synced_s > 0)
        self.log = Log(self.lines.append, self.clock, 0)
        self.counters = Counters()
        if woke and len(self.crumb.found_counters) == SIZE:
            self.counters.unpack(self.crumb.found_counters)
        self.spool, self.state = self.files.spool(limit, lambda: EPOCH)
        self.recorder = Recorder(
            self.spool, self.state, self.clock, self.crumb, self.counters, self.log
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.files.__exit__()

    def _store(self, data):
        self.board.rtc = bytes(data)

    def _set_rtc(self, unix_ms):
        _clock.set_unix_ns(unix_ms * 1000000)

    def unix_s(self):
        return self.clock.unix_ms() // 1000

    def records(self):
        """Return what would be sent now, oldest first, decoded."""
        found = []
        self.spool.rewind()
        while True:
            entry = self.spool.read()
            if entry is None:
                return found
            found += frame.decode(self.recorder.frame(entry))


def set_date(unix_s):
    """Set the hardware's time of day."""
    _clock.set_unix_ns(int(unix_s * 1000) * 1000000)


class Promise:
    """A task's Progress that notes when a promise was not kept."""

    def __init__(self, clock):
        self._clock = clock
        self._until = None
        self.broken = []

    def within(self, ms):
        now = self._clock.uptime_ms()
        if self._until is not None and now > self._until:
            self.broken.append(now - self._until)
        self._until = now + ms


async def cancelled(task):
    """Cancel a task and wait for its end."""
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass


class Watchdog:
    """Notes how long it went unfed."""

    def __init__(self, clock):
        self._clock = clock
        self._last = clock.uptime_ms()
        self.longest_ms = 0

    def feed(self):
        now = self._clock.uptime_ms()
        self.longest_ms = max(self.longest_ms, now - self._last)
        self._last = now

    def hunger_ms(self):
        return max(self.longest_ms, self._clock.uptime_ms() - self._last)


def health_of(node, interval_s, measured=None):
    return Health(
        interval_s,
        {"firmware": "1.2.3", "reset_cause": "poweron", "epoch": 7, "restarts": 3},
        lambda: measured or {"heap_free_b": 65536, "rssi_dbm": None},
        node.recorder,
        node.spool,
        node.clock,
        node.counters,
        node.crumb,
    )

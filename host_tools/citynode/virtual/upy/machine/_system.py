"""Functions of `machine`, and `machine.RTC`: resets, sleep, the clock of the ESP32 port."""

import _clock
import _facts
import _irq
from _native import time as _time
from _rpc import call as _call
from _rpc import resume as _resume
from _thread import allocate_lock as _allocate_lock
from _thread import get_ident as _get_ident

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5
SLEEP = 2
DEEPSLEEP = 4
PIN_WAKE = EXT0_WAKE = 2
EXT1_WAKE = 3
TIMER_WAKE = 4
TOUCHPAD_WAKE = 5
ULP_WAKE = 6

_alone = None  # the thread that has interrupts disabled
_alone_lock = _allocate_lock()
_CAUSES = {
    "poweron": PWRON_RESET,
    # A falling EN and a brownout look the same to ESP-IDF as a power-on.
    "ext": PWRON_RESET,
    "brownout": PWRON_RESET,
    "sw": HARD_RESET,
    "panic": HARD_RESET,
    "rtc_wdt": WDT_RESET,
    "tg0_wdt": WDT_RESET,
    "task_wdt": WDT_RESET,
    "deepsleep": DEEPSLEEP_RESET,
}
_WAKES = {"ext0": 2, "ext1": 3, "timer": 4, "touch": 5, "ulp": 6, "gpio": 7}
_MHZ = {
    "esp32": (20, 40, 80, 160, 240),
    "esp32s3": (20, 40, 80, 160, 240),
    "esp32c3": (20, 40, 80, 160),
}
_RTC_MEMORY = 2048
_chip = _call("system.facts")[0]
_freq = 240000000 if _chip == "esp32s3" else 160000000


def reset():
    _call("app.exit", "reset", None)


def soft_reset(value=None):
    _facts.soft_reset = True
    raise SystemExit if value is None else SystemExit(value)


def bootloader(timeout=0):
    _call("app.exit", "bootloader", None)


def deepsleep(sleep_ms=None):
    _call("wake.sleeping")
    _call("app.exit", "deepsleep", sleep_ms)


def lightsleep(sleep_ms=None):
    if sleep_ms is None:
        while True:
            _time.sleep_ms(1000)
    _time.sleep_ms(sleep_ms)


sleep = lightsleep


def reset_cause():
    return SOFT_RESET if _call("system.facts")[1] else _CAUSES.get(_call("app.reset_cause"), 0)


def wake_reason():
    return _WAKES.get(_call("app.wake"), 0)


def unique_id():
    return _call("app.mac")


def freq(hz=None):
    global _freq
    if hz is None:
        return _freq
    if hz // 1000000 not in _MHZ[_chip]:
        if _chip == "esp32c3":
            raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz or 160MHz")
        raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz, 160MHz or 240MHz")
    _freq = hz // 1000000 * 1000000


def idle():
    _time.sleep_us(100)


def disable_irq():
    """Hold soft interrupts and the other threads that call this back; return what to restore."""
    global _alone
    me = _get_ident()
    if _alone != me:
        # From here no jump, where an exception might come out.
        _alone_lock.acquire()
        _alone = me
    before = _irq.off
    _irq.off = before + 1
    return before


def enable_irq(state):
    """Restore what `disable_irq` has returned."""
    global _alone
    if _alone != _get_ident():
        return
    _irq.off = state
    if not state:
        _alone = None
        _alone_lock.release()
        _resume()


def time_pulse_us(pin, pulse_level, timeout_us=1000000):
    start = _clock.us()
    while pin.value() != pulse_level:
        if _clock.us() - start > timeout_us:
            return -2
    start = _clock.us()
    while pin.value() == pulse_level:
        if _clock.us() - start > timeout_us:
            return -1
    return _clock.us() - start


def bitstream(pin, encoding, timing, data):
    """Send bits as pulses; nothing that a board has listens to them."""
    if encoding != 0:
        raise ValueError("encoding")
    if len(timing) != 4:
        raise ValueError("requires 4 items")
    if isinstance(pin, int):
        raise TypeError("expecting a pin")
    low_ns = sum(timing[:2])
    _time.sleep_us(len(data) * 8 * low_ns // 1000)
    pin.value(0)


class _Memory:
    """`mem8` and its like: registers and RAM of the chip, which are not there to be read."""

    def __init__(self, size):
        self._size = size
        self._words = {}

    def __repr__(self):
        return "<%d-bit memory>" % (8 * self._size)

    def _check(self, address):
        if address % self._size:
            raise ValueError("address %08x is not aligned to %d bytes" % (address, self._size))
        return address

    def __getitem__(self, address):
        return self._words.get(self._check(address), 0)

    def __setitem__(self, address, value):
        self._words[self._check(address)] = value & ((1 << 8 * self._size) - 1)


mem8 = _Memory(1)
mem16 = _Memory(2)
mem32 = _Memory(4)


class RTC:
    """The clock of the chip and its memory that outlives deep sleep."""

    def __repr__(self):
        return "<RTC>"

    def __new__(cls):
        return _rtc

    def init(self, date):
        """Set the clock; unlike in `datetime` the hour comes fourth."""
        self._set(date, 3)

    def datetime(self, date=None):
        if date is not None:
            self._set(date, 4)
            return None
        ns = _clock.unix_ns()
        year, month, day, hour, minute, second, weekday = _time.gmtime(ns // 1000000000)[:7]
        return year, month, day, weekday, hour, minute, second, ns // 1000 % 1000000

    def _set(self, date, hour_index):
        date = tuple(date)
        if len(date) != 8:
            raise ValueError("requested length 8 but object has length %d" % len(date))
        year, month, day = date[:3]
        hour, minute, second = date[hour_index : hour_index + 3]
        # The days of a year that begins in March make all months alike but the last.
        y, m = (year, month) if month > 2 else (year - 1, month + 12)
        days = 365 * y + y // 4 - y // 100 + y // 400 + (153 * m - 457) // 5 + day - 719469
        seconds = ((days * 24 + hour) * 60 + minute) * 60 + second
        _clock.set_unix_ns((seconds * 1000000 + date[7]) * 1000)

    def memory(self, data=None):
        if data is None:
            return _call("app.rtc_memory", None)
        if len(data) > _RTC_MEMORY:
            raise ValueError("buffer too long")
        _call("app.rtc_memory", data.encode() if isinstance(data, str) else bytes(data))


_rtc = object.__new__(RTC)

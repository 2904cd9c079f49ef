"""`machine.Timer` and `machine.WDT` of the ESP32 port; both run on the host."""

import _irq
import micropython
from _rpc import call

_CHANNEL = 200
_count = call("timer.count")
_timers = {}
_soft = [0]


class Timer:
    """A timer: 0 to 3 are the hardware's, each -1 is one more."""

    ONE_SHOT = 0
    PERIODIC = 1

    def __new__(cls, id, *args, **kwargs):
        if id == -1:
            number = _count + _soft[0]
            _soft[0] += 1
        else:
            number = id % _count  # the port takes the lower bits as well
        if number not in _timers:
            new = object.__new__(cls)
            new._number = number
            new._id = -1 if number >= _count else number
            new._mode = 0
            new._period_us = 0
            new._callback = None
            _timers[number] = new
        return _timers[number]

    def __init__(self, id, *args, **kwargs):
        if args or kwargs:
            self.init(*args, **kwargs)

    def __repr__(self):
        mode = "PERIODIC" if self._mode else "ONE_SHOT"
        return "Timer(%d, mode=%s, period=%d)" % (self._id, mode, self._period_us // 1000)

    def init(
        self, *, mode=1, callback=None, period=0xFFFFFFFF, tick_hz=1000, freq=None, hard=False
    ):
        if hard:
            raise ValueError("hard Timers are not implemented")
        if freq is not None:
            period_us = int(1000000 / freq)
        else:
            period_us = period * 1000000 // tick_hz
        self._mode = mode
        self._period_us = period_us
        self._callback = callback
        _irq.attach(_CHANNEL + self._number, self._alarm)
        call("timer.start", self._number, period_us, bool(mode))

    def deinit(self):
        call("timer.stop", self._number)
        _irq.attach(_CHANNEL + self._number, None)

    def value(self):
        return call("timer.value", self._number)

    def _alarm(self, _):
        if self._callback is not None:
            try:
                micropython.schedule(self._callback, self)
            except RuntimeError:
                pass  # the queue of 8 is full: the port loses the alarm as well


class WDT:
    """The task watchdog."""

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        call("wdt.start", timeout)

    def feed(self):
        call("wdt.feed")

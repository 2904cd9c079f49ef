"""`machine.Timer` and `machine.WDT` of the ESP32 port; both run on the host."""

import _facts
import _irq
from _rpc import call

_CHANNEL = 200
_CHECKED = (1, 25)  # the release from which on other numbers than the chip's are refused
_KNOWS_HARD = (1, 27)
_VIRTUAL = (1, 29)  # and from which on -1 is a timer in software, as many as wanted
_count = call("timer.count")
_timers = {}
_virtual = [0]


class Timer:
    """A timer of the chip, or one in software where the release has them."""

    ONE_SHOT = 0
    PERIODIC = 1

    def __new__(cls, id, **kwargs):
        number = id
        if id == -1 and _facts.release >= _VIRTUAL:
            number = _count + _virtual[0]
            _virtual[0] += 1
        elif _facts.release < _CHECKED:
            number = id & (_count - 1)  # only the lower bits were looked at
        elif not 0 <= id < _count:
            raise ValueError("invalid Timer number")
        if number not in _timers:
            new = _timers[number] = object.__new__(cls)
            new._number = number
            new._id = -1 if number >= _count else number
            new._mode = 0
            new._period_us = 0
            new._callback = None
        return _timers[number]

    def __init__(self, id, **kwargs):
        if kwargs:
            self.init(**kwargs)

    def __repr__(self):
        mode = "PERIODIC" if self._mode else "ONE_SHOT"
        return "Timer(%d, mode=%s, period=%d)" % (self._id, mode, self._period_us // 1000)

    def init(self, *, mode=1, callback=None, period=0xFFFFFFFF, tick_hz=1000, freq=None, hard=None):
        if hard is not None and _facts.release < _KNOWS_HARD:
            raise TypeError("extra keyword arguments given")
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
        _irq.run(self._callback, self)


class WDT:
    """The task watchdog: there is one."""

    def __repr__(self):
        return "<WDT>"

    def __new__(cls, id=0, timeout=5000):
        if id != 0:
            raise ValueError
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        call("wdt.start", timeout)
        return _wdt

    def __init__(self, id=0, timeout=5000):
        pass

    def feed(self):
        call("wdt.feed")


_wdt = object.__new__(WDT)

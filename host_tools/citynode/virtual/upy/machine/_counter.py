"""`machine.Counter` of the ESP32 port, over a PCNT unit of the host."""

from _rpc import call

from machine._pin import number

units = call("counter.units")
_counters = {}


class Counter:
    """A pulse counter: one object for each unit."""

    RISING = 1
    FALLING = 2
    UP = 1
    DOWN = 2

    def __new__(cls, id, *args, **kwargs):
        if not 0 <= id < units:
            raise ValueError("invalid id")
        if id not in _counters:
            new = object.__new__(cls)
            new._id = id
            _counters[id] = new
        return _counters[id]

    def __init__(self, id, *args, **kwargs):
        if args or kwargs:
            self.init(*args, **kwargs)

    def init(self, src, edge=RISING, direction=UP, *, filter_ns=0):
        step = 1 if direction == self.UP else -1
        call("counter.init", self._id, number(src), edge, step)

    def value(self, value=None):
        return call("counter.value", self._id, value)

    def deinit(self):
        call("counter.deinit", self._id)

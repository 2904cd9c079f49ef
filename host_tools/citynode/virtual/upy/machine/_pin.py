"""`machine.Pin` and `machine.Signal` of the ESP32 port; the pads are the host's."""

import _irq
import _wake
from _native import time
from _rpc import call, pin_get, pin_set

_CHANNEL = 100
_ETIMEDOUT = 116
_UNSET = object()
_gpios, input_only = call("pin.map")
_pins = {}


class _Irq:
    """What Pin.irq() returns."""

    def __repr__(self):
        return "<IRQ>"

    def __init__(self, pin):
        self._pin = pin
        self._trigger = 0

    def __call__(self):
        self._pin._on_edge(0)

    def trigger(self, trigger=None):
        old = self._trigger
        if trigger is not None:
            self._set(trigger)
        return old

    def _set(self, trigger):
        self._trigger = trigger
        call("pin.irq", self._pin._id, trigger)


class _Board:
    """Names of pins; a generic build has none."""


class Pin:
    """A GPIO: one object for each, however often it is made."""

    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_RISING = 1
    IRQ_FALLING = 2
    WAKE_LOW = 4
    WAKE_HIGH = 5
    DRIVE_0 = 0
    DRIVE_1 = 1
    DRIVE_2 = 2
    DRIVE_3 = 3
    board = _Board

    def __new__(cls, id, *args, **kwargs):
        return find(id)

    def __init__(self, id, *args, **kwargs):
        if args or kwargs:
            self.init(*args, **kwargs)

    def init(self, mode=None, pull=-1, *, value=_UNSET, drive=_UNSET, hold=_UNSET):
        call(
            "pin.init",
            self._id,
            mode,
            0 if pull is None else pull,
            None if value is _UNSET else int(bool(value)),
            None if hold is _UNSET else bool(hold),
        )

    def __repr__(self):
        return "Pin(%d)" % self._id

    def __hash__(self):
        return self._id

    def __call__(self, *value):
        if not value:
            return pin_get(self._id)
        pin_set(self._id, int(bool(*value)))

    value = __call__

    def on(self):
        pin_set(self._id, 1)

    def off(self):
        pin_set(self._id, 0)

    def toggle(self):
        call("pin.toggle", self._id)

    def irq(self, handler=_UNSET, trigger=_UNSET, wake=None):
        if handler is _UNSET and trigger is _UNSET and wake is None:
            return self._irq
        if handler is _UNSET:
            handler = None
        if trigger is _UNSET:
            trigger = self.IRQ_RISING | self.IRQ_FALLING
        if wake is not None and trigger in (self.WAKE_LOW, self.WAKE_HIGH):
            if not isinstance(wake, int) or not 2 <= wake <= 7:
                raise ValueError("bad wake value")
            _wake.irq(self._id, trigger == self.WAKE_HIGH)
            return self._irq
        _wake.release(self._id)
        self._handler = handler
        if handler is None:
            trigger = 0
            _irq.attach(_CHANNEL + self._id, None)
        else:
            _irq.attach(_CHANNEL + self._id, self._on_edge)
        self._irq._set(trigger)
        return self._irq

    def _on_edge(self, level):
        _irq.run(self._handler, self)


def find(pin):
    """Return the pin of a number, name or Pin; ValueError if the chip has none."""
    if isinstance(pin, Pin):
        return pin
    if isinstance(pin, int) and pin in _gpios:
        found = _pins.get(pin)
        if found is None:
            found = _pins[pin] = object.__new__(Pin)
            found._id = int(pin)
            found._handler = None
            found._irq = _Irq(found)
        return found
    raise ValueError("invalid pin")


def number(pin):
    """Return the number of a pin given as a number, name or Pin."""
    return find(pin)._id


class Signal:
    """A pin that may be active low."""

    def __repr__(self):
        return "<Signal>"

    def __init__(self, pin, *args, **kwargs):
        invert = bool(kwargs.pop("invert", False))
        if hasattr(pin, "value"):
            if args or kwargs:
                raise TypeError
        else:
            if invert and "value" in kwargs:
                kwargs["value"] = not kwargs["value"]
            pin = Pin(pin, *args, **kwargs)
        self._pin = pin
        self._invert = invert

    def __call__(self, *value):
        return self.value(*value)

    def value(self, *value):
        if not value:
            return int(self._pin.value() ^ self._invert)
        self._pin.value(int(bool(*value) ^ self._invert))

    def on(self):
        self._pin.value(int(1 ^ self._invert))

    def off(self):
        self._pin.value(int(0 ^ self._invert))


class PinBase:
    """What a class in Python derives from to be taken for a pin."""

    def __init__(self, *args, **kwargs):
        pass


def dht_readinto(pin, buf):
    """Ask a DHT sensor; none is modelled, so the answer never comes."""
    number(pin)
    time.sleep_ms(20)
    raise OSError(_ETIMEDOUT)

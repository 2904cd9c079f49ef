"""What is to end a sleep, as `esp32` and `machine.Pin.irq` set it."""

from _rpc import call

_RTC_PINS = call("wake.pins")
_ext0 = None
_ext0_level = False
_ext1 = []
_ext1_level = False
_touch = False


def _check(pin, text):
    if pin not in _RTC_PINS:
        raise ValueError(text)


def _exclusive(taken):
    if taken:
        raise ValueError("no resources")


def ext0(pin, level):
    """Set the pin (None: none, -1: as it is) and the level (None: as it is)."""
    global _ext0, _ext0_level
    _exclusive(_touch)
    if pin != -1:
        if pin is not None and pin != _ext0:
            _check(pin, "invalid pin")
        _ext0 = pin
    if level is not None:
        _ext0_level = bool(level)
    call("wake.ext0", _ext0, _ext0_level)


def ext1(pins, level):
    """Set the pins and the level (None: as they are)."""
    global _ext1, _ext1_level
    if pins is not None:
        for pin in pins:
            _check(pin, "invalid pin")
        _ext1 = pins
    if level is not None:
        _ext1_level = bool(level)
    call("wake.ext1", _ext1, _ext1_level)


def gpio(pins, level):
    """Set pins and level of the chips that have neither ext0 nor ext1."""
    for pin in pins:
        _check(pin, "invalid pin")
    call("wake.gpio", pins, bool(level))


def touch(wake):
    global _touch
    ulp(wake)
    _touch = bool(wake)


def ulp(wake):
    _exclusive(_ext0 is not None)


def irq(pin, level):
    """Take a pin's level for ext0, as `Pin.irq(trigger=Pin.WAKE_…, wake=…)` does."""
    _exclusive(_touch)
    _check(pin, "invalid pin for wake")
    _exclusive(_ext0 not in (None, pin))
    ext0(pin, level)


def release(pin):
    """Let go of ext0 if it is this pin's."""
    if _ext0 == pin:
        ext0(None, None)

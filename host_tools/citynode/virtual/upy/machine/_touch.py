"""`machine.TouchPad` of the ESP32 port; nobody touches the pads of a virtual board."""

import _facts

from machine._pin import number

_PINS = {
    "esp32": (4, 0, 2, 15, 13, 12, 14, 27, 33, 32),
    "esp32s3": tuple(range(1, 15)),
}
_UNTOUCHED = {"esp32": 1020, "esp32s3": 24800}  # raw counts of a bare pin


class TouchPad:
    """A pin that senses a finger by its capacity."""

    def __init__(self, pin):
        self._pin = number(pin)
        if self._pin not in _PINS[_facts.chip]:
            raise ValueError("invalid pin for touchpad")

    def __repr__(self):
        return "<TouchPad>"

    def config(self, value):
        pass

    def read(self):
        return _UNTOUCHED[_facts.chip] - self._pin

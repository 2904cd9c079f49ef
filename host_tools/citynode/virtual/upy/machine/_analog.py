"""`machine.ADC`, `machine.ADCBlock` and `machine.DAC` of the ESP32 port."""

import _facts
from _rpc import call

from machine._pin import number

# Pins of the converters, in the order of their channels.
_blocks = call("adc.pins")
_BITS = (9, 10, 11, 12)
_ATTENUATIONS = 4
_DAC_PINS = (25, 26)
_channels = {}
_units = {}


class ADC:
    """A channel of the converters; it keeps its attenuation."""

    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3
    if _facts.chip == "esp32":
        WIDTH_9BIT = 9
        WIDTH_10BIT = 10
        WIDTH_11BIT = 11
    WIDTH_12BIT = 12

    def __new__(cls, pin, *, atten=-1):
        id = number(pin)
        for unit in range(len(_blocks)):
            if id in _blocks[unit]:
                return _channel(id, unit)
        raise ValueError("invalid pin")

    def __init__(self, pin, *, atten=-1):
        self.init(atten=atten)

    def __repr__(self):
        return "ADC(Pin(%d), atten=%d)" % (self._pin, self._atten)

    def init(self, *, atten=-1):
        if atten != -1:
            self.atten(atten)

    def block(self):
        return self._block

    def atten(self, atten):
        if not 0 <= atten < _ATTENUATIONS:
            raise ValueError("invalid atten")
        self._atten = atten

    def width(self, bits):
        self._block._set(bits)

    def read(self):
        return call("adc.read", self._pin, self._atten) >> (12 - self._block._bits)

    def read_u16(self):
        bits = self._block._bits
        raw = self.read()
        return raw << (16 - bits) | raw >> (2 * bits - 16)

    def read_uv(self):
        return call("adc.read_uv", self._pin, self._atten)


class ADCBlock:
    """One of the two converters."""

    def __new__(cls, id, *, bits=-1):
        if not 0 <= id < len(_blocks):
            raise ValueError("invalid block id")
        return _unit(id)

    def __init__(self, id, *, bits=-1):
        self.init(bits=bits)

    def __repr__(self):
        return "ADCBlock(%d, bits=%d)" % (self._id, self._bits)

    def init(self, *, bits=-1):
        if bits != -1:
            self._set(bits)

    def connect(self, channel, pin=None, *, atten=-1):
        pins = _blocks[self._id]
        if not isinstance(channel, int):
            channel, pin = None, channel
        id = pins[channel] if pin is None and channel < len(pins) else pin and number(pin)
        if id not in pins or (channel is not None and pins[channel] != id):
            raise ValueError("no matching ADC")
        adc = _channel(id, self._id)
        adc.init(atten=atten)
        return adc

    def _set(self, bits):
        if bits not in _BITS:
            raise ValueError("invalid bits")
        self._bits = bits


def _channel(pin, unit):
    if pin not in _channels:
        new = _channels[pin] = object.__new__(ADC)
        new._pin = pin
        new._atten = 0
        new._block = _unit(unit)
    return _channels[pin]


def _unit(id):
    if id not in _units:
        new = _units[id] = object.__new__(ADCBlock)
        new._id = id
        new._bits = 12
    return _units[id]


class DAC:
    """One of the ESP32's two converters of bytes to voltages."""

    def __init__(self, pin):
        self._pin = number(pin)
        if self._pin not in _DAC_PINS:
            raise ValueError("invalid Pin for DAC")
        self.write(0)

    def __repr__(self):
        return "DAC(Pin(%d))" % self._pin

    def write(self, value):
        if not 0 <= value <= 255:
            raise ValueError("value out of range")
        call("dac.write", self._pin, value)

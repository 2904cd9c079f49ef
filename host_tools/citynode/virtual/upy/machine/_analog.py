"""`machine.ADC` and `machine.PWM` of the ESP32 port."""

from _rpc import call

from machine._pin import number

_adc_pins = call("adc.pins")
_channels = {}


class ADC:
    """A channel of the converters; it keeps its attenuation."""

    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3
    WIDTH_9BIT = 9
    WIDTH_10BIT = 10
    WIDTH_11BIT = 11
    WIDTH_12BIT = 12

    def __new__(cls, pin, *, atten=-1):
        id = number(pin)
        if id not in _adc_pins:
            raise ValueError("invalid pin")
        if id not in _channels:
            new = object.__new__(cls)
            new._pin = id
            new._atten = 0
            new._bits = 12
            _channels[id] = new
        return _channels[id]

    def __init__(self, pin, *, atten=-1):
        if atten != -1:
            self.atten(atten)

    def __repr__(self):
        return "ADC(Pin(%d), atten=%d)" % (self._pin, self._atten)

    def init(self, *, atten=-1):
        if atten != -1:
            self.atten(atten)

    def atten(self, atten):
        if not 0 <= atten <= 3:
            raise ValueError("invalid atten")
        self._atten = atten

    def width(self, bits):
        if not 9 <= bits <= 12:
            raise ValueError("invalid bits")
        self._bits = bits

    def read(self):
        return call("adc.read", self._pin, self._atten) >> (12 - self._bits)

    def read_u16(self):
        raw = call("adc.read", self._pin, self._atten)
        return raw << 4 | raw >> 8

    def read_uv(self):
        return call("adc.read_uv", self._pin, self._atten)


class PWM:
    """An output of the LED controller."""

    def __init__(self, pin, *args, **kwargs):
        self._pin = number(pin)
        running = call("pwm.get", self._pin)
        self._freq, self._duty = running if running else (5000, 32768)
        self.init(*args, **kwargs)

    def __repr__(self):
        return "PWM(Pin(%d), freq=%d, duty_u16=%d)" % (self._pin, self._freq, self._duty)

    def init(self, freq=-1, duty=-1, *, duty_u16=-1, duty_ns=-1):
        freq = self._freq if freq == -1 else freq
        if not 1 <= freq <= 40000000:
            raise ValueError("frequency must be from 1Hz to 40MHz")
        value = self._duty
        if duty_u16 != -1:
            value = _within(duty_u16, 65535, "duty_u16")
        elif duty_ns != -1:
            value = _of_ns(duty_ns, freq)
        elif duty != -1:
            value = _within(duty, 1023, "duty") << 6
        self._set(freq, value)

    def deinit(self):
        call("pwm.off", self._pin)

    def freq(self, freq=None):
        if freq is None:
            return self._freq
        self.init(freq)

    def duty(self, duty=None):
        if duty is None:
            return self._duty >> 6
        self._set(self._freq, _within(duty, 1023, "duty") << 6)

    def duty_u16(self, duty=None):
        if duty is None:
            return self._duty
        self._set(self._freq, _within(duty, 65535, "duty_u16"))

    def duty_ns(self, ns=None):
        if ns is None:
            return self._duty * 1000000000 // (self._freq << 16)
        self._set(self._freq, _of_ns(ns, self._freq))

    def _set(self, freq, duty):
        call("pwm.set", self._pin, freq, duty)
        self._freq, self._duty = freq, duty


def _within(value, limit, name):
    if not 0 <= value <= limit:
        raise ValueError("%s must be from 0 to %d" % (name, limit))
    return value


def _of_ns(ns, freq):
    value = (ns * freq << 16) // 1000000000
    if not 0 <= value <= 1 << 16:
        raise ValueError("duty_ns must be from 0 to %d ns" % (1000000000 // freq))
    return min(value, 65535)

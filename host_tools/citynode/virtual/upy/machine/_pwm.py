"""`machine.PWM` of the ESP32 port: outputs of the LED controller, which share a few timers."""

import _facts
from _rpc import call

from machine._pin import number

_U16 = 65535
_U10 = 1023
_FREQ = 5000
_FREQ_MAX = 40000000
_REF_HZ, _APB_HZ = 1000000, 80000000
_REF_BELOW = 10  # Hz; the ESP32 alone has the slow clock
# (speed modes, channels and timers of each, bits of a counter) of the chips.
_MODES, _CHANNELS, _TIMERS, _BITS = {
    "esp32": (2, 8, 4, 20),
    "esp32s3": (1, 8, 4, 14),
    "esp32c3": (1, 6, 4, 14),
}[_facts.chip]
_DIVIDER_ONE, _DIVIDER_MAX = 256, (1 << 18) - 1  # with 8 bits behind the point

_channels = [None] * (_MODES * _CHANNELS)  # [pin, timer, raw duty] of those in use
_freqs = [0] * (_MODES * _TIMERS)  # of the timers in use


def _source_hz(freq):
    return _REF_HZ if freq < _REF_BELOW and _facts.chip == "esp32" else _APB_HZ


def _divider(freq, bits):
    """Return what a timer divides its clock by, or 0 if it cannot."""
    product = freq << bits
    divider = ((_source_hz(freq) << 8) + product // 2) // product
    return divider if _DIVIDER_ONE <= divider <= _DIVIDER_MAX else 0


def _resolution(freq):
    """Return the most bits that a frequency leaves for the duty; 0 if it cannot be reached."""
    source = _source_hz(freq)
    for ratio in ((source + freq // 2) // freq, source // freq):
        bits = 0
        while ratio > 1 and bits < _BITS:
            ratio >>= 1
            bits += 1
        if bits and _divider(freq, bits):
            return bits
    return 0


def _find_timer(freq, mode, free):
    """Return a timer of this frequency, else a free one if that is wanted, else None."""
    found = None
    for timer in range(len(_freqs)):
        if mode is None or mode == timer // _TIMERS:
            if _freqs[timer] == freq:
                return timer
            if free and found is None and not _freqs[timer]:
                found = timer
    return found


def _find_channel(pin, mode):
    """Return the channel of a pin, else a free one, else None."""
    found = None
    for channel in range(len(_channels)):
        if mode is None or mode == channel // _CHANNELS:
            if _channels[channel] is None:
                found = channel if found is None else found
            elif _channels[channel][0] == pin:
                return channel
    return found


class PWM:
    """An output; its duty stays as it was set when the frequency changes."""

    def __init__(self, pin, *args, **kwargs):
        self._pin = number(pin)
        self._channel = self._duty = None
        self.init(*args, **kwargs)

    def __repr__(self):
        text = "PWM(Pin(%d)" % self._pin
        if self._channel is not None:
            kind = self._duty[0]
            value = getattr(self, kind)()
            bits = self._bits()
            raw = _channels[self._channel][2]
            text += ", freq=%d, %s=%d, resolution=%d, (duty=%.2f%%, resolution=%.3f%%)" % (
                self.freq(),
                kind,
                value,
                bits,
                100 * raw / (1 << bits),
                100 / (1 << bits),
            )
            text += ", mode=%d, channel=%d, timer=%d" % (
                self._channel // _CHANNELS,
                self._channel % _CHANNELS,
                self._timer() % _TIMERS,
            )
        return text + ")"

    def init(self, freq=-1, *, duty=-1, duty_u16=-1, duty_ns=-1):
        channel = _find_channel(self._pin, None)
        if channel is None:
            raise ValueError("out of PWM channels:%d" % len(_channels))
        given = [
            (name, value)
            for name, value in (("duty_u16", duty_u16), ("duty_ns", duty_ns), ("duty", duty))
            if value != -1
        ]
        if len(given) > 1:
            raise ValueError("only one of parameters 'duty', 'duty_u16' or 'duty_ns' is allowed")
        timer = _channels[channel][1] if _channels[channel] else None
        if freq == -1:
            freq = _freqs[timer] if timer is not None else _FREQ
        _check_freq(freq)
        if timer is None or self._shared(channel, timer):
            timer = _find_timer(freq, channel // _CHANNELS, True)
        if timer is None:
            timer = _find_timer(freq, None, True)
        if timer is None:
            raise ValueError("out of PWM timers:%d" % len(_freqs))
        mode = timer // _TIMERS
        if channel // _CHANNELS != mode:
            _channels[channel] = None
            channel = _find_channel(self._pin, mode)
            if channel is None:
                raise ValueError("out of PWM channels:%d" % len(_channels))
        call("pwm.claim", self._pin)
        _channels[channel] = [self._pin, timer, 0]
        self._channel = channel
        _set_freq(timer, freq)
        if given:
            self._set(*given[0])
        elif self._duty is None:
            self._set("duty", (_U10 + 1) // 2)
        else:
            self._set(*self._duty)

    def deinit(self):
        channel, self._channel = self._channel, None
        self._duty = None
        if channel is None:
            return
        timer = _channels[channel][1]
        _channels[channel] = None
        if not self._shared(channel, timer):
            _freqs[timer] = 0
        call("pwm.off", self._pin)

    def freq(self, freq=None):
        timer = self._timer()
        if freq is None:
            bits = self._bits()
            product = _divider(_freqs[timer], bits) << bits
            return ((_source_hz(_freqs[timer]) << 8) + product // 2) // product
        _check_freq(freq)
        if freq == _freqs[timer]:
            return
        shared = self._shared(self._channel, timer)
        other = _find_timer(freq, timer // _TIMERS, shared)
        if other is None and shared:
            raise ValueError("out of PWM timers:%d" % len(_freqs))
        if other is not None and other != timer:
            if not shared:
                _freqs[timer] = 0
            timer = _channels[self._channel][1] = other
        _set_freq(timer, freq)
        self._set(*self._duty)

    def duty(self, duty=None):
        return self._get() >> 6 if duty is None else self._set("duty", duty)

    def duty_u16(self, duty=None):
        return self._get() if duty is None else self._set("duty_u16", duty)

    def duty_ns(self, ns=None):
        return self._to_ns(self._get()) if ns is None else self._set("duty_ns", ns)

    def _timer(self):
        if self._channel is None:
            raise RuntimeError("PWM inactive")
        return _channels[self._channel][1]

    def _shared(self, channel, timer):
        for other in range(len(_channels)):
            if other != channel and _channels[other] and _channels[other][1] == timer:
                return True
        return False

    def _bits(self):
        return _resolution(_freqs[self._timer()])

    def _get(self):
        shift = 16 - self._bits()
        raw = _channels[self._channel][2]
        return raw << shift if shift >= 0 else raw >> -shift

    def _to_ns(self, duty):
        product = _freqs[self._timer()] * _U16
        return (duty * 1000000000 + product // 2) // product

    def _set(self, kind, value):
        freq = _freqs[self._timer()]
        if kind == "duty":
            _check(kind, value, _U10, "")
            duty = value << 6
        elif kind == "duty_u16":
            _check(kind, value, _U16, "")
            duty = value
        else:
            _check(kind, value, self._to_ns(_U16), " ns")
            duty = (value * _U16 * freq + 500000000) // 1000000000
            duty = min(max(duty, int(value > 0)), _U16)
        self._duty = kind, value
        shift = 16 - self._bits()
        raw = duty >> shift if shift >= 0 else duty << -shift
        _channels[self._channel][2] = raw
        call("pwm.set", self._pin, freq, duty)


def _set_freq(timer, freq):
    if not _resolution(freq):
        raise ValueError("unreachable frequency %d" % freq)
    _freqs[timer] = freq


def _check_freq(freq):
    if not 0 < freq <= _FREQ_MAX:
        raise ValueError("frequency must be from 1Hz to 40MHz")


def _check(name, value, limit, unit):
    if not 0 <= value <= limit:
        raise ValueError("%s must be from 0 to %d%s" % (name, limit, unit))

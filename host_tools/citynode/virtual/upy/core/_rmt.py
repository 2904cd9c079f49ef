"""`esp32.RMT` of the ESP32 port: sends trains of pulses, which nothing on a board listens to."""

import _clock
import _facts
from _native import time as _time
from machine._pin import number as _number

_SOURCE_HZ = 80000000
_CHANNELS = {"esp32": 8, "esp32s3": 4, "esp32c3": 2}[_facts.chip]
_LOOP_MAX = 126


class RMT:
    """A channel that sends."""

    PULSE_MAX = 32767
    _bitstream = 7 if _CHANNELS == 8 else _CHANNELS - 1

    def __init__(self, id, *, pin, clock_div=8, idle_level=False, tx_carrier=None):
        if id == RMT._bitstream:
            raise ValueError("channel used by bitstream")
        if not 1 <= clock_div <= 255:
            raise ValueError("clock_div must be between 1 and 255")
        if not 0 <= id < _CHANNELS:
            raise OSError(-0x102, "ESP_ERR_INVALID_ARG")
        if tx_carrier is not None:
            freq, duty, _ = tx_carrier
            if freq <= 0:
                raise ValueError("tx_carrier frequency must be >0")
            if not 0 <= duty <= 100:
                raise ValueError("tx_carrier duty must be 0..100")
        self._id = id
        self._pin = _number(pin)
        self._div = clock_div
        self._idle = bool(idle_level)
        self._looping = False
        self._end = 0

    def __repr__(self):
        if self._id is None:
            return "RMT()"
        return "RMT(channel=%d, pin=%d, source_freq=%d, clock_div=%d, idle_level=%d)" % (
            self._id,
            self._pin,
            _SOURCE_HZ,
            self._div,
            self._idle,
        )

    def deinit(self):
        self._id = None

    @staticmethod
    def source_freq():
        return _SOURCE_HZ

    @staticmethod
    def bitstream_channel(*channel):
        if channel:
            if channel[0] is not None and not 0 <= channel[0] < _CHANNELS:
                raise ValueError("invalid channel")
            RMT._bitstream = channel[0]
        return RMT._bitstream

    def clock_div(self):
        return self._div

    def loop(self, on):
        self._looping = bool(on)

    def wait_done(self, *, timeout=0):
        left_us = self._end - _clock.us()
        if left_us > 0 and timeout:
            _time.sleep_us(min(left_us, timeout * 1000))
        return not self._looping and self._end <= _clock.us()

    def write_pulses(self, duration, data=True):
        if isinstance(duration, int):
            durations = [duration] * len(data)
        else:
            durations = list(duration)
            if isinstance(data, (tuple, list)) and len(data) != len(durations):
                raise ValueError("duration and data must have same length")
        if not durations:
            raise ValueError("No pulses")
        if self._looping and len(durations) > _LOOP_MAX:
            raise ValueError("Too many pulses for loop")
        # What is still being sent is waited for.
        left_us = self._end - _clock.us()
        if left_us > 0:
            _time.sleep_us(left_us)
        self._end = _clock.us() + sum(durations) * self._div * 1000000 // _SOURCE_HZ

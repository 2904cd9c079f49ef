"""What the virtual board's `time` takes from the interpreter: here, sleeping takes virtual time."""

import time as _time

import _clock


class time:  # noqa: N801
    gmtime = staticmethod(_time.gmtime)

    @staticmethod
    def sleep(seconds):
        _clock.advance_us(int(seconds * 1000000))

    @staticmethod
    def sleep_ms(ms):
        _clock.advance_us(ms * 1000)

    sleep_us = staticmethod(_clock.advance_us)

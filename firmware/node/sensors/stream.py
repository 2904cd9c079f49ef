"""Frames of a sensor that sends by itself: the next one, when it came, and that none comes."""

from node.sensors import SensorError
from node.sensors.frames import Scanner
from node.wire.const import const

# A UART has room for 256 bytes. Once it was full, bytes have been lost where nobody knows, and what
# is in it may be two halves of different frames.
FULL = const(240)


class Stream(Scanner):
    """A Scanner (see there) for frames that come in every `period_ms`.

    `t_ms`: ticks at which the frame has come, as far as is known: several that were waiting are a
    period apart. Never earlier than that of the one before it.
    """

    def __init__(self, uart, clock, size: int, judge, period_ms: int, silent_ms: int) -> None:
        Scanner.__init__(self, uart, size, judge)
        self._clock = clock
        self._period_ms = period_ms
        self._silent_ms = silent_ms
        self._heard_ms = self.t_ms = clock.ticks_ms()

    def next(self) -> int:
        """Return the length of the next frame, 0 if there is none yet.

        Raises SensorError "timeout", once for each `silent_ms` without a frame.
        """
        clock = self._clock
        if self._uart.any() >= FULL:
            self.flush()
            self._heard_ms = clock.ticks_ms()
        length = self.poll()
        now = clock.ticks_ms()
        if length:
            self._heard_ms = now
            waiting = self._uart.any() + self._end - self._begin
            if waiting >= length:
                now = clock.ticks_add(now, -self._period_ms * (waiting // length))
                if clock.ticks_diff(now, self.t_ms) < 0:
                    now = self.t_ms
            self.t_ms = now
        elif clock.ticks_diff(now, self._heard_ms) > self._silent_ms:
            self._heard_ms = now
            raise SensorError("timeout")
        return length

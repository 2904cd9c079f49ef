"""The air time that a node may use in a day, whatever the law allows: a bucket that is refilled.

Burst and refill of a day add up to the budget, so that no day, wherever it begins, has more than
that and one frame.
"""

from node.wire.const import const

_DAY_S = const(86400)
_BURST_SHARE = const(8)
_FRAME_US = const(3000000)  # the longest one, so that it need not wait for a day
_NEVER_MS = const(0x3FFFFFFF)


class Budget:
    """At most `airtime_s` seconds a day. Times are the uptime in ms."""

    def __init__(self, airtime_s: int, now_ms: int) -> None:
        self.day_us = 1000000 * airtime_s
        self.burst_us = max(self.day_us // _BURST_SHARE, min(self.day_us // 2, _FRAME_US))
        self._refill_us = (self.day_us - self.burst_us) // _DAY_S  # a second
        self.credit_us = self.burst_us
        self._at_ms = now_ms

    def wait_ms(self, now_ms: int, airtime_us: int, keep_us: int = 0) -> int:
        """Return how long a frame has to wait, 0 when it may go; `keep_us` shall be left then."""
        self._advance(now_ms)
        missing = min(airtime_us + keep_us, self.burst_us) - self.credit_us
        if missing <= 0:
            return 0
        return min(_NEVER_MS, 1000 * -(-missing // self._refill_us))

    def take(self, now_ms: int, airtime_us: int) -> None:
        """Account for what was on the air; it may be more than there was."""
        self._advance(now_ms)
        self.credit_us = max(-self.burst_us, self.credit_us - airtime_us)

    def credit_at(self, now_ms: int) -> int:
        """Return what is left."""
        self._advance(now_ms)
        return self.credit_us

    def restore(self, credit_us: int, off_ms: int) -> None:
        """Take over what was left `off_ms` ago."""
        self.credit_us = max(-self.burst_us, min(self.burst_us, credit_us))
        self._at_ms -= off_ms

    def _advance(self, now_ms: int) -> None:
        seconds = (now_ms - self._at_ms) // 1000
        if seconds > 0:
            self._at_ms += 1000 * seconds
            seconds = min(seconds, _DAY_S)
            self.credit_us = min(self.burst_us, self.credit_us + seconds * self._refill_us)

"""When join requests may go: TS001 chapter 7 and TR007 section 4.8.

From the first request on: 36 s of air time in the first hour, 36 s in the next ten, 8.7 s in
any 24 hours after. Within these the requests are spread: after the windows of each a wait of so
many times its air time, and more by chance. All of it survives resets: the periods begin with the
first request of this attempt to join, not with the last reset.
"""

from node.wire.const import const

# (length in ms, air time in us that must not be reached, air times to wait, and to add by chance)
# of the periods. A node that does not know for how long it had no power takes its first hour for
# longer than it is: for what is sent in the rest of it the second period has 4 s to spare. In the
# last one the waits alone keep any 24 hours below 7.2 s and one request (DR0: 1.5 s).
_PERIODS = (
    (3600000, 36000000, 50, 100),
    (36000000, 32000000, 600, 1200),
    (86400000, 8700000, 12000, 2000),
)
_LAST = const(2)
# From the begin of a request until RX2 is over, but for the request's own air time.
_WINDOWS_MS = const(7000)


class Backoff:
    """Where in the attempt to join we are; `random(n)` gives 0 … n-1."""

    def __init__(self, random) -> None:
        self._random = random
        self.restore(False, 0, 0, 0, 0, 0)

    def restore(
        self, active: bool, attempt: int, period: int, into_ms: int, spent_us: int, wait_ms: int
    ) -> None:
        """Take over what was saved."""
        self.active = active
        self.attempt = attempt
        self.period = min(period, _LAST)
        self.into_ms = into_ms
        self.spent_us = spent_us
        self.wait_ms = wait_ms

    def start(self, spread_ms: int) -> None:
        """Begin or go on; many nodes that do so at once (after a black-out) are spread."""
        self.active = True
        self.wait_ms = max(self.wait_ms, self._random(spread_ms + 1))

    def stop(self) -> None:
        """Forget the attempt: there is a session."""
        self.restore(False, 0, 0, 0, 0, 0)

    def advance(self, ms: int) -> None:
        """Let time pass."""
        if not self.active:
            return
        self.wait_ms = max(0, self.wait_ms - ms)
        self.into_ms += ms
        while self.into_ms >= _PERIODS[self.period][0]:
            self.into_ms -= _PERIODS[self.period][0]
            self.period = min(self.period + 1, _LAST)
            self.spent_us = 0

    def due_ms(self, airtime_us: int) -> int:
        """Return how long a request must wait, 0 when it may go at once."""
        length_ms, limit_us, _, chance = _PERIODS[self.period]
        left_ms = length_ms - self.into_ms
        if self.spent_us + airtime_us >= limit_us and self.wait_ms < left_ms:
            # Not all nodes at the moment when the next period begins.
            self.wait_ms = left_ms + self._random(_times(airtime_us, chance))
        return self.wait_ms

    def sent(self, airtime_us: int) -> None:
        """Account for a request that begins now."""
        self.attempt = (self.attempt + 1) & 0xFFFF
        self.spent_us += airtime_us
        _, _, least, chance = _PERIODS[self.period]
        pause_ms = _times(airtime_us, least) + self._random(_times(airtime_us, chance) + 1)
        self.wait_ms = _WINDOWS_MS + airtime_us // 1000 + pause_ms

    def unheard(self, airtime_us: int) -> None:
        """The windows are over, perhaps late: the next request is by chance even then."""
        least = _PERIODS[self.period][2]
        self.wait_ms = max(self.wait_ms, self._random(_times(airtime_us, least) + 1))


def _times(airtime_us: int, count: int) -> int:
    return (airtime_us // 1000 + 1) * count

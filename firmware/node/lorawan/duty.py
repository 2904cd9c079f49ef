"""The air time of each sub-band, kept within the duty cycle of every hour.

A sub-band has a bucket of air time. It holds at most `burst`, is refilled at a steady rate, and
a frame is sent only when its whole air time is in it. Burst and refill of an hour add up to the
limit, so that no hour, wherever it begins, has more. The state is one number a sub-band, which
makes it cheap to keep through sleep, and an empty bucket is the worst that can be after a power
cut. The price is a part of the limit when a node sends all the time: a sixth at 1 % and 10 %.
"""

from node.wire.const import const

# The longest frame (DR0, 64 bytes) takes 2.8 s and must fit.
_MIN_BURST_US = const(3000000)
_BURST_SHARE = const(6)
# An hour has this many refills at most, one a second, with some to spare for a frame that
# reaches from one hour into the next.
_REFILLS = const(3605)

NEVER_MS = const(0x3FFFFFFF)


class Ledger:
    """What is left in each sub-band, and how long the network wants silence (DutyCycleReq).

    Where it is not `enabled` the region's limits do not hold; the network's still does.
    """

    def __init__(self, region) -> None:
        self._burst = []
        self._refill = []
        for _, _, limit_ms in region.bands:
            burst = max(_MIN_BURST_US, limit_ms * 1000 // _BURST_SHARE)
            self._burst.append(burst)
            self._refill.append((limit_ms * 1000 - burst) // _REFILLS)
        self.credit_us = list(self._burst)
        self.quiet_ms = 0
        self.enabled = True
        self._rest_ms = 0

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self.quiet_ms = max(0, self.quiet_ms - ms)
        self._rest_ms += ms
        seconds = self._rest_ms // 1000
        if seconds:
            self._rest_ms -= 1000 * seconds
            for i in range(len(self.credit_us)):
                credit = self.credit_us[i] + seconds * self._refill[i]
                self.credit_us[i] = min(self._burst[i], credit)

    def restore(self, credit_us, quiet_ms: int) -> None:
        """Take over what was saved."""
        for i in range(len(self.credit_us)):
            self.credit_us[i] = min(self._burst[i], credit_us[i])
        self.quiet_ms = quiet_ms

    def wait_ms(self, band: int, airtime_us: int) -> int:
        """Return how long a frame must wait, 0 when it may go at once."""
        if not self.enabled:
            return self.quiet_ms
        if airtime_us > self._burst[band]:
            return NEVER_MS
        missing = airtime_us - self.credit_us[band]
        if missing <= 0:
            return self.quiet_ms
        seconds = -(-missing // self._refill[band])
        return max(self.quiet_ms, 1000 * seconds - self._rest_ms)

    def take(self, band: int, airtime_us: int, max_duty: int) -> None:
        """Account for a frame that begins now; then silence by 1/2**max_duty (TS001 5.3)."""
        if max_duty:
            self.quiet_ms = quiet_ms(airtime_us, max_duty)
        self.credit_us[band] = max(0, self.credit_us[band] - airtime_us)


def quiet_ms(airtime_us: int, max_duty: int) -> int:
    """Return for how long from its begin a frame uses up the network's aggregated duty cycle."""
    return (airtime_us // 1000 + 1) << max_duty

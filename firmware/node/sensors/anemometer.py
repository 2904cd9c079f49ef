"""Cup anemometer with a contact (Argent Data Systems 80422: 2.4 km/h are one pulse a second)."""

from array import array

from node.sensors.pulses import pulses
from node.wire.const import const

# For Debounced, with both edges: contacts bounce for up to 3 ms, and a tick is a millisecond.
# Closed for a third of a turn, they can be told apart up to 40 m/s.
_DEAD_MS = const(5)
_MS_PER_HZ = 2.4 / 3.6
_GUST_MS = const(3000)
_STEPS = const(16)


class Anemometer:
    """The cups on a counter with `value()` (modulo 65536): a machine.Counter or a Debounced
    of both edges.

    `step` is to be called every 0.25 to 1 s, or there are no gusts.
    """

    BUS = "pulses"
    DEAD_MS = _DEAD_MS
    BOTH_EDGES = True
    FIELDS = ("wind_ms", "gust_ms")

    def __init__(self, counter, clock, ms_per_hz: float = _MS_PER_HZ) -> None:
        self._counter = counter
        self._clock = clock
        self._ms_per_hz = ms_per_hz
        # The last steps: time and count. The newest is at `_at`.
        self._times = array("i", [0] * _STEPS)
        self._counts = array("i", [0] * _STEPS)
        self._at = 0
        self._steps = 0
        self._gust_ms = -1.0
        self._before = counter.value()
        self._since_ms = clock.ticks_ms()

    def step(self) -> None:
        """Look at the last 3 s: the highest mean of them is the gust (WMO-No. 8, 5.1.2)."""
        now = self._clock.ticks_ms()
        count = self._counter.value()
        for back in range(min(self._steps, _STEPS)):
            place = (self._at - back) % _STEPS
            span = self._clock.ticks_diff(now, self._times[place])
            if span >= _GUST_MS:
                speed = self._speed(pulses(count, self._counts[place]), span)
                self._gust_ms = max(self._gust_ms, speed)
                break
        self._at = (self._at + 1) % _STEPS
        self._times[self._at] = now
        self._counts[self._at] = count
        self._steps += 1

    async def measure(self) -> tuple:
        """Return the mean since the last call and the highest 3 s mean in that time (m/s).

        The gust is None where no 3 s were looked at.
        """
        now = self._clock.ticks_ms()
        count = self._counter.value()
        span = self._clock.ticks_diff(now, self._since_ms)
        mean = self._speed(pulses(count, self._before), span) if span > 0 else None
        gust = self._gust_ms if self._gust_ms >= 0 else None
        self._before = count
        self._since_ms = now
        self._gust_ms = -1.0
        return mean, gust

    def _speed(self, count: int, span_ms: int) -> float:
        return self._ms_per_hz * count * 1000 / span_ms


DRIVER = Anemometer

"""Rain gauge with a tipping bucket and a reed contact (Argent Data Systems 80422: 0.2794 mm)."""

from node.sensors.pulses import pulses
from node.wire.const import const

# One tip closes the contact for some 0.1 s, and it bounces at both ends. The next tip is seconds
# away: 0.3 s between tips would be 3 m of rain in an hour.
_DEAD_MS = const(300)
_MM = 0.2794


class RainGauge:
    """The gauge on a counter with `value()` (modulo 65536): `pulses.Debounced` with `DEAD_MS`."""

    BUS = "pulses"
    DEAD_MS = _DEAD_MS
    BOTH_EDGES = False
    FIELDS = ("rain_mm",)

    def __init__(self, counter, clock, mm_per_tip: float = _MM) -> None:
        self._counter = counter
        self._mm = mm_per_tip
        self._before = counter.value()

    async def measure(self) -> tuple:
        """Return what has rained since the last call, or since the start (mm)."""
        now = self._counter.value()
        tips = pulses(now, self._before)
        self._before = now
        return (tips * self._mm,)


DRIVER = RainGauge

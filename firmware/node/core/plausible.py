"""Whether a reading can be true: its range, how fast it changes, and whether it moves at all.

The limits are those of WMO-No. 8, part II, chapter 1 (quality control at the station), narrowed to
what a city in a temperate climate has; a profile may give others. What is not plausible is sent
all the same, and marked.
"""

from node.wire.cbor import UNDEFINED
from node.wire.const import const

# Field: lowest, highest, most change in a minute (0: any), and whether the very same value for an
# hour is a sign of a stuck sensor (noise moves the last digit of a living one).
_LIMITS = {
    "temperature_c": (-40, 60, 3, True),
    "surface_c": (-50, 90, 15, True),
    "ambient_c": (-40, 85, 3, True),
    "humidity_pct": (0, 100, 10, False),  # in fog it stays at 100
    "pressure_pa": (85000, 108000, 50, True),
    "co2_ppm": (350, 10000, 0, True),
    "pm1_ugm3": (0, 1000, 0, False),
    "pm25_ugm3": (0, 1000, 0, False),
    "pm4_ugm3": (0, 1000, 0, False),
    "pm10_ugm3": (0, 2000, 0, False),
    "rain_mm": (0, 200, 40, False),
    "wind_ms": (0, 60, 0, False),
    "gust_ms": (0, 75, 0, False),
}
_NONE = (-1e9, 1e9, 0, False)
_MINUTE_MS = const(60000)
_STUCK_MS = const(3600000)
_STUCK_READINGS = const(12)


class Plausible:
    """Looks at the readings of the field `name`; `given` is (lowest, highest) of the profile.

    `low` and `high` are the range that counts.
    """

    def __init__(self, name: str, given=None) -> None:
        low, high, self._change, self._moves = _LIMITS.get(name, _NONE)
        self.low, self.high = (low, high) if given is None else given
        self._last = None
        self._at_ms = 0
        self._same = 0
        self._since_ms = 0

    def check(self, value, uptime_ms: int) -> bool:
        """Return whether a reading can be true; it is the next one to be compared with."""
        if value is None or value is UNDEFINED:
            return True
        fine = self.low <= value <= self.high
        last, self._last = self._last, value
        past, self._at_ms = uptime_ms - self._at_ms, uptime_ms
        if last is None or value != last:
            self._same = 0
            self._since_ms = uptime_ms
        else:
            self._same += 1
            if self._moves and self._same >= _STUCK_READINGS:
                fine = fine and uptime_ms - self._since_ms < _STUCK_MS
        if last is not None and self._change:
            # Within a minute a front may bring the whole of a minute's change at once.
            most = self._change * max(past, _MINUTE_MS) / _MINUTE_MS
            fine = fine and abs(value - last) <= most
        return fine

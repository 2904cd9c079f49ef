"""Passages of an interval, added up to the values of a traffic record; bounded memory.

The 85th percentile of the speeds comes from a histogram with steps of 1 km/h, linear inside a
step.
"""

from array import array

from node.traffic.passage import CAR, UNKNOWN, Passage
from node.wire.const import const

_KMH = const(251)
_MOST = const(0xFFFF)
_DIRECTIONS = const(2)
_KINDS = const(3)


class Aggregate:
    """Counts, speeds and occupancy of two directions.

    `lanes`: how many lanes the sensor watches; occupancy is the mean over them, and None for 0.
    """

    def __init__(self, lanes: int = 1) -> None:
        self._lanes = lanes
        self._counts = array("H", bytes(2 * _DIRECTIONS * _KINDS))
        self._speeds = array("H", bytes(2 * _DIRECTIONS * _KMH))
        self._sums = [0, 0]  # mm/s
        self._known = [0, 0]
        self._occupied_ms = 0

    def add(self, passage: Passage) -> None:
        """Count a vehicle; one of unknown class counts as a car, one of no direction as of 1."""
        way = 1 if passage.direction == 2 else 0
        kind = CAR if passage.kind >= UNKNOWN else passage.kind
        place = way * _KINDS + kind
        if self._counts[place] < _MOST:
            self._counts[place] += 1
        self._occupied_ms += max(passage.occupied_ms, 0)
        if passage.speed_mms > 0 and self._known[way] < _MOST:
            self._known[way] += 1
            self._sums[way] += passage.speed_mms
            # Down to whole km/h: 3.6 km/h are 1 m/s.
            step = min(passage.speed_mms * 9 // 2500, _KMH - 1)
            self._speeds[way * _KMH + step] += 1

    def values(self, interval_s: int) -> tuple:
        """Return the record's values of the interval and begin the next one.

        In the order of the schema, without the battery: interval (s), bikes, cars and heavy
        vehicles of direction 1 and of 2, mean speed of 1 and 2, v85 of 1 and 2 (km/h, None where
        no speed is known), occupancy (%).
        """
        counts = self._counts
        occupancy = None
        if interval_s > 0 and self._lanes:
            occupancy = min(self._occupied_ms / (10 * interval_s * self._lanes), 100.0)
        told = (
            interval_s,
            counts[0],
            counts[1],
            counts[2],
            counts[3],
            counts[4],
            counts[5],
            self._mean(0),
            self._mean(1),
            self._v85(0),
            self._v85(1),
            occupancy,
        )
        for values in (self._counts, self._speeds):
            for i in range(len(values)):
                values[i] = 0
        for way in range(_DIRECTIONS):
            self._sums[way] = self._known[way] = 0
        self._occupied_ms = 0
        return told

    def _mean(self, way: int) -> "float | None":
        known = self._known[way]
        return self._sums[way] // known * 0.0036 if known else None

    def _v85(self, way: int) -> "float | None":
        known = self._known[way]
        if not known:
            return None
        wanted = known * 0.85
        below = 0
        for step in range(_KMH):
            n = self._speeds[way * _KMH + step]
            if n and below + n >= wanted:
                return step + (wanted - below) / n
            below += n
        return float(_KMH - 1)

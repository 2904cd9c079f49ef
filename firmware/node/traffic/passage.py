"""A vehicle that has passed, and its class by length.

The classes are those of the traffic record. Between bicycles with motorcycles and the shortest
cars, and between the longest vans and the shortest lorries, there is a gap in the lengths: the
bounds lie in it.
"""

from node.wire.const import const

BIKE = const(0)
CAR = const(1)
HEAVY = const(2)
UNKNOWN = const(3)

_BIKE_MM = const(2600)
_HEAVY_MM = const(7000)

FASTEST_MMS = const(70000)  # 250 km/h: nothing on a road is faster


def kind_of_length(length_mm: int) -> int:
    """Return the class of a vehicle of this length (mm), UNKNOWN for 0 or less."""
    if length_mm <= 0:
        return UNKNOWN
    if length_mm < _BIKE_MM:
        return BIKE
    return CAR if length_mm < _HEAVY_MM else HEAVY


class Passage:
    """What a detector tells of one vehicle.

    `t_ms`: middle of the passage; `direction`: 1, 2, or 0 if not known; `speed_mms` and
    `length_mm`: 0 if not known; `kind`: BIKE, CAR, HEAVY, UNKNOWN; `confidence`: 0…100;
    `occupied_ms`: how long the sensor saw it.
    """

    def __init__(
        self,
        t_ms: int,
        direction: int,
        speed_mms: int,
        length_mm: int,
        kind: int,
        confidence: int,
        occupied_ms: int,
    ) -> None:
        self.t_ms = t_ms
        self.direction = direction
        self.speed_mms = speed_mms
        self.length_mm = length_mm
        self.kind = kind
        self.confidence = confidence
        self.occupied_ms = occupied_ms

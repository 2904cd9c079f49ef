"""Which detector a sensor needs, made of where it is mounted: the only place that joins the two.

Mounting is data (from the node's configuration, or from the command line of a replay), all lengths
in mm: `lane` (sensor to the middle of its lane), `lane_width`, `lanes` (how many), `spacing` (of
two sensors along the lane), `angle` (degrees, to the lane), `overhead`, `far` (what a beam ends
at, if known), `park_s`.
"""

from math import cos, radians

FIELD = "field"
RANGE = "range"
SPEED = "speed"
PRESENCE = "presence"
PULSE = "pulse"

# Kind of sample, and the reach of a range finder (mm), the least threshold of a field (nT) or the
# time between two reports of a radar (ms), from the makers' manuals: TF02-Pro 40 m, TF-Luna 8 m,
# TFmini 12 m, A02YYUW and JSN-SR04T 4.5 m, LD2410 6 m; OPS243 1024 samples at 10 kHz. The floor of
# a field is of the order of the chip's noise over three axes.
SENSORS = {
    "tf02pro": (RANGE, 40000),
    "tfluna": (RANGE, 8000),
    "tfmini": (RANGE, 12000),
    "a02yyuw": (RANGE, 4500),
    "jsnsr04t": (RANGE, 4500),
    "qmc5883l": (FIELD, 300),
    "mmc5983": (FIELD, 150),
    "ops243": (SPEED, 102),
    "ld2410": (PRESENCE, 6000),
    "loop": (PULSE, 0),
}

LANE_WIDTH_MM = 3500
_RADAR_HALF_BEAM_DEG = 10  # OPS243: 20° at half power


def lanes_of(sensor: str, mount: str, given: dict) -> int:
    """Return in how many lanes a sensor tells how long a place is occupied.

    A field is that of one lane, whatever is beside it; who looks along the road sees no place.
    """
    kind = SENSORS[sensor][0]
    if kind == SPEED or mount == "along":
        return 0
    return 1 if kind in (FIELD, PULSE) else given.get("lanes", 1)


def make(sensor: str, mount: str, given: dict):
    """Return the detector of a sensor.

    `mount`: "across" or "along" for range finders, else "". Raises KeyError for a sensor that is
    not known. Only the detector that is made is loaded.
    """
    sample, limit = SENSORS[sensor]
    lane = given.get("lane", 0)
    lanes = given.get("lanes", 1)
    width = given.get("lane_width", LANE_WIDTH_MM)
    spacing = given.get("spacing", 0)
    angle = given.get("angle", 0)
    park_ms = given.get("park_s", 120) * 1000
    if sample == FIELD:
        from node.traffic.magnet import Magnet, MagnetPair

        neighbour = width if lanes > 1 else 0
        if spacing:
            return MagnetPair(spacing, lane, neighbour, limit, park_ms)
        return Magnet(lane, neighbour, 1, limit, park_ms)
    if sample == SPEED:
        from node.traffic.radar import Radar

        least = max(angle - _RADAR_HALF_BEAM_DEG, 0)
        return Radar(int(1000 * cos(radians(least))), given.get("period_ms", limit))
    if sample == PULSE:
        from node.traffic.pulse import Pulse

        return Pulse()
    if mount == "along":
        from node.traffic.along import Along

        return Along(angle, limit)
    from node.traffic.across import Across, AcrossPair

    edges = []
    if lane:
        for number in range(lanes):
            edges.append(lane + number * width + width // 2)
    far = given.get("far", 0)
    if spacing:
        pair = AcrossPair(spacing, limit, edges[0] if edges else 0)
        for beam in (pair.first, pair.second) if far else ():
            beam.know(far)
        return pair
    directions = (1, 2) if lanes > 1 else (1,)
    across = Across(limit, tuple(edges), directions, bool(given.get("overhead")), park_ms)
    if far:
        across.know(far)
    return across

"""Benewake TFmini, TFmini-S, TFmini Plus: lidar, 0.1 to 12 m (TFmini-S manual A00).

It sends 65535, 65534 and 65532 cm for a weak echo, one too strong, and too much light. The first
TFmini has no commands that begin with 0x5A: it is known by its frames, and taken as it is.
"""

from node.sensors.benewake import TFLidar


class TFMini(TFLidar):
    """The lidar on `uart`; reach 12 m."""

    REACH_MM = 12000
    ANSWERS = False


DRIVER = TFMini

"""Benewake TF-Luna: lidar, 0.2 to 8 m (product manual A05); 0 cm where it has no echo."""

from node.sensors.benewake import TFLidar


class TFLuna(TFLidar):
    """The lidar on `uart`; reach 8 m."""

    REACH_MM = 8000


DRIVER = TFLuna

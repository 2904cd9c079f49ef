"""Benewake TF02-Pro: lidar, 0.1 to 40 m (product manual A02); 4500 cm where it has no echo."""

from node.sensors.benewake import TFLidar


class TF02Pro(TFLidar):
    """The lidar on `uart`; reach 40 m."""

    REACH_MM = 40000


DRIVER = TF02Pro

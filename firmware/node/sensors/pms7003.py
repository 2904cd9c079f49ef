"""Plantower PMS7003 (PMS7003 series data manual, V2.5): the PMS5003 in another case."""

from node.sensors.pms5003 import PMS5003


class PMS7003(PMS5003):
    """The module on `uart` (9600 baud, 8N1, timeout 0)."""


DRIVER = PMS7003

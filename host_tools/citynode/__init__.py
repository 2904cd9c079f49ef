"""Flash, provision and soak-test ESP32 sensor nodes that run MicroPython in a city."""

__version__ = "0.1.0"

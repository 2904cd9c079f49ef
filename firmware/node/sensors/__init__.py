"""Sensor drivers, one chip per file; bus and clock are given.

A driver's module has `DRIVER`, the class. The class has `FIELDS`, the names of the schema's fields
in the order in which the coroutine `measure()` returns their values. Constructor and `measure`
raise OSError (the bus) or SensorError (the chip).
"""


class SensorError(Exception):
    """A chip that answers, but not as its datasheet says.

    `kind`: "id" (another chip), "calibration" (impossible words), "crc", "timeout" (never ready),
    "skipped" (it did not measure a channel).
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

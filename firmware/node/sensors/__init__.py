"""Sensor drivers, one chip per file; bus and clock are given.

A driver's module has `DRIVER`, the class. The class has `FIELDS`, the names of the schema's fields
in the order in which the coroutine `measure()` returns their values. Constructor and `measure`
raise OSError (the bus) or SensorError (the chip).

`BUS` says what the constructor is given in front of the clock: "i2c" (bus and address), "uart" (a
machine.UART of `BAUD`), "onewire", "adc", "pin" (with pull-up), "pulses" (a Debounced of `DEAD_MS`
and `BOTH_EDGES`). What follows the clock are options, each with a default.

A chip that has to warm up has `WARM_UP_MS` and the coroutines `wake()` and `sleep()`: `measure`
alone does all three; after a `wake` it waits for what is left of the time and leaves the chip on.
"""


class SensorError(Exception):
    """A chip that answers, but not as its datasheet says.

    `kind`: "id" (another chip), "calibration" (impossible words), "crc", "timeout" (never ready,
    no answer), "skipped" (it did not measure a channel), "refused" (not in this state).
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

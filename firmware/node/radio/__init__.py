"""LoRa radios as LoRaWAN uses them, one chip per file; SPI, pins and clock are given.

A driver's module has `DRIVER`, the class. Its coroutines `transmit` and `receive` and its methods
`start` and `sleep` raise RadioError (the chip) or ValueError (the caller). After a RadioError,
`start` begins again from a reset.
"""


class RadioError(Exception):
    """A radio that does not do what its datasheet says.

    `kind`: "id" (another chip, or none), "busy" (BUSY does not fall), "oscillator" (it does not
    start), "calibration", "command" (refused), "timeout" (sending or receiving has no end).
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

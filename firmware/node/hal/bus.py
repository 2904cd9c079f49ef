"""The I2C bus, with what frees it when a chip holds it."""

import time

from machine import I2C, Pin

from node.wire.const import const

_CLOCKS = const(9)  # a byte and its acknowledge: after these any chip has let go
_HALF_US = const(5)
_TIMEOUT_US = const(50000)


class Bus:
    """I2C at pins `scl` and `sda` with `freq` Hz; the methods are those of machine.I2C.

    `number` is the controller's: 0, or 1 where the chip has two.
    """

    def __init__(self, number: int, scl: int, sda: int, freq: int) -> None:
        self._number = number
        self._pins = (scl, sda, freq)
        self._open()

    def _open(self) -> None:
        scl, sda, freq = self._pins
        i2c = I2C(self._number, scl=Pin(scl), sda=Pin(sda), freq=freq, timeout=_TIMEOUT_US)
        self.writeto = i2c.writeto
        self.readfrom_into = i2c.readfrom_into
        self.writeto_mem = i2c.writeto_mem
        self.readfrom_mem_into = i2c.readfrom_mem_into

    def recover(self) -> bool:
        """Free the bus as UM10204 section 3.1.16 says; False if it is still held low."""
        scl = Pin(self._pins[0], Pin.OPEN_DRAIN, value=1)
        sda = Pin(self._pins[1], Pin.OPEN_DRAIN, value=1)
        for _ in range(_CLOCKS):
            if sda.value():
                break
            scl.value(0)
            time.sleep_us(_HALF_US)
            scl.value(1)
            time.sleep_us(_HALF_US)
        # STOP: SDA rises while SCL is high.
        sda.value(0)
        time.sleep_us(_HALF_US)
        sda.value(1)
        time.sleep_us(_HALF_US)
        free = bool(scl.value() and sda.value())
        self._open()
        return free


class NoBus:
    """In the place of a bus that the configuration does not name: nothing answers."""

    def writeto(self, address, data, stop=True):
        """Fail as where no chip acknowledges."""
        raise OSError(19)

    readfrom_into = writeto

    def writeto_mem(self, address, register, data):
        """Fail as where no chip acknowledges."""
        raise OSError(19)

    readfrom_mem_into = writeto_mem

    def recover(self) -> bool:
        """Tell that nothing holds it."""
        return True

"""Melexis MLX90614: temperature of a surface by infrared (datasheet 3901090614 rev. 13), on SMBus.

The bus may be 100 kHz at most. Every word is read with its PEC to the end: chips have been seen to
give the same values for ever to who leaves it out.
"""

from node.sensors import SensorError
from node.wire.const import const

_RAM_AMBIENT = const(0x06)
_RAM_OBJECT = const(0x07)
_EEPROM_ADDRESS = const(0x2E)
_ERROR = const(0x8000)
_KELVIN = 273.15


def pec(data, start: int, end: int) -> int:
    """Return the PEC of `data[start:end]`: CRC-8, polynomial 0x07 (SMBus 2.0, section 5.4)."""
    crc = 0
    for i in range(start, end):
        crc ^= data[i]
        for _ in range(8):
            crc = (crc << 1) ^ 0x07 if crc & 0x80 else crc << 1
        crc &= 0xFF
    return crc


def celsius(raw: int) -> float:
    """Return the temperature in °C (section 8.7.2)."""
    return raw * 0.02 - _KELVIN


class MLX90614:
    """The chip at `address` (0x5A) of an I2C bus of 100 kHz at most."""

    BUS = "i2c"
    FIELDS = ("surface_c", "ambient_c")

    def __init__(self, bus, address: int, clock) -> None:
        self._bus = bus
        self._address = address
        self._answer = bytearray(3)
        # All that goes over the bus for one word, which the PEC is of.
        self._data = bytearray((address << 1, 0, address << 1 | 1, 0, 0, 0))
        # There is no id: that it knows its own address, with a PEC, is what tells the chip.
        if self._word(_EEPROM_ADDRESS) & 0x7F != address:
            raise SensorError("id")

    async def measure(self) -> tuple:
        """Return the temperature of the surface in view, and of the chip itself (°C)."""
        surface = self._word(_RAM_OBJECT)
        ambient = self._word(_RAM_AMBIENT)
        # Up to 0.25 s after its start, and where it has no valid result.
        if (surface | ambient) & _ERROR or not surface or not ambient:
            raise SensorError("skipped")
        return celsius(surface), celsius(ambient)

    def _word(self, register: int) -> int:
        data, answer = self._data, self._answer
        self._bus.readfrom_mem_into(self._address, register, answer)
        data[1] = register
        data[3:6] = answer
        if pec(data, 0, 5) != data[5]:
            raise SensorError("crc")
        return data[3] | (data[4] << 8)


DRIVER = MLX90614

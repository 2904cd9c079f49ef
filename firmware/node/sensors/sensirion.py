"""What Sensirion's sensors have in common: words of 16 bits, each with a CRC-8."""

import struct

from node.sensors import SensorError


def crc8(data, start: int, end: int) -> int:
    """Return the CRC-8 of `data[start:end]`: polynomial 0x31, start 0xFF (SHT4x, section 4.4)."""
    crc = 0xFF
    for i in range(start, end):
        crc ^= data[i]
        for _ in range(8):
            crc = (crc << 1) ^ 0x31 if crc & 0x80 else crc << 1
        crc &= 0xFF
    return crc


def check(data) -> None:
    """Raise SensorError "crc" unless each word of `data` (groups of 3 bytes) fits its CRC."""
    for i in range(0, len(data), 3):
        if crc8(data, i, i + 2) != data[i + 2]:
            raise SensorError("crc")


class Commands:
    """The chip at `address` of an I2C bus, which takes 16-bit commands and gives words."""

    def __init__(self, bus, address: int) -> None:
        self._bus = bus
        self._address = address
        self._plain = bytearray(2)
        self._with_word = bytearray(5)

    def send(self, command: int) -> None:
        """Send a command; OSError if it is not acknowledged."""
        struct.pack_into(">H", self._plain, 0, command)
        self._bus.writeto(self._address, self._plain)

    def send_word(self, command: int, word: int) -> None:
        """Send a command with one word."""
        data = self._with_word
        struct.pack_into(">HH", data, 0, command, word)
        data[4] = crc8(data, 2, 4)
        self._bus.writeto(self._address, data)

    def fetch(self, data) -> None:
        """Fill `data` with words and their CRCs, and check these."""
        self._bus.readfrom_into(self._address, data)
        check(data)

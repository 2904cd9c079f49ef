"""Maxim DS18B20: temperature (datasheet 19-7487 rev. 6), on 1-Wire, with its own supply.

After a power-on the chip reads 85.0 °C with a good CRC. To tell that from 85 °C the driver puts a
mark of its own where the alarm limits are, in RAM only: a chip that has started anew since has
lost it.
"""

import struct
from binascii import unhexlify

from node.sensors import SensorError
from node.wire.const import const

_FAMILY = const(0x28)
_READ_ROM = const(0x33)
_MATCH_ROM = const(0x55)
_SKIP_ROM = const(0xCC)
_CONVERT = const(0x44)
_READ = const(0xBE)
_WRITE = const(0x4E)

_MARK = b"\xa5\x5a"
_NOBODY = b"\xff" * 9
_TWELVE_BITS = const(0x7F)
_CONVERT_MS = const(750)
_LATE_MS = const(100)
_POLL_MS = const(10)
_ENODEV = const(19)
_LEAST = const(-55 * 16)
_MOST = const(125 * 16)


def crc8(data) -> int:
    """Return the CRC-8 of `data` (figure 11); 0 where the last byte is the CRC of the others."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0x8C if crc & 1 else crc >> 1
    return crc


def celsius(raw: int) -> float:
    """Return the temperature in °C from the signed raw value (figure 4)."""
    return raw / 16


class DS18B20:
    """The chip with the number `rom` (8 bytes, or their 16 hex digits) on a 1-Wire bus.

    None stands for the only one there.

    `wire` has the methods of onewire.OneWire. OSError ENODEV where nobody answers.
    """

    BUS = "onewire"
    FIELDS = ("temperature_c",)

    def __init__(self, wire, clock, rom=None) -> None:
        self._wire = wire
        self._clock = clock
        self._data = bytearray(9)
        if rom is None:
            rom = bytearray(8)
            self._reset()
            wire.writebyte(_READ_ROM)
            wire.readinto(rom)
        elif isinstance(rom, str):
            rom = unhexlify(rom)
        # A wire that is held low reads as zeros, whose CRC is right.
        if rom[0] != _FAMILY:
            raise SensorError("id")
        if crc8(rom):
            raise SensorError("crc")
        self._rom = bytes(rom)
        self._function(_WRITE)
        wire.write(_MARK)
        wire.writebyte(_TWELVE_BITS)
        self._scratchpad()

    async def measure(self) -> tuple:
        """Return the temperature (°C) of one conversion."""
        self._function(_CONVERT)
        await self._clock.sleep_ms(_CONVERT_MS)
        start = self._clock.ticks_ms()
        while not self._wire.readbit():
            if self._clock.ticks_diff(self._clock.ticks_ms(), start) > _LATE_MS:
                raise SensorError("timeout")
            await self._clock.sleep_ms(_POLL_MS)
        self._scratchpad()
        raw = struct.unpack_from("<h", self._data)[0]
        if not _LEAST <= raw <= _MOST:
            raise SensorError("skipped")
        return (celsius(raw),)

    def _reset(self) -> None:
        if not self._wire.reset():
            raise OSError(_ENODEV)

    def _function(self, command: int) -> None:
        self._reset()
        self._wire.writebyte(_MATCH_ROM)
        self._wire.write(self._rom)
        self._wire.writebyte(command)

    def _scratchpad(self) -> None:
        """Read it all; SensorError "skipped" if the chip has started anew since it was marked."""
        data = self._data
        self._function(_READ)
        self._wire.readinto(data)
        if data == _NOBODY:
            raise OSError(_ENODEV)  # others were present, this one is not
        if crc8(data):
            raise SensorError("crc")
        if data[2:4] != _MARK or data[4] != _TWELVE_BITS:
            raise SensorError("skipped")


DRIVER = DS18B20

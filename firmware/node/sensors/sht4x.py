"""Sensirion SHT40, SHT41, SHT45: temperature and humidity (SHT4x datasheet, version 6.6).

Every word on the bus has a CRC-8 (section 4.4). The chip does not acknowledge while it measures.
"""

from node.sensors import SensorError
from node.sensors.sensirion import crc8
from node.wire.const import const

_SOFT_RESET = const(0x94)
_SERIAL = const(0x89)
_MEASURE_HIGH = const(0xFD)

_RESET_MS = const(2)  # 1 ms at most (table 5), and a tick is a millisecond
_SERIAL_MS = const(2)
_MEASURE_MS = const(10)  # 8.3 ms at most at high repeatability
_LATE_MS = const(20)


def celsius(raw: int) -> float:
    """Return the temperature in °C (section 4.6)."""
    return -45 + 175 * raw / 65535


def percent(raw: int) -> float:
    """Return the relative humidity in %, cropped to 0…100 as section 4.6 has it."""
    return min(max(-6 + 125 * raw / 65535, 0.0), 100.0)


class SHT4x:
    """The chip at `address` (0x44…0x46) of an I2C bus."""

    BUS = "i2c"
    FIELDS = ("temperature_c", "humidity_pct")

    def __init__(self, bus, address: int, clock) -> None:
        self._bus = bus
        self._address = address
        self._clock = clock
        self._command = bytearray(1)
        self._data = bytearray(6)
        self._send(_SOFT_RESET)
        clock.wait_ms(_RESET_MS)
        # There is no id register: a serial number with two good CRCs is what tells the chip.
        self._send(_SERIAL)
        clock.wait_ms(_SERIAL_MS)
        self._receive()

    async def measure(self) -> tuple:
        """Return temperature (°C) and relative humidity (%) of one conversion."""
        self._send(_MEASURE_HIGH)
        start = self._clock.ticks_ms()
        await self._clock.sleep_ms(_MEASURE_MS)
        while True:
            try:
                self._receive()
                break
            except OSError:
                if self._clock.ticks_diff(self._clock.ticks_ms(), start) > _LATE_MS:
                    raise
            await self._clock.sleep_ms(2)
        data = self._data
        return celsius((data[0] << 8) | data[1]), percent((data[3] << 8) | data[4])

    def _send(self, command: int) -> None:
        self._command[0] = command
        self._bus.writeto(self._address, self._command)

    def _receive(self) -> None:
        data = self._data
        self._bus.readfrom_into(self._address, data)
        if crc8(data, 0, 2) != data[2] or crc8(data, 3, 5) != data[5]:
            raise SensorError("crc")


DRIVER = SHT4x

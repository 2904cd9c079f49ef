"""Sensirion SHT4x: temperature and humidity (SHT4x datasheet, version 6.6), on I2C.

In a gap of the weather the chip does not answer: it has nothing true to say.
"""

import math
import random

from citynode.virtual.chips import Air, Clock
from citynode.virtual.world.weather import Conditions

_SOFT_RESET = 0x94
_SERIAL = 0x89
_MS = 1_000_000
_RESET_NS = 1 * _MS
# Typical and longest time of a measurement by command (tables 5 and 8).
_MEASURE_MS = {0xFD: (6.9, 8.3), 0xF6: (3.7, 4.5), 0xE0: (1.3, 1.6)}
_LONGEST_MS = 8.3
# Heater commands: how warm it makes the chip at most (°C above the air), and for how long (ms).
_HEATER = {
    0x39: (65.0, 1000),
    0x32: (65.0, 100),
    0x2F: (37.0, 1000),
    0x24: (37.0, 100),
    0x1E: (7.0, 1000),
    0x15: (7.0, 100),
}
_WARMING_MS = 150.0  # time constants of the chip on its board
_COOLING_MS = 2500.0


def crc8(data: bytes) -> int:
    """Return the CRC-8 of a word: polynomial 0x31, start 0xFF (section 4.4)."""
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x31 if crc & 0x80 else crc << 1) & 0xFF
    return crc


def words(*values: int) -> bytes:
    """Return 16-bit words as they go over the bus, each with its CRC."""
    parts = (value.to_bytes(2, "big") for value in values)
    return b"".join(part + bytes((crc8(part),)) for part in parts)


class SHT4x:
    """The chip at `address` (0x44 to 0x46); `rng` draws its serial number and its speed."""

    def __init__(self, clock: Clock, air: Air, rng: random.Random, address: int = 0x44) -> None:
        self.address = address
        self.serial = rng.randrange(1 << 32)
        self._quickness = rng.random()
        self._clock = clock
        self._air = air
        self.power_up()

    def power_up(self) -> None:
        """Start idle and cold; the chip needs a millisecond for it."""
        self._ready_ns = self._clock.now_ns() + _RESET_NS
        self._answer = b""
        self._sending = b""
        self._heat_c = 0.0
        self._heat_ns = 0

    def begin(self, read: bool) -> bool:
        """Acknowledge when idle; a read only when there is something to read."""
        now = self._clock.now_ns()
        if self._air(now) is None or now < self._ready_ns:
            return False
        if not read:
            self._answer = b""
            return True
        # An answer is given once.
        self._sending, self._answer = self._answer, b""
        return bool(self._sending)

    def write(self, byte: int) -> bool:
        """Take a command."""
        now = self._clock.now_ns()
        if now < self._ready_ns:
            return False
        if byte == _SOFT_RESET:
            self.power_up()
        elif byte == _SERIAL:
            self._answer = words(self.serial >> 16, self.serial & 0xFFFF)
        elif byte in _MEASURE_MS:
            typical, longest = _MEASURE_MS[byte]
            took = typical + (longest - typical) * self._quickness
            return self._measure(now, now + round(took * _MS))
        elif byte in _HEATER:
            rise, duration = _HEATER[byte]
            # A tenth either way is what the datasheet allows; the measurement comes last.
            end = now + round((duration * 1.05 + _LONGEST_MS) * _MS)
            start = self._warmth(now)
            self._heat_c = start + (rise - start) * (1 - math.exp(-duration / _WARMING_MS))
            self._heat_ns = end
            return self._measure(end, end)
        else:
            return False
        return True

    def read(self) -> int:
        """Give the next byte of the answer; the line stays high behind its end."""
        byte, self._sending = (self._sending or b"\xff")[0], self._sending[1:]
        return byte

    def end(self) -> None:
        """Forget what was not read."""
        self._sending = b""

    def _measure(self, at_ns: int, ready_ns: int) -> bool:
        air = self._air(self._clock.now_ns())
        if air is None:
            return False
        self._answer = words(*_convert(air, self._warmth(at_ns)))
        self._ready_ns = ready_ns
        return True

    def _warmth(self, now: int) -> float:
        """Return how much warmer than the air the chip is (°C)."""
        if not self._heat_c:
            return 0.0
        return self._heat_c * math.exp(-max(0, now - self._heat_ns) / _MS / _COOLING_MS)


def _convert(air: Conditions, warmth_c: float) -> tuple[int, int]:
    """Return the raw temperature and humidity (section 4.6) of a chip warmer than the air."""
    celsius = min(125.0, air.temperature_c + warmth_c)
    humidity = min(100.0, max(0.0, air.humidity_pct))
    if warmth_c:
        # The water in the air stays, what the air can hold grows.
        humidity *= _saturation(air.temperature_c) / _saturation(celsius)
    return _raw((celsius + 45) / 175), _raw((humidity + 6) / 125)


def _raw(share: float) -> int:
    return min(65535, max(0, round(share * 65535)))


def _saturation(celsius: float) -> float:
    """Return the vapour pressure over water (hPa; Magnus, WMO-No. 8, annex 4.B)."""
    return 6.112 * math.exp(17.62 * celsius / (243.12 + celsius))

"""Melexis MLX90614: infrared thermometer (datasheet 3901090614 rev. 13), on SMBus.

It sees the surface of the surroundings and feels the air. In a gap of the weather it does not
answer: it has nothing true to say.
"""

import random

from citynode.virtual.chips import Air, Around, Clock

_AMBIENT, _OBJECT_1, _OBJECT_2 = 0x06, 0x07, 0x08
_EEPROM, _FLAGS, _SLEEP = 0x20, 0xF0, 0xFF
_UNWRITABLE = frozenset((*range(0x26, 0x2E), *range(0x30, 0x40))) - {0x2F, 0x39}
_VALID_NS = 250_000_000
_NO_DATA = b"\xff"


def pec(data: bytes) -> int:
    """Return the packet error code: CRC-8 with x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc


class MLX90614:
    """The chip at `address` (0x5A); `rng` draws its number.

    `faults` breaks it: "dead", "bad-pec", "freezes" (a read that ends before the PEC stops its
    results until one goes to the end), "flagged" (it has no valid result).
    """

    def __init__(
        self, clock: Clock, air: Air, around: Around, rng: random.Random, address: int = 0x5A
    ) -> None:
        self.address = address
        self.faults: set[str] = set()
        # Table 9, as delivered (MLX90614ESF-BAA).
        self._words = {0: 0x9993, 1: 0x62E3, 2: 0x0201, 3: 0xF71C, 4: 0xFFFF, 5: 0x9FB4}
        self._words |= {0x0E: 0xBE00 | address}
        self._words |= {place: rng.getrandbits(16) for place in range(0x1C, 0x20)}
        self._clock = clock
        self._air = air
        self._around = around
        self.power_up()

    def power_up(self) -> None:
        """Start measuring; results come after 0.25 s."""
        self._start_ns = self._clock.now_ns()
        self._frozen_ns: int | None = None
        self._asleep = False
        self._received = b""
        self._command = 0
        self._sending = b""
        self._given = -1

    def begin(self, read: bool) -> bool:
        """Acknowledge the address."""
        now = self._clock.now_ns()
        if "dead" in self.faults or self._asleep or self._air(now) is None:
            return False
        if not read:
            self._received = b""
            return True
        if len(self._received) == 1:
            self._command = self._received[0]
        self._received = b""
        word = self._load(self._command, now).to_bytes(2, "little")
        frame = bytes((self.address << 1, self._command, self.address << 1 | 1)) + word
        code = pec(frame) ^ (0x10 if "bad-pec" in self.faults else 0)
        self._sending = word + bytes((code,))
        self._given = 0
        return True

    def write(self, byte: int) -> bool:
        """Take a command, and the word and PEC of a write."""
        self._received += bytes((byte,))
        if len(self._received) in (2, 4):
            fits = pec(bytes((self.address << 1,)) + self._received[:-1]) == byte
            if len(self._received) == 2:
                if self._received[0] == _SLEEP:
                    self._asleep = fits
                    return fits
                return True
            if not fits:
                return False
            self._store(self._received[0], int.from_bytes(self._received[1:3], "little"))
        return len(self._received) <= 4

    def read(self) -> int:
        """Give the word and its PEC, and ones behind them."""
        self._given += 1
        byte, self._sending = (self._sending or _NO_DATA)[0], self._sending[1:]
        return byte

    def end(self) -> None:
        """See how far a read went."""
        if "freezes" in self.faults and self._given >= 0:
            if self._given < 3 and self._frozen_ns is None:
                self._frozen_ns = self._clock.now_ns()
            elif self._given >= 3:
                self._frozen_ns = None
        self._given = -1

    def _store(self, command: int, value: int) -> None:
        if _EEPROM <= command < 0x40 and command not in _UNWRITABLE:
            place = command - _EEPROM
            # A cell takes a value only after it was erased, by writing zeros (section 8.3.3).
            if not value or not self._words.get(place, 0):
                self._words[place] = value

    def _load(self, command: int, now: int) -> int:
        if _EEPROM <= command < 0x40:
            return self._words.get(command - _EEPROM, 0)
        if command == _FLAGS:
            return 0x10
        at = now if self._frozen_ns is None else self._frozen_ns
        air, around = self._air(at), self._around(at)
        if at - self._start_ns < _VALID_NS or air is None or around is None:
            return 0
        flag = 0x8000 if "flagged" in self.faults else 0
        if command == _AMBIENT:
            return _raw(air.temperature_c, -40.0, 125.0)
        if command == _OBJECT_1:
            return _raw(around.surface_c, -70.0, 382.2) | flag
        return 0


def _raw(celsius: float, least: float, most: float) -> int:
    return round((min(most, max(least, celsius)) + 273.15) / 0.02)

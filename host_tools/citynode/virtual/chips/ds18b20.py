"""Maxim DS18B20: temperature (datasheet 19-7487 rev. 6), on 1-Wire, with its own supply.

Without conditions it does not answer: it has nothing true to say.
"""

import random

from citynode.virtual.chips import Air, Clock

FAMILY = 0x28
_MS = 1_000_000
_READ_ROM, _MATCH, _SKIP, _SEARCH, _ALARM_SEARCH = 0x33, 0x55, 0xCC, 0xF0, 0xEC
_CONVERT, _READ, _WRITE, _COPY, _RECALL, _SUPPLY = 0x44, 0xBE, 0x4E, 0x48, 0xB8, 0xB4
_LONGEST_MS = 750.0  # at 12 bits, half of it for each bit less (table 2)
_COPY_NS = 10 * _MS
_POWER_ON = 0x0550  # 85 °C
# The 6th byte is 0x0C only until the first conversion.
_RESERVED = bytes((0xFF, 0x0C, 0x10))


def crc8(data: bytes) -> int:
    """Return the CRC of figure 11: x^8 + x^5 + x^4 + 1, from the lowest bit."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


class DS18B20:
    """The chip; `rng` draws its number and its speed, `family` is what its number begins with.

    `faults` breaks it: "dead", "bad-crc", "brown-out" (its supply fails within each conversion,
    so that what is read is the power-on value, with a good CRC).
    """

    def __init__(
        self,
        clock: Clock,
        air: Air,
        rng: random.Random,
        *,
        family: int = FAMILY,
        kept: bytes = b"\x4b\x46\x7f",
    ) -> None:
        number = bytes((family,)) + rng.randbytes(6)
        self.rom = number + bytes((crc8(number),))
        self.faults: set[str] = set()
        self._quickness = rng.uniform(0.75, 0.98)
        self._clock = clock
        self._air = air
        self._kept = kept
        self.power_up()

    def power_up(self) -> None:
        """Start with the power-on value, the alarm bytes and configuration from the EEPROM."""
        self._scratch = bytearray(_POWER_ON.to_bytes(2, "little") + self._kept + _RESERVED)
        self._busy_ns = 0
        self._converting = False
        self._idle()

    def _idle(self) -> None:
        """Hear nothing until the next reset pulse."""
        self._stage = ""
        self._bits: list[int] = []  # to be given
        self._taken: list[int] = []
        self._place = 0

    # -- the wire -------------------------------------------------------------------------------

    def reset(self) -> bool:
        """Tell the presence."""
        self._idle()
        now = self._clock.now_ns()
        if "dead" in self.faults or self._air(now) is None:
            return False
        self._finish(now)
        self._stage = "rom"
        return True

    def write(self, bit: int) -> None:
        """Take a bit of a command, a number or the scratchpad."""
        if self._stage == "search":
            self._searched(bit)
            return
        if self._stage not in ("rom", "match", "function", "scratch"):
            return
        self._taken.append(bit)
        if len(self._taken) % 8:
            return
        data = bytes(
            sum(b << n for n, b in enumerate(self._taken[i : i + 8]))
            for i in range(0, len(self._taken), 8)
        )
        if self._stage == "rom":
            self._rom_command(data[0])
        elif self._stage == "function":
            self._function(data[0])
        elif self._stage == "match" and len(data) == 8:
            self._go("function" if data == self.rom else "")
        elif self._stage == "scratch" and len(data) == 3:
            # The configuration has two bits that count (figure 10).
            self._scratch[2:5] = data[:2] + bytes((data[2] & 0x60 | 0x1F,))
            self._go("")

    def read(self) -> int:
        """Give a bit; while it is busy 0, and 1 when there is nothing to say."""
        if self._stage == "search":
            bit = self._rom_bit() ^ (self._place & 1)
            self._place += 1
            return bit
        if self._stage == "busy":
            now = self._clock.now_ns()
            self._finish(now)
            return int(now >= self._busy_ns)
        return self._bits.pop(0) if self._bits else 1

    # -- commands -------------------------------------------------------------------------------

    def _go(self, stage: str) -> None:
        self._stage = stage
        self._taken = []

    def _give(self, data: bytes) -> None:
        self._go("give")
        self._bits = [byte >> place & 1 for byte in data for place in range(8)]

    def _rom_command(self, command: int) -> None:
        if command == _READ_ROM:
            self._give(self.rom)
        elif command == _SKIP:
            self._go("function")
        elif command == _MATCH:
            self._go("match")
        elif command == _SEARCH or (command == _ALARM_SEARCH and self._alarmed()):
            self._go("search")
        else:
            self._go("")

    def _rom_bit(self) -> int:
        bit = self._place // 2
        return self.rom[bit // 8] >> bit % 8 & 1

    def _searched(self, bit: int) -> None:
        """Hear the direction that the master goes on in; who has another bit leaves."""
        self._place -= 2
        if bit != self._rom_bit():
            self._go("")
            return
        self._place += 2
        if self._place == 128:
            self._go("function")

    def _alarmed(self) -> bool:
        high, low = (int.from_bytes(self._scratch[i : i + 1], signed=True) for i in (2, 3))
        whole = int.from_bytes(self._scratch[:2], "little", signed=True) >> 4
        return whole >= high or whole <= low

    def _function(self, command: int) -> None:
        now = self._clock.now_ns()
        if command == _CONVERT:
            bits = 9 + (self._scratch[4] >> 5 & 3)
            longest = _LONGEST_MS / (1 << 12 - bits)
            self._busy_ns = now + round(longest * self._quickness * _MS)
            self._converting = True
            self._go("busy")
        elif command == _READ:
            data = bytes(self._scratch)
            crc = crc8(data) ^ (0x01 if "bad-crc" in self.faults else 0)
            self._give(data + bytes((crc,)))
        elif command == _WRITE:
            self._go("scratch")
        elif command == _COPY:
            self._kept = bytes(self._scratch[2:5])
            self._busy_ns = now + _COPY_NS
            self._go("busy")
        elif command == _RECALL:
            self._scratch[2:5] = self._kept
            self._go("")
        else:
            self._go("")  # _SUPPLY: read slots stay high, it has its own supply

    def _finish(self, now: int) -> None:
        if not self._converting or now < self._busy_ns:
            return
        self._converting = False
        if "brown-out" in self.faults:
            stage = self._stage
            self.power_up()
            self._stage = stage
            return
        air = self._air(self._busy_ns) or self._air(now)
        if air is None:
            return
        celsius = min(125.0, max(-55.0, air.temperature_c))
        # Bits below the resolution are undefined: here they are 0.
        step = 1 << 3 - (self._scratch[4] >> 5 & 3)
        raw = round(celsius * 16 / step) * step
        self._scratch[:2] = raw.to_bytes(2, "little", signed=True)
        self._scratch[6] = 0x10 - (raw & 0x0F)

"""Chips that are not well: they say the same for ever, or not what they mean."""

import random

from citynode.virtual.chips import I2CDevice, OneWireDevice

_DATA = 6  # bytes from which on an answer has readings; what is shorter tells of states
_BITS = 8
_SHARE = 0.02  # of the bytes, or the bits of 1-Wire, that are wrong


class Stuck:
    """Passes everything on to `chip`, and repeats the first readings that it has given."""

    def __init__(self, chip: I2CDevice) -> None:
        self.chip = chip
        self._asked = b""
        self._reading = False
        self._given = bytearray()
        self._known: dict[bytes, bytes] = {}

    @property
    def address(self) -> int:
        """The chip's address."""
        return self.chip.address

    def begin(self, read: bool) -> bool:
        """Pass on a START."""
        self._keep()
        self._reading = read
        if not read:
            self._asked = b""
        return self.chip.begin(read)

    def write(self, byte: int) -> bool:
        """Pass on a byte."""
        self._asked += bytes((byte,))
        return self.chip.write(byte)

    def read(self) -> int:
        """Give the byte of the first time."""
        at = len(self._given)
        byte = self.chip.read()
        self._given.append(byte)
        known = self._known.get(self._asked, b"")
        return known[at] if at < len(known) else byte

    def end(self) -> None:
        """Pass on a STOP."""
        self._keep()
        self.chip.end()

    def power_up(self) -> None:
        """Pass on a start."""
        self.chip.power_up()

    def _keep(self) -> None:
        if self._reading and len(self._given) >= _DATA:
            self._known.setdefault(self._asked, bytes(self._given))
        self._reading = False
        self._given.clear()


class Garbled(Stuck):
    """Passes everything on to `chip`; in its readings there are wrong bits."""

    def __init__(self, chip: I2CDevice, seed: int) -> None:
        super().__init__(chip)
        self._rng = random.Random(seed)

    def read(self) -> int:
        """Give a byte with, most often, one wrong bit."""
        return self.chip.read() ^ (
            1 << self._rng.randrange(_BITS) if self._rng.random() < 0.8 else 0
        )


class Flipped:
    """Passes everything on to a chip on 1-Wire; of what it says a few bits are wrong."""

    def __init__(self, chip: OneWireDevice, seed: int) -> None:
        self._chip = chip
        self._rng = random.Random(seed)

    def reset(self) -> bool:
        """Pass on a reset pulse."""
        return self._chip.reset()

    def write(self, bit: int) -> None:
        """Pass on a bit."""
        self._chip.write(bit)

    def read(self) -> int:
        """Give a bit."""
        return self._chip.read() ^ (self._rng.random() < _SHARE)


def flip(data: bytes, rng: random.Random) -> bytes:
    """Return bytes from a serial line of which a few have a wrong bit."""
    return bytes(
        byte ^ 1 << rng.randrange(_BITS) if rng.random() < _SHARE else byte for byte in data
    )

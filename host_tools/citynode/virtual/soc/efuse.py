"""The eFuse controller: the chip's identity in bits that can only ever be set.

Source: technical reference manuals, chapter "eFuse Controller".
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.virtual.soc import efusecode
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.efusemap import MAPS, BlockMap, factory_fuses

_WRITE_KEY = 0x5A5A
_PROGRAM_COMMAND = 2
_MASK = 0xFFFF_FFFF
_CODE_WORDS = (efusecode.RS_DATA + efusecode.RS_CHECK) // 4
_CODING_34 = 1  # CODING_SCHEME in word 6 of the ESP32's block 0
_TOO_MANY = 7  # errors: more than the code can mend
_FIRST_KEY = 4
_MANUFACTURER_KEY = 12  # purpose that the ROM tells of the key behind the six


@dataclass(frozen=True)
class SecurityInfo:
    """What the ROM tells about the security eFuses."""

    flags: int
    flash_crypt_count: int
    key_purposes: bytes


class EFuse:
    """The eFuses of a chip as the factory left them, with the base address `mac` (6 bytes).

    What is burned later is kept in the file `burned` if that is given. Raises CitynodeError when
    the file cannot be used.
    """

    def __init__(self, chip: Chip, mac: bytes, burned: Path | None = None) -> None:
        if len(mac) != 6:
            raise ValueError("a MAC address has six bytes")
        self.mac = mac
        self._map = MAPS[chip.id]
        self._file = burned
        self._registers: dict[int, int] = {}
        # Behind the data words of a block come those of its check bytes.
        words = _CODE_WORDS if self._map.reed_solomon else 8
        self._fuses = [[0] * words for _ in self._map.blocks]
        for (block, word), value in factory_fuses(chip, mac).items():
            self._fuses[block][word] = value
        if self._map.reed_solomon:
            for fuses in self._fuses[1:]:
                fuses[8:] = _words(efusecode.rs_check(_bytes(fuses[:8])))
        self._burned = [[0] * words for _ in self._map.blocks]
        if burned is not None and burned.exists():
            self._load(burned)

    # -- registers ------------------------------------------------------------------------------

    def read(self, offset: int) -> int:
        """Return the 32-bit register at `offset` from the controller's base."""
        for number, block in enumerate(self._map.blocks):
            if block.read <= offset < block.read + 4 * block.words:
                return self._visible(number, block)[(offset - block.read) // 4]
        if offset == self._map.command:
            return 0  # commands end before the next access
        return self._registers.get(offset, 0) | self._errors(offset)

    def write(self, offset: int, value: int) -> None:
        """Set the 32-bit register at `offset`; a command is carried out at once."""
        if offset != self._map.command:
            self._registers[offset] = value
        elif value & _PROGRAM_COMMAND and self._registers.get(self._map.conf) == _WRITE_KEY:
            if self._map.reed_solomon:
                self._program([value >> 2 & 0xF])
            else:
                self._program(list(range(len(self._map.blocks))))

    def security(self) -> SecurityInfo:
        """Return the security settings of an ESP32-S3 or ESP32-C3 (layouts agree)."""
        block0 = self._fuses[0]
        flags = (block0[3] >> 20 & 1) | (block0[3] >> 21 & 1) << 1
        flags |= (block0[4] >> 5 & 1) << 2  # ENABLE_SECURITY_DOWNLOAD
        for key in range(3):
            flags |= (block0[2] >> (21 + key) & 1) << (3 + key)
        flags |= ((block0[1] >> 16 & 7).bit_count() & 1) << 6  # JTAG off, by an odd count
        flags |= (block0[1] >> 19 & 1) << 7
        purposes = bytes(
            [block0[2] >> shift & 0xF for shift in (24, 28)]
            + [block0[3] >> shift & 0xF for shift in (0, 4, 8, 12)]
            + [_MANUFACTURER_KEY]
        )
        return SecurityInfo(flags, block0[2] >> 18 & 7, purposes)

    def block(self, offset: int, size: int) -> bytes:
        """Return the data of the block whose reading begins at `offset`, hidden or not."""
        number = next(n for n, each in enumerate(self._map.blocks) if each.read == offset)
        if number and self._coding_34:
            data, _ = efusecode.decode_34(_bytes(self._fuses[number]))
            # The ESP32 fills a key of 192 bits up with eight bytes out of its middle.
            return (data[8:16] + data)[:size]
        return _bytes(self._fuses[number])[:size]

    def key(self, number: int) -> bytes:
        """Return a key block of an ESP32-S3 or ESP32-C3, hidden or not."""
        return _bytes(self._fuses[_FIRST_KEY + number])[: efusecode.RS_DATA]

    # -- burning --------------------------------------------------------------------------------

    def _program(self, numbers: list[int]) -> None:
        protection = self._fuses[0][0]
        for number in numbers:
            if number >= len(self._map.blocks):
                continue
            block = self._map.blocks[number]
            if block.write_disable is not None and protection >> block.write_disable & 1:
                continue
            for word in range(len(self._fuses[number])):
                if number == 0 and word >= block.words:
                    break
                value = self._registers.get(block.write + 4 * word, 0)
                if number == 0:
                    value &= ~self._guarded(protection, word)
                self._fuses[number][word] |= value
                self._burned[number][word] |= value
        self._save()

    def _guarded(self, protection: int, word: int) -> int:
        """Return the bits of a word of block 0 that cannot be burned any more."""
        mask = 0
        for bit, words in self._map.protected.items():
            if protection >> bit & 1:
                mask |= words.get(word, 0)
        return mask

    # -- reading --------------------------------------------------------------------------------

    def _visible(self, number: int, block: BlockMap) -> list[int]:
        fuses = self._fuses[number]
        if number == 0:
            hidden = [
                words for bit, words in self._map.hidden.items() if self._reading_disabled(bit)
            ]
            return [
                value & ~sum(words.get(word, 0) for words in hidden)
                for word, value in enumerate(fuses)
            ]
        if block.read_disable is not None and self._reading_disabled(block.read_disable):
            return [0] * len(fuses)
        if self._coding_34:
            return [*_words(efusecode.decode_34(_bytes(fuses))[0]), 0, 0]
        return fuses

    def _reading_disabled(self, bit: int) -> bool:
        word, shift = self._map.read_disable
        return self._fuses[0][word] >> (shift + bit) & 1 == 1

    @property
    def _coding_34(self) -> bool:
        return not self._map.reed_solomon and self._fuses[0][6] & 3 == _CODING_34

    def _errors(self, offset: int) -> int:
        """Return what an error register tells of blocks whose code is wrong."""
        if offset == self._map.decode_status:
            if not self._coding_34:
                return 0
            wrong = [efusecode.decode_34(_bytes(each))[1] for each in self._fuses[1:]]
            return sum(bits << 4 * number for number, bits in enumerate(wrong))
        result = 0
        for block, fuses in zip(self._map.blocks, self._fuses, strict=True):
            places = (block.failed, block.errors)
            if not any(place is not None and place[0] == offset for place in places):
                continue
            if efusecode.rs_check(_bytes(fuses[:8])) == _bytes(fuses[8:]):
                continue
            for place, value in zip(places, (1, _TOO_MANY), strict=True):
                if place is not None and place[0] == offset:
                    result |= value << place[1]
        return result

    # -- keeping --------------------------------------------------------------------------------

    def _load(self, path: Path) -> None:
        words = len(self._burned[0])
        layout = struct.Struct(f"<{words * len(self._burned)}I")
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise CitynodeError(
                f"cannot use {path} as eFuses: {error.strerror}", "choose another --state folder"
            ) from error
        if len(raw) != layout.size:
            raise CitynodeError(
                f"{path} has {len(raw)} bytes, the chip's eFuses {layout.size}",
                "delete the file for a chip fresh from the factory",
            )
        values = layout.unpack(raw)
        for number, fuses in enumerate(self._fuses):
            self._burned[number] = list(values[number * words : (number + 1) * words])
            for word, value in enumerate(self._burned[number]):
                fuses[word] |= value

    def _save(self) -> None:
        if self._file is None:
            return
        waiting = self._file.with_suffix(".new")
        waiting.write_bytes(b"".join(_bytes(block) for block in self._burned))
        os.replace(waiting, self._file)


def _bytes(words: list[int]) -> bytes:
    return struct.pack(f"<{len(words)}I", *(word & _MASK for word in words))


def _words(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))

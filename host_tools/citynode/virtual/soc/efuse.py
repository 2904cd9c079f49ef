"""The eFuse controller: the chip's identity in bits that can only ever be set.

Sources: technical reference manuals, chapter "eFuse Controller"; eFuse tables of ESP-IDF.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from citynode.virtual.soc.addresses import ESP32_CK8M_FREQ
from citynode.virtual.soc.chip import Chip

_WRITE_KEY = 0x5A5A
_READ_KEY = 0x5AA5
_READ_COMMAND = 1
_PROGRAM_COMMAND = 2
_MASK = 0xFFFF_FFFF


@dataclass(frozen=True)
class _Block:
    read: int  # offset of the first word that can be read
    write: int  # offset of the first word that holds what is to be programmed
    words: int
    write_disable: int | None = None  # bit of the first word of block 0
    read_disable: int | None = None  # bit of the read-disable field


@dataclass(frozen=True)
class _Layout:
    blocks: tuple[_Block, ...]
    conf: int
    command: int
    read_disable: tuple[int, int]  # word of block 0 and shift of the read-disable field
    one_data_register: bool  # all blocks are programmed through the same words


_ESP32 = _Layout(
    blocks=(
        _Block(0x00, 0x1C, 7),
        _Block(0x38, 0x98, 8, 7, 0),
        _Block(0x58, 0xB8, 8, 8, 1),
        _Block(0x78, 0xD8, 8, 9, 2),
    ),
    conf=0xFC,
    command=0x104,
    read_disable=(0, 16),
    one_data_register=False,
)

_S3_C3 = _Layout(
    blocks=(
        _Block(0x2C, 0x00, 6),
        _Block(0x44, 0x00, 6, 20),
        *(
            _Block(0x5C + 0x20 * index, 0x00, 8, 21 + index, None if index < 2 else index - 2)
            for index in range(9)
        ),
    ),
    conf=0x1CC,
    command=0x1D4,
    read_disable=(1, 0),
    one_data_register=True,
)


@dataclass(frozen=True)
class SecurityInfo:
    """What the ROM tells about the security eFuses."""

    flags: int
    flash_crypt_count: int
    key_purposes: bytes


class EFuse:
    """The eFuses of a chip as the factory left them, with the base address `mac` (6 bytes)."""

    def __init__(self, chip: Chip, mac: bytes) -> None:
        if len(mac) != 6:
            raise ValueError("a MAC address has six bytes")
        self.mac = mac
        if chip.id == "esp32":
            self._layout, fuses = _ESP32, _esp32_fuses(mac)
        else:
            self._layout, fuses = _S3_C3, _s3_c3_fuses(chip, mac)
        self._fuses = [[0] * block.words for block in self._layout.blocks]
        for (block, word), value in fuses.items():
            self._fuses[block][word] = value
        self._registers: dict[int, int] = {}

    def read(self, offset: int) -> int:
        """Return the 32-bit register at `offset` from the controller's base."""
        for number, block in enumerate(self._layout.blocks):
            if block.read <= offset < block.read + 4 * block.words:
                if self._read_disabled(block):
                    return 0
                return self._fuses[number][(offset - block.read) // 4]
        if offset == self._layout.command:
            return 0  # commands end before the next access
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Set the 32-bit register at `offset`; a command is carried out at once."""
        if offset != self._layout.command:
            self._registers[offset] = value
        elif value & _PROGRAM_COMMAND and self._registers.get(self._layout.conf) == _WRITE_KEY:
            if self._layout.one_data_register:
                blocks = [value >> 2 & 0xF]
            else:
                blocks = list(range(len(self._layout.blocks)))
            for number in blocks:
                self._program(number)

    def security(self) -> SecurityInfo:
        """Return the security settings of an ESP32-S3 or ESP32-C3 (layouts agree)."""
        block0 = self._fuses[0]
        flags = (block0[3] >> 20 & 1) | (block0[3] >> 21 & 1) << 1
        flags |= (block0[4] >> 5 & 1) << 2  # ENABLE_SECURITY_DOWNLOAD
        for key in range(3):
            flags |= (block0[2] >> (21 + key) & 1) << (3 + key)
        purposes = bytes(
            [block0[2] >> shift & 0xF for shift in (24, 28)]
            + [block0[3] >> shift & 0xF for shift in (0, 4, 8, 12)]
            + [0]
        )
        return SecurityInfo(flags, block0[2] >> 18 & 7, purposes)

    def _program(self, number: int) -> None:
        if number >= len(self._layout.blocks):
            return
        block = self._layout.blocks[number]
        if block.write_disable is not None and self._fuses[0][0] >> block.write_disable & 1:
            return
        for word in range(block.words):
            self._fuses[number][word] |= self._registers.get(block.write + 4 * word, 0)

    def _read_disabled(self, block: _Block) -> bool:
        word, shift = self._layout.read_disable
        return (
            block.read_disable is not None
            and self._fuses[0][word] >> (shift + block.read_disable) & 1 == 1
        )


def _crc8(data: bytes) -> int:
    """Return the CRC that the factory stores beside the MAC (polynomial 0x31, bits reversed)."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc


def _pack(*fields: tuple[int, int]) -> int:
    """Join (position, value) pairs into a word."""
    word = 0
    for position, value in fields:
        word |= value << position
    return word & _MASK


def _esp32_fuses(mac: bytes) -> dict[tuple[int, int], int]:
    """ESP32-D0WD-V3, revision 3.1, no coding scheme."""
    return {
        (0, 1): int.from_bytes(mac[2:], "big"),
        (0, 2): _pack((0, int.from_bytes(mac[:2], "big")), (16, _crc8(mac))),
        (0, 3): _pack((9, 1), (13, 1), (15, 1)),  # package, rated CPU frequency, revision bit 0
        (0, 4): _pack((0, ESP32_CK8M_FREQ), (8, 5)),  # ADC reference 1135 mV
        (0, 5): _pack((20, 1), (24, 1)),  # revision bit 1, minor revision
    }


# Calibration as typical chips of these kinds have it: (position, value) in block 2, words 4 to 7.
_CALIBRATION: Mapping[str, Mapping[int, tuple[tuple[int, int], ...]]] = {
    "esp32s3": {
        4: ((0, 1), (4, 0x0F6), (13, 0x56), (21, 0x7A)),
        6: ((9, 0x8A), (17, 0x84), (25, 0x5A)),
        7: ((1, 0x66),),
    },
    "esp32c3": {
        4: ((0, 1), (3, 0x11E), (12, 0x60), (20, 0x1BB)),
        5: ((8, 0x1C5), (18, 0x1D9)),
        6: ((6, 0x065), (16, 0x06A)),
        7: (),
    },
}


def _s3_c3_fuses(chip: Chip, mac: bytes) -> dict[tuple[int, int], int]:
    """ESP32-S3 revision 0.2 without, ESP32-C3 revision 0.4 with 4 MB of flash in the package."""
    fuses = {
        (1, 0): int.from_bytes(mac[2:], "big"),
        (1, 1): int.from_bytes(mac[:2], "big"),
    }
    if chip.id == "esp32s3":
        fuses[1, 3] = _pack((18, 2), (24, 3))  # minor revision, block version
    else:
        fuses[1, 3] = _pack((18, 4), (24, 3), (27, 1), (30, 1))  # and flash: 4 MB, 105 °C
        fuses[1, 4] = _pack((0, 1))  # flash by XMC
    unique = hashlib.sha256(chip.id.encode("ascii") + mac).digest()
    for word in range(4):
        fuses[2, word] = int.from_bytes(unique[4 * word : 4 * word + 4], "little")
    for word, fields in _CALIBRATION[chip.id].items():
        fuses[2, word] = _pack(*fields)
    return fuses

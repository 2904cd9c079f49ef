"""Where the eFuse controllers have their blocks, what protects what, and what the factory burns.

Sources: technical reference manuals, chapter "eFuse Controller"; eFuse tables of ESP-IDF.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from citynode.virtual.soc.addresses import ESP32_CK8M_FREQ
from citynode.virtual.soc.chip import Chip

Words = dict[tuple[int, int], int]  # (block, word) to value


@dataclass(frozen=True)
class BlockMap:
    """One block; the offsets are from the controller's base."""

    read: int  # of the first word that can be read
    write: int  # of the first word that holds what is to be programmed
    words: int
    write_disable: int | None = None  # bit of the first word of block 0
    read_disable: int | None = None  # bit of the read-disable field
    failed: tuple[int, int] | None = None  # register and bit that tell of a wrong code
    errors: tuple[int, int] | None = None  # register and shift of the number of errors


@dataclass(frozen=True)
class EFuseMap:
    """A controller. `protected` has what each write-disable bit guards in block 0."""

    blocks: tuple[BlockMap, ...]
    conf: int
    command: int
    read_disable: tuple[int, int]  # word of block 0 and shift of the read-disable field
    protected: Mapping[int, Mapping[int, int]]  # bit to word to mask
    hidden: Mapping[int, Mapping[int, int]]  # the same for reading
    reed_solomon: bool  # all blocks behind 0 have that code and are programmed through block 0's
    decode_status: int | None = None  # register with the chunks of 3/4 that are wrong


_ESP32 = EFuseMap(
    blocks=(
        BlockMap(0x00, 0x1C, 7),
        BlockMap(0x38, 0x98, 8, 7, 0),
        BlockMap(0x58, 0xB8, 8, 8, 1),
        BlockMap(0x78, 0xD8, 8, 9, 2),
    ),
    conf=0xFC,
    command=0x104,
    read_disable=(0, 16),
    protected={
        0: {0: 0x000F_0000},
        1: {0: 0x0000_FFFF},
        2: {0: 0x0FF0_0000},
        3: {1: 0xFFFF_FFFF, 2: 0x00FF_FFFF, 3: 0xB, 5: 0x00C0_0000},
        4: {4: 0x1FFF},
        5: {4: 0x1_C000},
        6: {5: 0xF_FFFF},
        10: {3: 0x4000, 5: 0xF000_0000, 6: 0x403},
        12: {6: 0x10},
        13: {6: 0x20},
        14: {6: 0x40},
        15: {6: 0x384},
    },
    hidden={3: {3: 0x4000, 5: 0xF000_0000, 6: 0x403}},
    reed_solomon=False,
    decode_status=0x11C,
)


def _reed_solomon_map(protected: Mapping[int, Mapping[int, int]], fail_lag: int) -> EFuseMap:
    """Make the map of an ESP32-S3 or ESP32-C3.

    Each block behind 0 has four bits of the error registers. On the ESP32-C3 the bit that tells of
    a failure is the one of the block after it.
    """

    def place(number: int, bit: int) -> tuple[int, int]:
        at = 4 * (number - 1) + bit
        return 0x1C0 + at // 32 * 4, at % 32

    reads = (0x44, *range(0x5C, 0x17C, 0x20))
    blocks = [BlockMap(0x2C, 0x00, 6)]
    for number, read in enumerate(reads, 1):
        blocks.append(
            BlockMap(
                read,
                0x00,
                6 if number == 1 else 8,
                19 + number,
                number - 4 if number >= 4 else None,
                place(number + fail_lag, 3) if number + fail_lag <= 10 else None,
                place(number, 0),
            )
        )
    common = {
        0: {1: 0x7F},
        4: {2: 0x001C_0000},
        5: {2: 0x0020_0000},
        6: {2: 0x0040_0000},
        7: {2: 0x0080_0000},
        8: {2: 0x0F00_0000},
        9: {2: 0xF000_0000},
        10: {3: 0xF},
        11: {3: 0xF0},
        12: {3: 0xF00},
        13: {3: 0xF000},
        15: {3: 0x0010_0000},
        16: {3: 0x0020_0000},
        19: {4: 0x8000_0000, 5: 0x3},
        30: {1: 0x0600_0000},
        31: {1: 0x0007_0000},
    }
    return EFuseMap(
        blocks=tuple(blocks),
        conf=0x1CC,
        command=0x1D4,
        read_disable=(1, 0),
        protected={**common, **protected},
        hidden={},
        reed_solomon=True,
    )


MAPS: Mapping[str, EFuseMap] = {
    "esp32": _ESP32,
    "esp32s3": _reed_solomon_map(
        {
            2: {1: 0x0018_FF00, 3: 0x03C0_0000},
            3: {2: 0x0003_0070},
            18: {3: 0xF000_0000, 4: 0x3FFF_FFFF},
        },
        fail_lag=0,
    ),
    "esp32c3": _reed_solomon_map(
        {
            2: {1: 0x0018_5F00},
            3: {2: 0x0003_0000},
            18: {3: 0xF000_0000, 4: 0x3FFF_E0F7},
        },
        fail_lag=1,
    ),
}


def factory_fuses(chip: Chip, mac: bytes) -> Words:
    """Return what the factory has burned into a chip with the base address `mac` (6 bytes)."""
    return _esp32_fuses(chip, mac) if chip.id == "esp32" else _s3_c3_fuses(chip, mac)


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
    return word & 0xFFFF_FFFF


def _esp32_fuses(chip: Chip, mac: bytes) -> Words:
    """ESP32-D0WD-V3, no coding scheme. Revision 3 has both of its bits set."""
    return {
        (0, 1): int.from_bytes(mac[2:], "big"),
        (0, 2): _pack((0, int.from_bytes(mac[:2], "big")), (16, _crc8(mac))),
        (0, 3): _pack((9, 1), (13, 1), (15, 1)),  # package, rated CPU frequency, revision bit 0
        (0, 4): _pack((0, ESP32_CK8M_FREQ), (8, 5)),  # ADC reference 1135 mV
        (0, 5): _pack((20, 1), (24, chip.revision % 100)),  # revision bit 1, minor revision
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


def _s3_c3_fuses(chip: Chip, mac: bytes) -> Words:
    """ESP32-S3 without flash, ESP32-C3 with 4 MB of flash in the package."""
    fuses = {
        (1, 0): int.from_bytes(mac[2:], "big"),
        (1, 1): int.from_bytes(mac[:2], "big"),
    }
    revision = (18, chip.revision % 100)
    if chip.id == "esp32s3":
        fuses[1, 3] = _pack(revision, (24, 3))  # and block version
    else:
        fuses[1, 3] = _pack(revision, (24, 3), (27, 1), (30, 1))  # and flash: 4 MB, 105 °C
        fuses[1, 4] = _pack((0, 1))  # flash by XMC
    unique = hashlib.sha256(chip.id.encode("ascii") + mac).digest()
    for word in range(4):
        fuses[2, word] = int.from_bytes(unique[4 * word : 4 * word + 4], "little")
    for word, fields in _CALIBRATION[chip.id].items():
        fuses[2, word] = _pack(*fields)
    return fuses

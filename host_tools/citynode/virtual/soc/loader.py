"""What the ROM's serial loader and the flasher stub have in common.

Requests and answers: 0 or 1, operation, length (16 bit), checksum or value (32 bit), data; all
little-endian (esptool documentation, "Serial Protocol").
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from citynode.virtual.soc import flashcrypt
from citynode.virtual.soc.actions import Action, Transmit
from citynode.virtual.soc.bus import Bus
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.slip import encode
from citynode.virtual.soc.spiflash import SpiFlash

HEADER = struct.Struct("<BBHI")
BLOCK_HEADER_SIZE = 16  # length, sequence number and two zeros before the data of a block
_SEGMENT_LIMIT = 16
PACKET_LIMIT = HEADER.size + BLOCK_HEADER_SIZE + 0x4000 + 64


class Op(IntEnum):
    """Operations."""

    FLASH_BEGIN = 0x02
    FLASH_DATA = 0x03
    FLASH_END = 0x04
    MEM_BEGIN = 0x05
    MEM_END = 0x06
    MEM_DATA = 0x07
    SYNC = 0x08
    WRITE_REG = 0x09
    READ_REG = 0x0A
    SPI_SET_PARAMS = 0x0B
    SPI_ATTACH = 0x0D
    READ_FLASH_SLOW = 0x0E
    CHANGE_BAUDRATE = 0x0F
    FLASH_DEFL_BEGIN = 0x10
    FLASH_DEFL_DATA = 0x11
    FLASH_DEFL_END = 0x12
    SPI_FLASH_MD5 = 0x13
    GET_SECURITY_INFO = 0x14
    ERASE_FLASH = 0xD0
    ERASE_REGION = 0xD1
    READ_FLASH = 0xD2
    RUN_USER_CODE = 0xD3
    FLASH_ENCRYPT_DATA = 0xD4


class RefusedError(Exception):
    """A request that is answered with an error; `code` goes into the status bytes."""

    def __init__(self, code: int) -> None:
        super().__init__(f"refused with {code:#06x}")
        self.code = code


@dataclass(frozen=True)
class Request:
    """A request that has come in whole."""

    op: int
    checksum: int
    data: bytes

    def words(self, count: int) -> tuple[int, ...]:
        """Return the first 32-bit words of the data."""
        return struct.unpack_from(f"<{count}I", self.data)


@dataclass
class Answer:
    """What a request leads to: `before` the answer is sent, and `after` it."""

    value: int = 0
    data: bytes = b""
    before: list[Action] = field(default_factory=list)
    after: list[Action] = field(default_factory=list)


@dataclass
class Machine:
    """The chip that the loaders run on."""

    chip: Chip
    flash: SpiFlash
    efuse: EFuse
    bus: Bus
    segments: list[tuple[int, int]] = field(default_factory=list)  # downloads since the last start

    def begin_download(self, address: int, size: int) -> "Download":
        """Note a part of a program that is going to be written into RAM."""
        self.segments.append((address, size))
        del self.segments[:-_SEGMENT_LIMIT]
        return Download(address, size)

    def encrypted(self, address: int, data: bytes) -> bytes | None:
        """Return what an encrypted write leaves in flash; None where it cannot begin or end."""
        grain = flashcrypt.granularity(self.chip)
        if address % grain or len(data) % grain:
            return None
        return flashcrypt.encrypt(self.chip, self.efuse, address, data)

    def take_program(self) -> bytes:
        """Return what the downloads have left in RAM, and forget that they were made."""
        segments, self.segments = self.segments, []
        parts = [self.bus.load(*part) for part in segments if self.bus.in_ram(*part)]
        return b"".join(parts)


class Mode(Protocol):
    """A program that listens on the serial line."""

    @property
    def successor(self) -> "Mode | None":
        """The program that has been started instead, if one has."""
        ...

    def handle(self, packet: bytes) -> list[Action]:
        """Take a packet (empty: one that could not be told) and return what comes of it."""
        ...


class Silent:
    """A program that does not speak the protocol, or a chip that waits for its reset."""

    successor: Mode | None = None

    def handle(self, packet: bytes) -> list[Action]:
        """Do nothing."""
        return []


Handlers = Mapping[int, Callable[[Request], Answer]]


@dataclass
class Download:
    """A download into RAM that has begun."""

    at: int
    left: int


def reply(op: int, value: int, data: bytes, status: bytes) -> Transmit:
    """Return the answer to a request."""
    header = HEADER.pack(1, op, len(data) + len(status), value)
    return Transmit(encode(header + data + status))


def checksum(data: bytes) -> int:
    """Return the exclusive or of all bytes and 0xEF."""
    value, size = int.from_bytes(data, "little"), len(data)
    while size > 1:  # fold in halves: a loop over the bytes would cost more than the rest
        size = (size + 1) // 2
        value = value >> 8 * size ^ value & (1 << 8 * size) - 1
    return value ^ 0xEF


def security_info(machine: Machine) -> bytes:
    """Return what GET_SECURITY_INFO answers (ESP32-S3 and ESP32-C3)."""
    info = machine.efuse.security()
    return struct.pack(
        "<IB7sII",
        info.flags,
        info.flash_crypt_count,
        info.key_purposes,
        machine.chip.image_chip_id,
        machine.chip.security_api,
    )


def write_registers(bus: Bus, data: bytes) -> int:
    """Carry out the entries of a WRITE_REG request; return the delays in them, in nanoseconds."""
    delays = 0
    for address, value, mask, delay_us in struct.iter_unpack("<4I", data):
        if mask != 0xFFFF_FFFF:
            value = value & mask | bus.read(address) & ~mask
        bus.write(address, value)
        delays += delay_us * 1000
    return delays

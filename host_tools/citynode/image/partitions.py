"""The ESP-IDF partition table: read and written in its binary form.

Source: ESP-IDF Programming Guide, "Partition Tables"; the checks are those of the second stage
bootloader, in its order.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from citynode.errors import CitynodeError

TABLE_OFFSET = 0x8000  # where MicroPython's images and ESP-IDF's defaults put it
TABLE_SIZE = 0xC00  # bytes that the bootloader looks at
SECTOR_SIZE = 0x1000

TYPE_APP = 0x00
TYPE_DATA = 0x01
APP_FACTORY = 0x00
APP_OTA_0 = 0x10
APP_TEST = 0x20
DATA_OTA = 0x00
DATA_PHY = 0x01
DATA_NVS = 0x02
DATA_FAT = 0x81
FLAG_ENCRYPTED = 1

_ENTRY = struct.Struct("<HBBII16sI")
_MAGIC = 0x50AA  # "AA 50" in flash
_MAGIC_MD5 = 0xEBEB
_MD5_AT = 16  # in the entry that holds the digest
_MAX_ENTRIES = TABLE_SIZE // _ENTRY.size - 1
_LABEL_SIZE = 16


@dataclass(frozen=True)
class Partition:
    """One partition: `offset` and `size` in bytes, `type` and `subtype` as ESP-IDF numbers them."""

    label: str
    type: int
    subtype: int
    offset: int
    size: int
    flags: int = 0

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.offset + self.size


class PartitionError(CitynodeError):
    """A partition table that the bootloader refuses; `what` is in its own words."""


def parse_table(data: bytes, flash_size: int | None = None) -> tuple[Partition, ...]:
    """Read a partition table from its first byte; bytes behind its end are ignored.

    `flash_size` bounds the partitions if given. Raises PartitionError, and nothing else.
    """
    partitions: list[Partition] = []
    digest_seen = False
    for index in range(TABLE_SIZE // _ENTRY.size):
        at = index * _ENTRY.size
        entry = data[at : at + _ENTRY.size]
        if len(entry) < _ENTRY.size:
            break
        magic, kind, subtype, offset, size, label, flags = _ENTRY.unpack(entry)
        if magic == _MAGIC:
            if flash_size is not None and offset + size > flash_size:
                raise PartitionError(
                    f"partition {index} invalid - offset 0x{offset:x} size 0x{size:x} "
                    f"exceeds flash chip size 0x{flash_size:x}"
                )
            text = label.split(b"\0")[0].decode("ascii", "replace")
            partitions.append(Partition(text, kind, subtype, offset, size, flags))
        elif magic == _MAGIC_MD5:
            if digest_seen:
                raise PartitionError("Only one MD5 checksum is allowed")
            if entry[_MD5_AT:] != _digest(data[:at]):
                raise PartitionError("Incorrect MD5 checksum")
            digest_seen = True
        elif (magic, kind, subtype) == (0xFFFF, 0xFF, 0xFF):
            return tuple(partitions)
        else:
            raise PartitionError(f"partition {index} invalid magic number 0x{magic:x}")
    raise PartitionError("partition table has no terminating entry, not valid")


def build_table(partitions: Iterable[Partition]) -> bytes:
    """Return the table as it stands in flash (0xC00 bytes, with its MD5).

    Raises PartitionError for a label that is too long, too many entries, overlaps and offsets that
    the boot chain cannot use.
    """
    entries = tuple(partitions)
    if len(entries) > _MAX_ENTRIES - 1:
        raise PartitionError(f"{len(entries)} partitions are too many for one table")
    _check(entries)
    table = b"".join(
        _ENTRY.pack(
            _MAGIC,
            each.type,
            each.subtype,
            each.offset,
            each.size,
            each.label.encode("ascii"),
            each.flags,
        )
        for each in entries
    )
    table += _MAGIC_MD5.to_bytes(2, "little") + b"\xff" * (_MD5_AT - 2) + _digest(table)
    return table.ljust(TABLE_SIZE, b"\xff")


def find(
    partitions: Iterable[Partition], *, type: int, subtype: int | None = None
) -> Partition | None:
    """Return the first partition of that type (and subtype, if given)."""
    for each in partitions:
        if each.type == type and subtype in (None, each.subtype):
            return each
    return None


def file_system(partitions: Iterable[Partition], flash_size: int) -> Partition | None:
    """Return where MicroPython keeps its files.

    That is the partition `vfs`, or where the table has none, the flash behind the last partition
    (MicroPython 1.26 and newer make that partition at run time); None where nothing is left.
    """
    entries = tuple(partitions)
    for each in entries:
        if each.type == TYPE_DATA and each.label == "vfs":
            return each
    end = max((each.end for each in entries), default=TABLE_OFFSET + SECTOR_SIZE)
    if end >= flash_size:
        return None
    return Partition("vfs", TYPE_DATA, DATA_FAT, end, flash_size - end)


def _digest(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _check(entries: tuple[Partition, ...]) -> None:
    for each in entries:
        if not each.label.isascii() or len(each.label) > _LABEL_SIZE:
            raise PartitionError(f"partition label {each.label!r} is not 16 ASCII characters")
        align = 0x10000 if each.type == TYPE_APP else SECTOR_SIZE
        if each.offset % align or each.size % SECTOR_SIZE:
            raise PartitionError(f"partition {each.label} is not aligned to {align:#x}")
    ordered = sorted(entries, key=lambda each: each.offset)
    for one, two in pairwise(ordered):
        if two.offset < one.end:
            raise PartitionError(f"partitions {one.label} and {two.label} overlap")

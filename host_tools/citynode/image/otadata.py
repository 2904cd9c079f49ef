"""Which slot boots: the two records of the partition `otadata`, each in a sector of its own.

Source: ESP-IDF Programming Guide, "Over The Air Updates" (OTA data partition, app rollback).
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

RECORD_SIZE = 32
RECORDS = 2

# States of the app that a record names (esp_ota_img_states_t).
NEW, PENDING_VERIFY, VALID, INVALID, ABORTED = range(5)
UNDEFINED = 0xFFFF_FFFF

_RECORD = struct.Struct("<I20sII")
_BLANK = 0xFFFF_FFFF  # the sequence number of an erased record


@dataclass(frozen=True)
class Record:
    """One record; the higher `sequence` counts, and (sequence - 1) modulo slots is the slot."""

    sequence: int = _BLANK
    state: int = UNDEFINED
    crc: int = 0xFFFF_FFFF
    label: bytes = b"\xff" * 20

    @property
    def blank(self) -> bool:
        """Whether it selects nothing: erased, or its app was refused."""
        return self.sequence == _BLANK or self.state in (INVALID, ABORTED)

    @property
    def intact(self) -> bool:
        """Whether it was ever written and has its CRC."""
        return self.sequence != _BLANK and self.crc == _crc(self.sequence)

    @property
    def valid(self) -> bool:
        """Whether it selects a slot."""
        return not self.blank and self.intact

    def encode(self) -> bytes:
        """Return the record as it stands in flash."""
        return _RECORD.pack(self.sequence, self.label, self.state, self.crc)


def record(sequence: int, state: int) -> Record:
    """Return a record with its CRC."""
    return Record(sequence, state, _crc(sequence))


def marked(old: Record, state: int) -> Record:
    """Return a record with another state; the CRC is over the sequence number alone."""
    return replace(old, state=state)


def decode(raw: bytes) -> Record:
    """Read a record from its 32 bytes."""
    sequence, label, state, crc = _RECORD.unpack_from(raw)
    return Record(sequence, state, crc, label)


def active(records: Sequence[Record]) -> int | None:
    """Return which record counts; None if there is none."""
    valid = [number for number, each in enumerate(records) if each.valid]
    # max() keeps the first of equals, as the second stage does.
    return max(valid, key=lambda number: records[number].sequence) if valid else None


def select(records: Sequence[Record], slot: int, slots: int) -> tuple[int, Record]:
    """Return what `esp_ota_set_boot_partition` writes to boot `slot`: which record, and its value.

    The other record is left alone, so that a cut of the power loses nothing.
    """
    current = active(records)
    if current is None:
        return 0, record(slot + 1, NEW)
    sequence = slot + 1
    while sequence < records[current].sequence:
        sequence += slots
    return 1 - current, record(sequence, NEW)


def _crc(sequence: int) -> int:
    return zlib.crc32(sequence.to_bytes(4, "little"), 0xFFFF_FFFF)

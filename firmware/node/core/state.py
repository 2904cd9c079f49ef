"""The small state beside the spool's records: `/spool/state`.

It has the epoch, the first record not yet released, how often the node started, and what is
known of times before the clock was set. An *era* is one run of the node's clock from power-up
to power loss; records made before the clock was set carry their era and its count of seconds.
When the clock is set, the *shift* from that count to Unix time is kept here, so that even
records found after a later power loss get their true time.

The file is small enough for LittleFS to keep inline, is replaced whole when it is closed, and
has a CRC: after a power cut it is the old one or the new one.
"""

import struct
from binascii import crc32

from node.wire.const import const

_MAGIC = b"cst1"
_FORM = "<4sIIIHH"  # magic, epoch, cursor, starts, era, number of shifts
_SHIFT = "<Hi"
_MAX_SHIFTS = const(8)


class State:
    """What is in the file at `path`; `found` says whether it could be read."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.found = False
        self.epoch = 0
        self.cursor = 0
        self.starts = 0
        self.era = 0
        self.shifts: list = []
        try:
            with open(path, "rb") as file:
                data = file.read(256)
        except OSError:
            return
        head = struct.calcsize(_FORM)
        if len(data) < head + 4:
            return
        magic, epoch, cursor, starts, era, count = struct.unpack_from(_FORM, data)
        size = head + count * struct.calcsize(_SHIFT)
        if magic != _MAGIC or len(data) != size + 4:
            return
        if struct.unpack_from("<I", data, size)[0] != crc32(data[:size]):
            return
        self.found = True
        self.epoch, self.cursor, self.starts, self.era = epoch, cursor, starts, era
        for i in range(count):
            self.shifts.append(struct.unpack_from(_SHIFT, data, head + i * struct.calcsize(_SHIFT)))

    def save(self) -> None:
        """Write the file; raises OSError."""
        data = struct.pack(
            _FORM, _MAGIC, self.epoch, self.cursor, self.starts, self.era, len(self.shifts)
        )
        for shift in self.shifts:
            data += struct.pack(_SHIFT, *shift)
        with open(self._path, "wb") as file:
            file.write(data + struct.pack("<I", crc32(data)))

    def new_era(self) -> int:
        """Return the number of an era that no record has yet; 0 is none."""
        self.era = self.era % 0xFFFF + 1
        self.save()
        return self.era

    def shift(self, era: int):
        """Return the seconds from the era's count to Unix time, or None where not known."""
        for known, shift in self.shifts:
            if known == era:
                return shift
        return None

    def set_shift(self, era: int, shift: int) -> None:
        """Keep an era's shift; the oldest of more than eight is forgotten."""
        kept = [pair for pair in self.shifts if pair[0] != era]
        self.shifts = kept[-(_MAX_SHIFTS - 1) :] + [(era, shift)]
        self.save()

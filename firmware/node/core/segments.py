"""The files of the spool: segments that begin with a header, and entries with a CRC-32 each.

segment  magic "cns1", epoch u32, first seq u32, CRC-32 of these
entry    length u16, era u16, at u32, seq u32, frame, CRC-32 of all before it in the entry
"""

import os
import struct
from binascii import crc32

from node.wire.const import const

SEGMENT_BYTES = const(4096)
MAX_FRAME = const(240)

HEADER_BYTES = const(16)
ENTRY = "<HHII"
ENTRY_BYTES = const(12)
CRC_BYTES = const(4)
MIN_ENTRY = const(20)

_MAGIC = b"cns1"
_HEADER = "<4sII"


class Segments:
    """Files `<first seq, 8 hex digits>` in `folder`, each of at most SEGMENT_BYTES.

    `buffer` has the entry that was loaded last.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self.buffer = bytearray(ENTRY_BYTES + MAX_FRAME + CRC_BYTES)
        self.view = memoryview(self.buffer)
        self._reader = None
        self._reader_base = 0

    def path(self, base: int) -> str:
        """Return the name of the segment whose first record is `base`."""
        return "%s/%08x" % (self._folder, base)

    def find(self) -> list:
        """Return the first records of the segments that there are, sorted."""
        names = []
        try:
            names = os.listdir(self._folder)
        except OSError:
            try:
                os.mkdir(self._folder)
            except OSError:
                pass  # whatever is wrong with it shows with the first record
        bases = []
        for name in names:
            try:
                base = int(name, 16)
            except ValueError:
                continue
            if len(name) == 8:
                bases.append(base)
        bases.sort()
        return bases

    def header(self, epoch: int, base: int) -> bytes:
        """Return what a segment begins with."""
        head = struct.pack(_HEADER, _MAGIC, epoch, base)
        return head + struct.pack("<I", crc32(head))

    def epoch_of(self, base: int):
        """Return a segment's epoch, None where its header is not whole."""
        try:
            with open(self.path(base), "rb") as file:
                head = file.read(HEADER_BYTES)
        except OSError:
            return None
        if len(head) < HEADER_BYTES or struct.unpack_from("<I", head, 12)[0] != crc32(head[:12]):
            return None
        magic, epoch, first = struct.unpack_from(_HEADER, head)
        return epoch if magic == _MAGIC and first == base else None

    def size(self, base: int) -> int:
        """Return a segment's length, 0 where there is none."""
        try:
            return os.stat(self.path(base))[6]
        except OSError:
            return 0

    def entries(self, base: int):
        """Yield each entry of a segment as (where it ends, era, seq)."""
        offset = HEADER_BYTES
        while True:
            size = self.load(base, offset)
            if not size:
                return
            offset += size
            _, era, _, seq = struct.unpack_from(ENTRY, self.buffer)
            yield offset, era, seq

    def load(self, base: int, offset: int) -> int:
        """Read the entry at `offset` into the buffer; return its size, 0 where there is none."""
        try:
            if self._reader is None or self._reader_base != base:
                self.end_reading()
                self._reader = open(self.path(base), "rb")
                self._reader_base = base
            self._reader.seek(offset)
            got = self._reader.readinto(self.buffer) or 0
        except OSError:
            self.end_reading()
            return 0
        if got < MIN_ENTRY:
            return 0
        end = ENTRY_BYTES + struct.unpack_from("<H", self.buffer)[0]
        if end + CRC_BYTES > got:
            return 0
        if struct.unpack_from("<I", self.buffer, end)[0] != crc32(self.view[:end]):
            return 0
        return end + CRC_BYTES

    def end_reading(self) -> None:
        """Close what is open: it does not see what is added. Opening costs more than reading."""
        if self._reader is not None:
            reader, self._reader = self._reader, None
            reader.close()

    def remove(self, base: int) -> None:
        """Remove a segment."""
        self.end_reading()
        try:
            os.remove(self.path(base))
        except OSError:
            pass

"""The pages and entries of ESP-IDF's non-volatile storage, as bytes.

Source: ESP-IDF Programming Guide, "NVS Flash", sections on pages and entries (format version 2).
"""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

PAGE_SIZE = 4096
ENTRY_SIZE = 32
ENTRY_COUNT = 126
BITMAP_AT = 32
ENTRIES_AT = 64
KEY_SIZE = 15  # bytes, without the terminator
CHUNK_MAX = ENTRY_SIZE * (ENTRY_COUNT - 1)  # data that fits into an empty page
NO_CHUNK = 0xFF  # chunk index of everything that is no chunk
VERSION_2 = 0xFE
VERSIONS = (0xFF, VERSION_2)
BLANK = b"\xff" * ENTRY_SIZE

# Both versions of a blob use chunk numbers of their own, so that a new one never hides the old one.
CHUNK_STARTS = (0x00, 0x80)

_MAX_SEQUENCE = 0xFFFF0000  # far above what any flash lives to see; leaves room to count on

_HEADER = struct.Struct("<IIB19xI")
_ENTRY = struct.Struct("<BBBBI16s8s")
_SIZED = struct.Struct("<HHI")
_INDEX = struct.Struct("<IBBH")


class PageState(IntEnum):
    """State words of a page; each next one only clears bits."""

    BLANK = 0xFFFFFFFF
    ACTIVE = 0xFFFFFFFE
    FULL = 0xFFFFFFFC
    FREEING = 0xFFFFFFF8
    CORRUPT = 0xFFFFFFF0


class EntryState(IntEnum):
    """The two bits of an entry in the page's bitmap."""

    EMPTY = 3
    WRITTEN = 2
    ERASED = 0


class Kind(IntEnum):
    """Types of entries."""

    U8 = 0x01
    U16 = 0x02
    U32 = 0x04
    U64 = 0x08
    I8 = 0x11
    I16 = 0x12
    I32 = 0x14
    I64 = 0x18
    STRING = 0x21
    BLOB_V1 = 0x41  # a blob in one page, from before version 2
    BLOB_DATA = 0x42
    BLOB = 0x48  # the index of a blob, which is what stands for it

    @property
    def width(self) -> int:
        """Bytes of an integer, else 0."""
        return self & 0x0F if self < Kind.STRING else 0

    @property
    def signed(self) -> bool:
        """Whether it is an integer with a sign."""
        return bool(self & 0x10) and self < Kind.STRING

    @property
    def has_data(self) -> bool:
        """Whether data entries follow the header."""
        return self in (Kind.STRING, Kind.BLOB_V1, Kind.BLOB_DATA)


def crc(data: bytes) -> int:
    """Return the CRC-32 as ESP-IDF calculates it over headers, entries and data."""
    return zlib.crc32(data, 0xFFFFFFFF)


@dataclass(frozen=True)
class Entry:
    """A valid entry: `body` are the 8 bytes behind the key."""

    namespace: int
    kind: Kind
    span: int
    chunk: int
    key: str
    body: bytes

    def encode(self) -> bytes:
        """Return the 32 bytes."""
        key = self.key.encode("ascii")
        parts = (self.namespace, self.kind, self.span, self.chunk)
        raw = _ENTRY.pack(*parts, 0, key, self.body)
        return _ENTRY.pack(*parts, crc(raw[:4] + raw[8:]), key, self.body)

    @property
    def integer(self) -> int:
        """The value of an integer entry."""
        return int.from_bytes(self.body[: self.kind.width], "little", signed=self.kind.signed)

    @property
    def data_size(self) -> int:
        """The number of bytes in the data entries."""
        return int(_SIZED.unpack(self.body)[0])

    @property
    def data_crc(self) -> int:
        """The CRC of those bytes."""
        return int(_SIZED.unpack(self.body)[2])

    @property
    def blob_index(self) -> tuple[int, int, int]:
        """Size of the blob, number of chunks, number of the first chunk."""
        size, count, start, _ = _INDEX.unpack(self.body)
        return size, count, start


def decode(raw: bytes) -> Entry | None:
    """Read an entry of 32 bytes; None if its CRC, type, span or key is not valid."""
    namespace, kind, span, chunk, stored, key, body = _ENTRY.unpack(raw)
    if stored != crc(raw[:4] + raw[8:]):
        return None
    text, end, _ = key.partition(b"\0")
    try:
        entry = Entry(namespace, Kind(kind), span, chunk, text.decode("ascii"), body)
    except ValueError:
        return None
    wanted = 1 + -(-entry.data_size // ENTRY_SIZE) if entry.kind.has_data else 1
    return entry if end and span == wanted and wanted <= ENTRY_COUNT else None


def integer_entry(namespace: int, key: str, kind: Kind, value: int) -> Entry:
    """Make the entry of an integer; raises OverflowError outside of its range."""
    body = value.to_bytes(kind.width, "little", signed=kind.signed).ljust(8, b"\xff")
    return Entry(namespace, kind, 1, NO_CHUNK, key, body)


def data_entry(namespace: int, key: str, kind: Kind, data: bytes, chunk: int = NO_CHUNK) -> Entry:
    """Make the header of a string, or of a chunk of a blob."""
    span = 1 + -(-len(data) // ENTRY_SIZE)
    return Entry(namespace, kind, span, chunk, key, _SIZED.pack(len(data), 0xFFFF, crc(data)))


def index_entry(namespace: int, key: str, size: int, count: int, start: int) -> Entry:
    """Make the index of a blob."""
    return Entry(namespace, Kind.BLOB, 1, NO_CHUNK, key, _INDEX.pack(size, count, start, 0xFFFF))


def page_header(sequence: int) -> bytes:
    """Return the header of an active page."""
    raw = bytearray(b"\xff" * BITMAP_AT)
    raw[0:4] = PageState.ACTIVE.to_bytes(4, "little")
    raw[4:8] = sequence.to_bytes(4, "little")
    raw[8] = VERSION_2
    raw[28:32] = crc(bytes(raw[4:28])).to_bytes(4, "little")
    return bytes(raw)


def read_header(raw: bytes) -> tuple[PageState, int]:
    """Return state and sequence number of a page; CORRUPT for everything that is not valid."""
    state, sequence, version, stored = _HEADER.unpack(raw[:BITMAP_AT])
    if state == PageState.BLANK:
        clean = raw.count(0xFF) == len(raw)
        return (PageState.BLANK if clean else PageState.CORRUPT), 0
    if stored != crc(raw[4:28]) or version not in VERSIONS or sequence > _MAX_SEQUENCE:
        return PageState.CORRUPT, 0
    try:
        return PageState(state), sequence
    except ValueError:
        return PageState.CORRUPT, 0

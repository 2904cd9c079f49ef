"""The firmware image of ESP chips: header, segments, checksum, SHA-256, app descriptor.

Source: esptool documentation, "Firmware Image Format"; ESP-IDF `esp_app_format.h` and
`esp_app_desc.h`.
"""

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

MAGIC = 0xE9
FLASH_SIZES = {1 << 20 << code: code for code in range(8)}  # bytes to the code in the header
FLASH_FREQUENCIES = {40: 0x0, 26: 0x1, 20: 0x2, 80: 0xF}  # MHz to code
CHIP_IDS = {"esp32": 0, "esp32c3": 5, "esp32s3": 9}

_HEADER = struct.Struct("<BBBBIB3sHBHH4sB")
HEADER_SIZE = _HEADER.size
_SEGMENT = struct.Struct("<II")
_SEGMENT_LIMIT = 16  # segments that the boot chain takes
_LENGTH_LIMIT = 16 << 20
_SEED = 0xEF
_DESCRIPTOR = struct.Struct("<II8s32s32s16s16s32s32s")
_DESCRIPTOR_MAGIC = 0xABCD5432

Read = Callable[[int, int], bytes]
Check = Callable[[int, int, int, int], None]


class ImageError(Exception):
    """The image is not valid: `reason` is one of the constants, `found` and `expected` its values.

    `digests` are the SHA-256 as calculated and as stored if that is the reason; `segments` what was
    read before, for a segment's length with that segment's address and no data.
    """

    MAGIC, SEGMENTS, LENGTH, CHECKSUM, ROOM, HASH, TRUNCATED = (
        "magic",
        "segment count",
        "segment length",
        "checksum",
        "room",
        "hash",
        "truncated",
    )

    def __init__(
        self,
        reason: str,
        found: int = 0,
        expected: int = 0,
        *,
        segments: "Sequence[Segment]" = (),
        digests: tuple[bytes, bytes] = (b"", b""),
    ) -> None:
        super().__init__(f"image: bad {reason}")
        self.reason = reason
        self.found = found
        self.expected = expected
        self.segments = tuple(segments)
        self.digests = digests


@dataclass(frozen=True)
class Header:
    """The first 24 bytes: what the chip needs to read the rest."""

    segments: int
    entry: int
    chip_id: int = 0
    flash_mode: int = 2
    flash_size: int = 4 << 20
    flash_mhz: int = 80
    min_revision: int = 0  # major * 100 + minor
    max_revision: int = 0xFFFF
    hashed: bool = True


@dataclass(frozen=True)
class Segment:
    """Bytes and the address they are loaded to or mapped at."""

    address: int
    data: bytes = field(repr=False)
    offset: int = 0  # of the data in the image


@dataclass(frozen=True)
class AppDescriptor:
    """What ESP-IDF knows of an app: texts of at most 31 bytes."""

    version: str
    project: str
    time: str  # as the compiler's __TIME__, at most 15 bytes
    date: str
    idf_version: str
    elf_sha256: bytes = bytes(32)
    secure_version: int = 0


@dataclass(frozen=True)
class Image:
    """A valid image; `size` counts all its bytes, checksum and SHA-256 included."""

    header: Header
    segments: tuple[Segment, ...]
    size: int
    descriptor: AppDescriptor | None


def xor(data: bytes) -> int:
    """Return the XOR of all bytes, by folding halves: fast on megabytes."""
    value, size = int.from_bytes(data, "little"), len(data)
    while size > 1:
        half = size // 2
        value = (value >> 8 * (size - half)) ^ (value & (1 << 8 * (size - half)) - 1)
        size -= half
    return value


def decode_header(raw: bytes) -> Header:
    """Return the header; raises ImageError (magic, truncated)."""
    if len(raw) < HEADER_SIZE:
        raise ImageError(ImageError.TRUNCATED)
    (magic, segments, mode, size_freq, entry, _wp, _drv, chip, _rev, low, high, _, hashed) = (
        _HEADER.unpack_from(raw)
    )
    if magic != MAGIC:
        raise ImageError(ImageError.MAGIC, magic, MAGIC)
    megahertz = {code: mhz for mhz, code in FLASH_FREQUENCIES.items()}
    return Header(
        segments,
        entry,
        chip,
        mode,
        1 << 20 << (size_freq >> 4),
        megahertz.get(size_freq & 0xF, 40),
        low,
        high,
        hashed != 0,
    )


def unhashed(header: Header) -> Header:
    """Return the header as if the image had no SHA-256 behind it."""
    return replace(header, hashed=False)


def decode(
    read: Read,
    limit: int,
    *,
    header: Header | None = None,
    room: int | None = None,
    check_segment: Check | None = None,
) -> Image:
    """Check and return the image that `read(offset, length)` gives, at most `limit` bytes long.

    `room` is the size of the partition it is in. `check_segment(number, address, length,
    offset)` is called with each head, before the data is read, and may raise what it likes. Raises
    ImageError where the boot chain would refuse the image.
    """
    raw = read(0, min(HEADER_SIZE, limit))
    header = header or decode_header(raw)
    if header.segments > _SEGMENT_LIMIT:
        raise ImageError(ImageError.SEGMENTS, header.segments, _SEGMENT_LIMIT)
    digest = hashlib.sha256(raw)
    check, at = _SEED, HEADER_SIZE
    segments: list[Segment] = []
    for number in range(header.segments):
        if at + 8 > limit:
            raise ImageError(ImageError.TRUNCATED, segments=segments)
        head = read(at, 8)
        address, length = _SEGMENT.unpack(head)
        if length % 4 or length >= _LENGTH_LIMIT or at + 8 + length > limit:
            segments.append(Segment(address, b"", at + 8))
            raise ImageError(ImageError.LENGTH, length, segments=segments)
        if check_segment is not None:
            check_segment(number, address, length, at + 8)
        data = read(at + 8, length)
        digest.update(head + data)
        check ^= xor(data)
        segments.append(Segment(address, data, at + 8))
        at += 8 + length
    end = (at // 16 + 1) * 16  # the checksum is the last byte of a block of 16
    if end > limit:
        raise ImageError(ImageError.TRUNCATED, segments=segments)
    tail = read(at, end - at)
    digest.update(tail)
    if tail[-1] != check:
        raise ImageError(ImageError.CHECKSUM, tail[-1], check, segments=segments)
    if header.hashed:
        if end + 32 > limit:
            raise ImageError(ImageError.TRUNCATED, segments=segments)
        _fits(end + 32, room, segments)
        stored = read(end, 32)
        if stored != digest.digest():
            digests = digest.digest(), stored
            raise ImageError(ImageError.HASH, segments=segments, digests=digests)
        end += 32
    _fits(end, room, segments)
    return Image(header, tuple(segments), end, descriptor_of(segments))


def _fits(size: int, room: int | None, segments: Sequence[Segment]) -> None:
    if room is not None and size > room:
        raise ImageError(ImageError.ROOM, size, room, segments=segments)


def encode(header: Header, segments: Sequence[Segment]) -> bytes:
    """Return the image of the segments; each is padded to words, `header.segments` is counted."""
    mode = FLASH_SIZES[header.flash_size] << 4 | FLASH_FREQUENCIES[header.flash_mhz]
    image = bytearray(
        _HEADER.pack(
            MAGIC,
            len(segments),
            header.flash_mode,
            mode,
            header.entry,
            0xEE,
            bytes(3),
            header.chip_id,
            0,
            header.min_revision,
            header.max_revision,
            bytes(4),
            header.hashed,
        )
    )
    check = _SEED
    for segment in segments:
        data = segment.data + bytes(-len(segment.data) % 4)
        image += _SEGMENT.pack(segment.address, len(data)) + data
        check ^= xor(data)
    image += bytes(15 - len(image) % 16) + bytes([check])
    if header.hashed:
        image += hashlib.sha256(image).digest()
    return bytes(image)


def encode_descriptor(descriptor: AppDescriptor) -> bytes:
    """Return the descriptor as it stands at the start of an app's first segment (256 bytes)."""
    texts = (descriptor.version, descriptor.project, descriptor.time, descriptor.date)
    return _DESCRIPTOR.pack(
        _DESCRIPTOR_MAGIC,
        descriptor.secure_version,
        bytes(8),
        *(text.encode() for text in (*texts, descriptor.idf_version)),
        descriptor.elf_sha256,
    ).ljust(256, b"\0")


def is_app(data: bytes) -> bool:
    """Tell whether an image begins as an app does: its descriptor is its first data."""
    at = HEADER_SIZE + _SEGMENT.size
    return data[:1] == bytes([MAGIC]) and data[at : at + 4] == _DESCRIPTOR_MAGIC.to_bytes(
        4, "little"
    )


def descriptor_of(segments: Sequence[Segment]) -> AppDescriptor | None:
    """Return the descriptor that an app's first segment begins with; None if there is none."""
    if not segments or len(segments[0].data) < _DESCRIPTOR.size:
        return None
    magic, secure, _, *rest = _DESCRIPTOR.unpack_from(segments[0].data)
    if magic != _DESCRIPTOR_MAGIC:
        return None
    texts = [raw.partition(b"\0")[0].decode("utf-8", "replace") for raw in rest[:5]]
    return AppDescriptor(texts[0], texts[1], texts[2], texts[3], texts[4], rest[5], secure)

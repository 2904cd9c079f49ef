"""CBOR (RFC 8949): a deterministic encoder into the caller's buffer, and a total decoder.

What a frame and a configuration need and no more: integers to 64 bit, byte and text strings,
arrays, maps with text keys, false, true, null, undefined; floats are decoded only. Every length
and integer has its shortest form (section 4.2.1) in both directions; tags and indefinite lengths
are refused. Any bytes give a value or a `CborError`.
"""

import struct

from .const import const

_NEGATIVE = const(0x20)
_BYTES = const(0x40)
_TEXT = const(0x60)
_ARRAY = const(0x80)
_MAP = const(0xA0)
_TAG = const(0xC0)
_SIMPLE = const(0xE0)

FALSE = const(0xF4)
TRUE = const(0xF5)
NULL = const(0xF6)
FAULT = const(0xF7)

_MAX_DEPTH = const(8)
_MAX_ITEMS = const(1024)


class CborError(Exception):
    """Bytes that are no CBOR of ours, or a value that has no encoding.

    `offset` is the byte where it was noticed. `kind` when decoding: "truncated", "trailing",
    "shortest", "reserved", "indefinite", "tag", "simple", "text" (no UTF-8), "key" (no text),
    "duplicate", "depth", "items"; when encoding: "full", "type", "range", "depth".
    """

    def __init__(self, kind: str, offset: int) -> None:
        super().__init__(kind, offset)
        self.kind = kind
        self.offset = offset


class Undefined:
    """The type of `UNDEFINED`, CBOR's undefined: here, what a failed sensor gives."""

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED = Undefined()


def put_head(buffer: bytearray, pos: int, major: int, n: int) -> int:
    """Write an item's head (`major` in the top three bits, argument `n`); return the end."""
    if n < 24:
        if pos >= len(buffer):
            raise CborError("full", pos)
        buffer[pos] = major | n
        return pos + 1
    if n < 0x100:
        if pos + 2 > len(buffer):
            raise CborError("full", pos)
        buffer[pos] = major | 24
        buffer[pos + 1] = n
        return pos + 2
    if n < 0x10000:
        if pos + 3 > len(buffer):
            raise CborError("full", pos)
        buffer[pos] = major | 25
        buffer[pos + 1] = n >> 8
        buffer[pos + 2] = n & 0xFF
        return pos + 3
    if n >> 64:
        raise CborError("range", pos)
    size = 9 if n >> 32 else 5
    if pos + size > len(buffer):
        raise CborError("full", pos)
    buffer[pos] = major | (27 if size == 9 else 26)
    struct.pack_into(">Q" if size == 9 else ">I", buffer, pos + 1, n)
    return pos + size


def put_int(buffer: bytearray, pos: int, value: int) -> int:
    """Write an integer of -2**64 … 2**64-1; return the end."""
    if value < 0:
        return put_head(buffer, pos, _NEGATIVE, -1 - value)
    return put_head(buffer, pos, 0, value)


def put(buffer: bytearray, pos: int, value: object, depth: int = _MAX_DEPTH) -> int:
    """Write any value there is an encoding for; return the end.

    A map's keys are sorted by their encoded bytes. Raises CborError "full", "type", "range" or
    "depth"; the buffer then holds a part of the value.
    """
    if value is None or value is UNDEFINED or value is True or value is False:
        simple = NULL if value is None else FAULT
        if value is True or value is False:
            simple = TRUE if value else FALSE
        return put_head(buffer, pos, _SIMPLE, simple & 0x1F)
    if isinstance(value, int):
        return put_int(buffer, pos, value)
    if isinstance(value, str):
        return _put_string(buffer, pos, _TEXT, value.encode())
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _put_string(buffer, pos, _BYTES, value)
    if not isinstance(value, (list, tuple, dict)):
        raise CborError("type", pos)
    if depth == 0:
        raise CborError("depth", pos)
    if not isinstance(value, dict):
        pos = put_head(buffer, pos, _ARRAY, len(value))
        for item in value:
            pos = put(buffer, pos, item, depth - 1)
        return pos
    pos = put_head(buffer, pos, _MAP, len(value))
    keys = []
    for key in value:
        if not isinstance(key, str):
            raise CborError("type", pos)
        raw = key.encode()
        keys.append((len(raw), raw, key))
    for _, raw, key in sorted(keys):
        pos = _put_string(buffer, pos, _TEXT, raw)
        pos = put(buffer, pos, value[key], depth - 1)
    return pos


def _put_string(
    buffer: bytearray, pos: int, major: int, raw: bytes | bytearray | memoryview
) -> int:
    start = put_head(buffer, pos, major, len(raw))
    end = start + len(raw)
    if end > len(buffer):
        raise CborError("full", start)
    buffer[start:end] = raw
    return end


def get_int(data: bytes | bytearray | memoryview, pos: int) -> tuple[int, int]:
    """Read the integer at `pos`; return it and its end. Raises CborError, "type" for no integer."""
    reader = _Reader(data, pos, 1)
    major = reader.head()
    if major > _NEGATIVE:
        raise CborError("type", pos)
    return (-1 - reader.n if major else reader.n), reader.pos


def decode(
    data: bytes | bytearray | memoryview, depth: int = _MAX_DEPTH, items: int = _MAX_ITEMS
) -> object:
    """Return the one value that `data` is.

    `depth` limits how deep arrays and maps nest, `items` how many items there are in all.
    Raises CborError and nothing else, whatever the bytes.
    """
    reader = _Reader(data, 0, items)
    value = reader.item(depth)
    if reader.pos != len(data):
        raise CborError("trailing", reader.pos)
    return value


class _Reader:
    """Where decoding is in the data; `info` and `n` are of the head read last."""

    def __init__(self, data: bytes | bytearray | memoryview, pos: int, items: int) -> None:
        self.data = data
        self.pos = pos
        self.items = items
        self.info = 0
        self.n = 0

    def head(self) -> int:
        """Read a head into `info` and `n`; return its major type (in the top three bits)."""
        start = self.pos
        if start >= len(self.data):
            raise CborError("truncated", start)
        first = self.data[start]
        major = first & 0xE0
        info = first & 0x1F
        self.info = info
        if info < 24:
            self.n = info
            self.pos = start + 1
            return major
        if info > 27:
            raise CborError("indefinite" if info == 31 else "reserved", start)
        size = 1 << (info - 24)
        if start + 1 + size > len(self.data):
            raise CborError("truncated", start)
        n = struct.unpack_from((">B", ">H", ">I", ">Q")[info - 24], self.data, start + 1)[0]
        # A float's argument is its bits, and a simple value above 31 is refused elsewhere.
        if major != _SIMPLE and n < (24, 0x100, 0x10000, 0x100000000)[info - 24]:
            raise CborError("shortest", start)
        self.n = n
        self.pos = start + 1 + size
        return major

    def item(self, depth: int) -> object:
        """Read one item with all that is in it."""
        start = self.pos
        major = self.head()
        self.items -= 1
        if self.items < 0:
            raise CborError("items", start)
        if major == 0:
            return self.n
        if major == _NEGATIVE:
            return -1 - self.n
        if major == _BYTES:
            return bytes(self.string())
        if major == _TEXT:
            raw = self.string()
            if not _is_utf8(raw):
                raise CborError("text", start)
            return str(raw, "utf-8")
        if major == _TAG:
            raise CborError("tag", start)
        if major == _SIMPLE:
            return self.simple(start)
        if depth == 0:
            raise CborError("depth", start)
        # An item has at least one byte, so a count that the data cannot hold ends here.
        count = self.n if major == _ARRAY else 2 * self.n
        if count > len(self.data) - self.pos:
            raise CborError("truncated", start)
        if count > self.items:
            raise CborError("items", start)
        if major == _ARRAY:
            return [self.item(depth - 1) for _ in range(self.n)]
        return self.map(depth - 1)

    def map(self, depth: int) -> dict[str, object]:
        """Read the pairs of a map."""
        pairs: dict[str, object] = {}
        for _ in range(self.n):
            start = self.pos
            key = self.item(0)
            if not isinstance(key, str):
                raise CborError("key", start)
            if key in pairs:
                raise CborError("duplicate", start)
            pairs[key] = self.item(depth)
        return pairs

    def string(self) -> bytes | bytearray | memoryview:
        """Read the content of a byte or text string."""
        start = self.pos
        if self.n > len(self.data) - start:
            raise CborError("truncated", start)
        self.pos = start + self.n
        return self.data[start : self.pos]

    def simple(self, start: int) -> object:
        """Turn the head of major type 7 into a simple value or a float."""
        if self.info == 25:
            return _half(self.n)
        if self.info > 25:
            form = ">f" if self.info == 26 else ">d"
            value: float = struct.unpack_from(form, self.data, start + 1)[0]
            return value
        if self.info < 20 or self.info == 24:
            raise CborError("simple", start)
        return (False, True, None, UNDEFINED)[self.info - 20]


def _half(bits: int) -> float:
    """Return an IEEE 754 binary16 (RFC 8949 appendix D); MicroPython's struct lacks it."""
    exponent = (bits >> 10) & 0x1F
    mantissa = bits & 0x3FF
    if exponent == 31:
        value = float("nan") if mantissa else float("inf")
    elif exponent:
        value = (mantissa + 1024) * 2.0 ** (exponent - 25)
    else:
        value = mantissa * 2.0**-24
    return -value if bits & 0x8000 else value


def _is_utf8(raw: bytes | bytearray | memoryview) -> bool:
    """Check against RFC 3629 section 4; MicroPython's own check lets surrogates and others by."""
    need = 0
    low, high = 0x80, 0xBF
    for c in raw:
        if need:
            if not low <= c <= high:
                return False
            need -= 1
            low, high = 0x80, 0xBF
        elif c < 0x80:
            pass
        elif 0xC2 <= c <= 0xDF:
            need = 1
        elif 0xE0 <= c <= 0xEF:
            need = 2
            if c == 0xE0:
                low = 0xA0
            elif c == 0xED:
                high = 0x9F
        elif 0xF0 <= c <= 0xF4:
            need = 3
            if c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
        else:
            return False
    return need == 0

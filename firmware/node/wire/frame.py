"""Frames: one record as a CBOR array `[k, seq, t, status, v1 … vm]`, there and back; batches read.

`k` is the record type (`schema.RECORDS`), `seq` the record's number in the node's epoch,
`t` >= 0 Unix seconds of the end of its interval; `t` < 0 says the clock was never set, and
-1 - t is the record's age in seconds when the frame was made. `status` is a set of bits. A value
is an integer of the field's steps, null where nothing was sampled, undefined where the sensor
failed; nulls at the end are left out.
"""

from . import cbor
from .cbor import FAULT, NULL, UNDEFINED, CborError, get_int, put_int
from .const import const
from .schema import RECORDS, VERSION

# No open frame is longer: array head, k, seq, t, status and 19 values of 5 bytes.
MAX_BYTES = const(116)

_HEAD = const(4)
_BATCH = const(7)
_ARRAY = const(0x80)
_MAX_U32 = const(0xFFFFFFFF)
_MAX_STATUS = const(0xFFFF)
_MAX_ITEMS = const(65)  # the array and what a later schema may have added


class FrameError(Exception):
    """A frame that cannot be read or made.

    `kind`: "cbor" (`detail` is the CborError's kind), "shape" (not a record's array), "type"
    (unknown record type `detail`), "seq", "t", "status" and, in a batch, "dt" and "n" (no integer
    in its range), "columns" (`detail` is what is wrong with them), "value" (of the field
    `detail`), "field" (`detail` is no field).
    """

    def __init__(self, kind: str, detail: object = None) -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        text = _TEXTS[self.kind]
        return text if self.detail is None else text + ": " + str(self.detail)


_TEXTS = {
    "cbor": "not the CBOR of a frame",
    "shape": "not a record's array",
    "type": "unknown record type",
    "seq": "sequence number is not 0 … 2^32-1",
    "t": "time is not -2^32 … 2^32-1",
    "status": "status is not 0 … 65535",
    "dt": "interval is not 0 … 2^32-1",
    "n": "number of records is not 1 … 64",
    "columns": "no columns of a batch",
    "value": "no possible value",
    "field": "no such field",
}


class Record:
    """One decoded record: `t` (Unix seconds) or `age_s` is None; `values` by field name.

    A value is an int or float in the field's unit, a str for versions and codes that have a name,
    None where not sampled, UNDEFINED where the sensor failed.
    """

    def __init__(
        self,
        kind: int,
        seq: int,
        t: int | None,
        age_s: int | None,
        status: int,
        values: dict[str, object],
    ) -> None:
        self.kind = kind
        self.name = RECORDS[kind][0]
        self.seq = seq
        self.t = t
        self.age_s = age_s
        self.status = status
        self.values = values


def t_of_age(age_s: int) -> int:
    """Return the `t` of a record whose time is known only as an age in seconds."""
    return -1 - age_s


def encode(kind: int, seq: int, t: int, status: int, values: object = ()) -> bytes:
    """Return one record as a frame; see `encode_into`."""
    buffer = bytearray(MAX_BYTES)
    size = encode_into(buffer, kind, seq, t, status, values)
    return bytes(memoryview(buffer)[:size])


def encode_into(
    buffer: bytearray, kind: int, seq: int, t: int, status: int, values: object = ()
) -> int:
    """Write one record as a frame to the start of `buffer`; return its length.

    `values` are numbers in the fields' units, as a dict by name or a sequence in the schema's
    order; what is missing or None was not sampled. UNDEFINED, NaN and what is out of the field's
    range or an unknown name of a code becomes undefined: a number is never made up.
    Raises FrameError for what only a wrong program can give.
    """
    if kind not in RECORDS:
        raise FrameError("type", kind)
    _check(seq, t, status)
    rows = RECORDS[kind][1]
    named = values if isinstance(values, dict) else None
    listed = values if isinstance(values, (list, tuple)) else ()
    if named is None and values is not listed:
        raise FrameError("value", "values")
    if len(listed) > len(rows):
        raise FrameError("field", len(listed))
    try:
        pos = put_int(buffer, 1, kind)
        pos = put_int(buffer, pos, seq)
        pos = put_int(buffer, pos, t)
        pos = put_int(buffer, pos, status)
        count = index = found = 0
        for row in rows:
            if named is not None:
                value = named.get(row[0])
                if value is not None or row[0] in named:
                    found += 1
            else:
                value = listed[index] if index < len(listed) else None
            index += 1
            if value is None:
                continue
            while count < index - 1:
                buffer[pos] = NULL
                pos += 1
                count += 1
            steps = _steps(value, row)
            if steps is None:
                buffer[pos] = FAULT
                pos += 1
            else:
                pos = put_int(buffer, pos, steps - row[4])
            count = index
    except (CborError, IndexError):
        raise FrameError("cbor", "full")
    if named is not None and found != len(named):
        for name in named:
            if not any(row[0] == name for row in rows):
                raise FrameError("field", name)
    buffer[0] = _ARRAY | (_HEAD + count)
    return pos


def _check(seq: object, t: object, status: object) -> None:
    # A bool is an int to isinstance on CPython, and no number here.
    if type(seq) is not int or not 0 <= seq <= _MAX_U32:
        raise FrameError("seq", seq)
    if type(t) is not int or not -1 - _MAX_U32 <= t <= _MAX_U32:
        raise FrameError("t", t)
    if type(status) is not int or not 0 <= status <= _MAX_STATUS:
        raise FrameError("status", status)


def _steps(
    value: object, row: tuple[str, str, int, int, int, int, int, tuple[str, ...]]
) -> int | None:
    """Return a value in steps of its field, or None where it has none."""
    if value is UNDEFINED:
        return None
    name, _, num, den, _, low, high, form = row
    if isinstance(value, float):
        scaled = value * num / den
        if not low - 1 < scaled < high + 1:  # also NaN and the infinities
            return None
        steps = round(scaled)
    elif isinstance(value, int) and value is not True and value is not False:
        steps = value * num
        if den != 1:
            steps = (2 * steps + den) // (2 * den)
    elif form and isinstance(value, str):
        if form is not VERSION:
            return form.index(value) if value in form else None
        packed = _pack_version(value)
        if packed is None:
            return None
        steps = packed
    else:
        raise FrameError("value", name)
    return steps if low <= steps <= high else None


def _pack_version(text: str) -> int | None:
    parts = text.split(".")
    packed = 0
    for part in parts:
        if not 0 < len(part) <= 2 or not all("0" <= c <= "9" for c in part):
            return None
        packed = 100 * packed + int(part)
    return packed if len(parts) == 3 else None


def decode(frame: bytes | bytearray | memoryview) -> list[Record]:
    """Return the records of a frame: one, or those of a batch, oldest first.

    Values that a later schema added at the end are ignored, missing ones are None. Raises
    FrameError and nothing else, whatever the bytes.
    """
    try:
        items = cbor.decode(frame, 1, _MAX_ITEMS)
    except CborError as error:
        raise FrameError("cbor", error.kind)
    if not isinstance(items, list) or not items or type(items[0]) is not int:
        raise FrameError("shape")
    batch = items[0] < 0
    kind = -1 - items[0] if batch else items[0]
    if kind not in RECORDS:
        raise FrameError("type", kind)
    if len(items) < (_BATCH if batch else _HEAD):
        raise FrameError("shape")
    _, seq, t, status = items[:_HEAD]
    _check(seq, t, status)
    if batch:
        return _decode_batch(kind, seq, t, status, items)
    end = _HEAD + len(RECORDS[kind][1])
    _check_later(items, end)
    return [_record(kind, seq, t, status, items[_HEAD:end])]


def _decode_batch(kind: int, seq: int, t: int, status: int, items: list[object]) -> list[Record]:
    from . import unbatch  # what a node never needs it does not load

    dt, n = unbatch.check(seq, t, items[4], items[5])
    _check_later(items, _BATCH)
    statuses, columns = unbatch.read(kind, n, status, items[6])
    return [
        _record(kind, seq + i, t + i * dt, statuses[i], [column[i] for column in columns])
        for i in range(n)
    ]


def _check_later(items: list[object], end: int) -> None:
    # Floats have several encodings; a frame has one.
    if any([isinstance(later, float) for later in items[end:]]):
        raise FrameError("value", "later field")


def _record(kind: int, seq: int, t: int, status: int, raws: list[object]) -> Record:
    values: dict[str, object] = {}
    for index, row in enumerate(RECORDS[kind][1]):
        values[row[0]] = _value(raws[index], row) if index < len(raws) else None
    return Record(kind, seq, t if t >= 0 else None, None if t >= 0 else -1 - t, status, values)


def _value(raw: object, row: tuple[str, str, int, int, int, int, int, tuple[str, ...]]) -> object:
    """Return a field's value in its unit from what was on the air."""
    if raw is None or raw is UNDEFINED:
        return raw
    name, _, num, den, zero, low, high, form = row
    if type(raw) is not int or not low <= raw + zero <= high:
        raise FrameError("value", name)
    steps = raw + zero
    if form is VERSION:
        return "%d.%d.%d" % (steps // 10000, steps // 100 % 100, steps % 100)
    if form:
        return form[steps] if steps < len(form) else steps
    return steps * den if num == 1 else steps * den / num


def peek(frame: bytes | bytearray | memoryview) -> tuple[int, int, int, int]:
    """Return `(k, seq, t, status)` of a frame without reading its values; raises FrameError."""
    kind, pos = _get(frame, 1)
    seq, pos = _get(frame, pos)
    t, pos = _get(frame, pos)
    status, _ = _get(frame, pos)
    _check(seq, t, status)
    return kind, seq, t, status


def restamp(frame: bytes | bytearray | memoryview, t: int) -> bytes:
    """Return a stored frame with another `t`: its values are copied, not decoded.

    For a record made before the clock was set: its time when the clock has been set since, else
    its age (`t_of_age`) at the moment of sending. Raises FrameError.
    """
    _check(0, t, 0)
    _, start = _get(frame, 1)
    _, start = _get(frame, start)
    _, end = _get(frame, start)
    stamp = bytearray(9)
    size = put_int(stamp, 0, t)
    result = bytearray(start + size + len(frame) - end)
    result[:start] = frame[:start]
    result[start : start + size] = stamp[:size]
    result[start + size :] = frame[end:]
    return bytes(result)


def _get(frame: bytes | bytearray | memoryview, pos: int) -> tuple[int, int]:
    if not frame or not _ARRAY + _HEAD <= frame[0] < _ARRAY + 24:
        raise FrameError("shape")
    try:
        return get_int(frame, pos)
    except CborError as error:
        raise FrameError("cbor", error.kind)

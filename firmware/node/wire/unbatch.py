"""Reading a batch: what `columns` and `batch` write. Total, and bounded by MAX_RECORDS.

A node has no use for it: `frame.decode` imports it with the first batch.
"""

from .cbor import UNDEFINED
from .columns import (
    ALL,
    CLASS_BITS,
    COARSE,
    COUNT_BITS,
    EQUAL,
    ESCAPE,
    FAILED,
    FINE_MODES,
    LONG,
    LONG_BITS,
    MAX_RECORDS,
    MODE_BITS,
    NONE,
    PRESENCE_BITS,
    SHORT_MODES,
    class_width,
    width,
)
from .const import const
from .frame import FrameError
from .schema import RECORDS

_MAX_U32 = const(0xFFFFFFFF)
_MAX_STATUS = const(0xFFFF)


def check(seq: int, t: int, dt: object, n: object) -> tuple[int, int]:
    """Return `dt` and `n` if all records have possible numbers and times, else raise FrameError."""
    # A bool is an int to isinstance on CPython, and no number here.
    if type(dt) is not int or not 0 <= dt <= _MAX_U32:
        raise FrameError("dt", dt)
    if type(n) is not int or not 1 <= n <= MAX_RECORDS:
        raise FrameError("n", n)
    if seq + n - 1 > _MAX_U32:
        raise FrameError("seq", seq + n - 1)
    last = t + (n - 1) * dt
    if last > _MAX_U32 or (t < 0) != (last < 0):
        raise FrameError("t", last)
    return dt, n


def read(kind: int, n: int, status: int, data: object) -> tuple[list[int], list[list[object]]]:
    """Return the records' statuses, and their values as they are in open frames, by column.

    There is a list of `n` values for each field of the record type. Columns that a later schema
    added are ignored, missing ones are None. Raises FrameError.
    """
    if not isinstance(data, bytes):
        raise FrameError("columns", "no byte string")
    reader = _BitReader(data)
    rows = RECORDS[kind][1]
    count = reader.take(COUNT_BITS)
    complete = reader.take(1)
    statuses = [status] * n
    if reader.take(1):
        statuses = _values(reader, n, "status", 0, _MAX_STATUS)
    columns: list[list[object]] = []
    for row in rows:
        if len(columns) < count:
            columns.append(_column(reader, n, row, complete))
        else:
            columns.append([None] * n)
    if count <= len(rows):
        reader.end()
    return statuses, columns


class _BitReader:
    """Reads bits, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0
        self._bits = 8 * len(data)

    def take(self, bits: int) -> int:
        """Return the number in the next so many bits; raises FrameError."""
        pos = self._pos
        end = pos + bits
        if end > self._bits:
            raise FrameError("columns", "truncated")
        self._pos = end
        value = 0
        while pos < end:
            step = min(8 - pos % 8, end - pos)
            rest = 8 - pos % 8 - step
            value = value << step | (self._data[pos // 8] >> rest) & ((1 << step) - 1)
            pos += step
        return value

    def ones(self, most: int) -> int:
        """Return the number of ones up to a zero, or `most` of them and no zero."""
        count = 0
        while count < most and self.take(1):
            count += 1
        return count

    def end(self) -> None:
        """Raise FrameError unless nothing is left but zeros up to the end of the byte."""
        left = self._bits - self._pos
        if left > 7 or self.take(left):
            raise FrameError("columns", "bits after the end")


def _column(
    reader: _BitReader,
    n: int,
    row: tuple[str, str, int, int, int, int, int, tuple[str, ...]],
    complete: int,
) -> list[object]:
    name, _, _, _, zero, low, high, _ = row
    code = ALL if complete else reader.take(PRESENCE_BITS)
    if code in (NONE, FAILED):
        return [None if code == NONE else UNDEFINED] * n
    if code == ALL:
        values: list[object] = list(_values(reader, n, name, low - zero, high - zero))
        return values
    found: list[object] = []
    present = 0
    for _ in range(n):
        if reader.take(1):
            found.append(True)
            present += 1
        else:
            found.append(UNDEFINED if reader.take(1) else None)
    given = iter(_values(reader, present, name, low - zero, high - zero))
    return [next(given) if each is True else each for each in found]


def _values(reader: _BitReader, n: int, name: str, low: int, high: int) -> list[int]:
    bits = width(low, high)
    values: list[int] = []
    mode = k = value = 0
    step = 1
    for index in range(n):
        if index == 1:
            mode = reader.take(MODE_BITS)
            k = mode - 1
            if mode == LONG:
                k = SHORT_MODES + reader.take(LONG_BITS)
            if k >= FINE_MODES:
                k -= FINE_MODES
                step = COARSE
        quotient = ESCAPE
        if index:
            quotient = 0 if mode == EQUAL else reader.ones(ESCAPE)
        if quotient == ESCAPE:
            value = reader.take(class_width(bits, reader.take(CLASS_BITS)))
            if low < 0:
                value = _unfold(value)
        elif mode != EQUAL:
            value += step * _unfold(quotient << k | reader.take(k))
        if not low <= value <= high:
            raise FrameError("value", name)
        values.append(value)
    return values


def _unfold(value: int) -> int:
    return -1 - value // 2 if value & 1 else value // 2

"""Frames on the host: decoded with cbor2, so that the node's own decoder can be held against it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import cbor2

from citynode.wire import unbatch
from citynode.wire.cbor import UNDEFINED, Undefined
from citynode.wire.frame import FrameError
from citynode.wire.schema import RECORDS, STATUS, VERSION

Value = int | float | str | Undefined | None

_MAX_U32 = 0xFFFFFFFF
_MAX_STATUS = 0xFFFF
_MAX_ITEMS = 64
_HEAD = 4  # items of an open frame before its values
_BATCH = 7  # items of a batch

# Whatever a decoder of untrusted bytes may raise besides its own error: sizes it cannot hold,
# text and tag contents it cannot turn into objects, keys that cannot be hashed.
_LOAD_ERRORS = (
    cbor2.CBORError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)


@dataclass(frozen=True)
class Field:
    """A row of the schema: a value is `(raw + zero) * den / num` in `unit`, `raw` on the air."""

    name: str
    unit: str
    num: int
    den: int
    zero: int
    low: int
    high: int
    form: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name without its unit, for people."""
        stem = self.name.rpartition("_")[0] if self.unit else self.name
        return stem.replace("_", " ")

    @property
    def resolution(self) -> float:
        """The smallest difference between two values, in `unit`."""
        return self.den / self.num

    def physical(self, raw: int) -> int | float | str:
        """Turn the integer on the air into a value; raises FrameError when out of range."""
        steps = raw + self.zero
        if not self.low <= steps <= self.high:
            raise FrameError("value", self.name)
        if self.form is VERSION:
            major, rest = divmod(steps, 10000)
            return f"{major}.{rest // 100}.{rest % 100}"
        if self.form:
            return self.form[steps] if steps < len(self.form) else steps
        return steps * self.den / self.num if self.num > 1 else steps * self.den

    def text(self, value: Value) -> str:
        """Write a value with as many digits as it has, and its unit."""
        if value is None:
            return "not sampled"
        if isinstance(value, Undefined):
            return "fault"
        if isinstance(value, float):
            value = f"{value:.{len(str(self.resolution)) - 2}f}"
        return f"{value} {self.unit}".rstrip()


FIELDS: Mapping[int, tuple[Field, ...]] = {
    kind: tuple(Field(*row) for row in rows) for kind, (_, rows) in RECORDS.items()
}


@dataclass(frozen=True)
class Record:
    """One record: either `t` (Unix seconds) or `age_s` is known; `values` by field name.

    A value is a number in the field's unit, a str for versions and named codes, None where
    nothing was sampled, UNDEFINED where the sensor failed.
    """

    kind: int
    name: str
    seq: int
    t: int | None
    age_s: int | None
    status: int
    values: Mapping[str, Value]

    @property
    def flags(self) -> tuple[str, ...]:
        """Names of the status bits that are set; a bit of a later schema is `bit_<n>`."""
        return tuple(
            STATUS[bit] if bit < len(STATUS) else f"bit_{bit}"
            for bit in range(16)
            if self.status >> bit & 1
        )

    @property
    def faults(self) -> tuple[str, ...]:
        """Names of the fields whose sensor failed."""
        return tuple(name for name, value in self.values.items() if isinstance(value, Undefined))

    @property
    def when(self) -> str:
        """The time as ISO 8601 in UTC, or the age."""
        if self.t is None:
            return f"{self.age_s} s before sending"
        return datetime.fromtimestamp(self.t, UTC).isoformat().replace("+00:00", "Z")

    @property
    def readings(self) -> tuple[str, ...]:
        """The sampled fields as people read them, `temperature 21.37 °C`."""
        return tuple(
            f"{field.label} {field.text(self.values[field.name])}"
            for field in FIELDS[self.kind]
            if self.values[field.name] is not None
        )

    def __str__(self) -> str:
        flags = f" [{' '.join(self.flags)}]" if self.status else ""
        return f"{self.name} {self.seq} {self.when}{flags} {', '.join(self.readings)}".rstrip()

    def to_json(self) -> dict[str, object]:
        """Return what JSON can hold; a failed sensor's value is null and named in `faults`."""
        return {
            "record": self.name,
            "seq": self.seq,
            "t": self.t,
            "time": None if self.t is None else self.when,
            "age_s": self.age_s,
            "status": list(self.flags),
            "values": {
                name: None if isinstance(value, Undefined) else value
                for name, value in self.values.items()
            },
            "faults": list(self.faults),
        }


def decode(frame: bytes) -> list[Record]:
    """Return the records of a frame: one, or those of a batch, oldest first.

    Raises FrameError and nothing else, whatever the bytes.
    """
    items = _load(frame)
    head = items[0]
    if type(head) is not int:
        raise FrameError("shape")
    kind = head if head >= 0 else -1 - head
    if kind not in RECORDS:
        raise FrameError("type", kind)
    if len(items) < (_HEAD if head >= 0 else _BATCH):
        raise FrameError("shape")
    seq = _integer("seq", items[1], 0, _MAX_U32)
    t = _integer("t", items[2], -1 - _MAX_U32, _MAX_U32)
    status = _integer("status", items[3], 0, _MAX_STATUS)
    if head >= 0:
        end = _HEAD + len(FIELDS[kind])
        _check_later(items[end:])
        return [_record(kind, seq, t, status, items[_HEAD:end])]
    dt, n = unbatch.check(seq, t, items[4], items[5])
    _check_later(items[_BATCH:])
    statuses, columns = unbatch.read(kind, n, status, items[6])
    return [
        _record(kind, seq + i, t + i * dt, statuses[i], [column[i] for column in columns])
        for i in range(n)
    ]


def _record(kind: int, seq: int, t: int, status: int, raws: list[object]) -> Record:
    """Return a record of what was on the air for its first fields."""
    values: dict[str, Value] = {}
    for place, field in enumerate(FIELDS[kind]):
        raw = raws[place] if place < len(raws) else None
        if raw is None or raw is cbor2.undefined or raw is UNDEFINED:
            values[field.name] = None if raw is None else UNDEFINED
        elif type(raw) is int:
            values[field.name] = field.physical(raw)
        else:
            raise FrameError("value", field.name)
    known = t >= 0
    return Record(
        kind=kind,
        name=RECORDS[kind][0],
        seq=seq,
        t=t if known else None,
        age_s=None if known else -1 - t,
        status=status,
        values=values,
    )


def _check_later(items: list[object]) -> None:
    """Refuse what no later schema may have added: a float has several encodings."""
    if any(isinstance(item, float) for item in items):
        raise FrameError("value", "later field")


def _load(frame: bytes) -> list[object]:
    """Return what cbor2 makes of a frame's items."""
    frame = bytes(frame)
    if not frame:
        raise FrameError("cbor", "truncated")
    if not 0x81 <= frame[0] <= 0x98:
        raise FrameError("shape")
    try:
        items = cbor2.loads(frame)
        # One value has one encoding: this also finds trailing bytes, indefinite and long lengths.
        unique = cbor2.dumps(items, canonical=True) == frame
    except cbor2.CBORDecodeEOF:
        raise FrameError("cbor", "truncated") from None
    except _LOAD_ERRORS:
        raise FrameError("cbor", "malformed") from None
    if not unique or len(items) > _MAX_ITEMS or not all(map(_is_plain, items)):
        raise FrameError("cbor", "not deterministic, or bytes after the end")
    return list(items)


def _is_plain(item: object) -> bool:
    """Tell whether an item is one that a frame may hold; cbor2 makes many more."""
    if type(item) is int:
        return -(1 << 64) <= item < 1 << 64
    return item is None or item is cbor2.undefined or type(item) in (bool, bytes, str, float)


def _integer(name: str, value: object, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise FrameError(name, value)
    return value

"""The frames as CDDL (RFC 8610), for whoever writes a decoder of their own."""

from citynode.frames import FIELDS, Field
from citynode.wire.columns import MAX_RECORDS
from citynode.wire.schema import RECORDS, STATUS, VERSION

# What a decoder takes at most in one frame, later fields included.
_MAX_ITEMS = 64
_HEAD_ITEMS = 4
_BATCH_ITEMS = 7

_INTRODUCTION = """\
; Frames of citynode nodes, RFC 8610. Encoding: RFC 8949 section 4.2.1 (core deterministic).
; Made from firmware/node/wire/schema.py by `python -m citynode.codecs`: do not edit.
;
; On the air a field is an integer; its value in the unit is (integer + zero) * step.
; Fields at the end that were not sampled are left out. Fields that a later schema has added
; follow the known ones and are ignored.
"""

_COMMON = """\
; Records of one type: number i (from 0) has seq + i and t + i * dt.
batch = [
  k: {kinds}, head, ; -1 - k of the records
  dt: 0..4294967295, ; seconds from record to record
  n: 1..{records},
  columns: bstr, ; bits: docs/frames.md, "Columns"
  0*{later} later
]

head = (
  seq: 0..4294967295, ; number of the record in the node's epoch
  t: -4294967296..4294967295, ; Unix seconds; below 0: the record's age in seconds is -1 - t
  status: 0..65535, ; bits, lowest first: {status}
)

; null: not sampled; undefined: the sensor failed
none = null / undefined

later = int / bool / null / undefined / bstr / tstr
"""


def render() -> str:
    """Return the CDDL of every record type; its first rule is `frame`."""
    names = [name for name, _ in RECORDS.values()]
    parts = [
        _INTRODUCTION,
        f"frame = {' / '.join([*names, 'batch'])}\n",
        *(_record(kind, name) for kind, (name, _) in RECORDS.items()),
        _COMMON.format(
            status=", ".join(STATUS),
            kinds=" / ".join(str(-1 - kind) for kind in RECORDS),
            records=MAX_RECORDS,
            later=_MAX_ITEMS - _BATCH_ITEMS,
        ),
    ]
    return "\n".join(parts)


def _record(kind: int, name: str) -> str:
    """Nest the fields: each is there only behind the one before it."""
    fields = FIELDS[kind]
    lines = [f"{name} = [", f"  k: {kind}, head,"]
    for field in fields:
        low, high = field.low - field.zero, field.high - field.zero
        lines.append(f"  ? ({field.name}: {low}..{high} / none, ; {_meaning(field)}")
    later = _MAX_ITEMS - _HEAD_ITEMS - len(fields)
    lines.append(f"  0*{later} later {')' * len(fields)}")
    return "\n".join([*lines, "]\n"])


def _meaning(field: Field) -> str:
    if field.form is VERSION:
        return "10000 * major + 100 * minor + patch"
    if field.form:
        return ", ".join(f"{code} {name}" for code, name in enumerate(field.form))
    step = field.den if field.num == 1 else f"{field.resolution:g}"
    text = f"step {step} {field.unit}".rstrip()
    return f"{text}, zero {field.zero}" if field.zero else text

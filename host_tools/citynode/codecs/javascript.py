"""The uplink codec in JavaScript: the decoder of `uplink.js` with the schema's tables put in."""

import json
import re
from importlib.resources import files

from citynode.frames import FIELDS, Field
from citynode.wire.schema import RECORDS, STATUS, VERSION

# Network servers keep codecs in their databases and run them at every uplink.
MAX_BYTES = 8192

_STRING = re.compile(r'("[^"\n]*")')
_SPACED = re.compile(r" *([-+*/%=<>!&|?:,;(){}\[\]]+) *")
_CONTINUED = re.compile(r"(?<=[;{,([])\n")

# Names of the source that are nobody else's, by far the longest part of it: one letter does.
_OWN = (
    "readBytes",
    "readItems",
    "readFrame",
    "readColumns",
    "readRecord",
    "readValue",
    "integer",
    "unfold",
    "statuses",
    "complete",
    "quotient",
    "columns",
    "present",
)
_SHORT = {name: chr(ord("A") + number) for number, name in enumerate(_OWN)}
_NAME = re.compile(r"\b(" + "|".join(_OWN) + r")\b")

_META = frozenset(("record", "records", "seq", "t", "time", "age_s", "status", "faults"))


def render() -> str:
    """Return the codec's source; raises ValueError when the schema does not fit it."""
    source = (files(__package__) / "uplink.js").read_text(encoding="utf-8")
    for empty, table in (
        ("var RECORDS = {};", _records()),
        ("var STATUS = [];", f"var STATUS = {_literal(STATUS)};"),
    ):
        if source.count(empty) != 1:
            raise ValueError(f"uplink.js has no place for {empty}")
        source = source.replace(empty, table)
    source = _compact(source)
    if (size := len(source.encode())) > MAX_BYTES:
        raise ValueError(f"the codec has {size} bytes")
    return source


def _compact(source: str) -> str:
    """Leave out spaces, most line ends, all comments but the first, and long names of its own.

    Strings stay as they are.

    A line goes on where a statement that ends it says so: nothing rests on line ends.
    """
    head, _, body = source.partition("\n\n")
    lines = [line.strip() for line in body.splitlines()]
    code = "\n".join(line for line in lines if line and not line.startswith("//"))
    parts = _STRING.split(code)
    parts[::2] = [
        _NAME.sub(lambda found: _SHORT[found[0]], _SPACED.sub(r"\1", part)) for part in parts[::2]
    ]
    return f"{head}\n{_CONTINUED.sub('', ''.join(parts))}\n"


def _records() -> str:
    records = []
    for kind, (name, _) in RECORDS.items():
        rows = [_literal(name), *map(_row, FIELDS[kind])]
        records.append(f"{kind}: [" + ",\n ".join(rows) + "]")
    return "var RECORDS = {\n" + ",\n".join(records) + "\n};"


def _row(field: Field) -> str:
    if field.name in _META:
        raise ValueError(f"a field cannot be named {field.name}")
    if field.num > 1 and field.den > 1:
        raise ValueError(f"{field.name} is scaled both ways")
    scale = field.num if field.den == 1 else -field.den
    form = "version" if field.form is VERSION else field.form
    row = [field.name, field.high, scale, field.zero, field.low, form]
    # What the codec takes for granted.
    while (len(row), row[-1]) in ((6, ()), (5, 0), (4, 0), (3, 1)):
        row.pop()
    return _literal(row)


def _literal(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))

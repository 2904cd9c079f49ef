"""The uplink codec in JavaScript: the decoder of `uplink.js` with the schema's tables put in."""

import json
from importlib.resources import files

from citynode.frames import FIELDS, Field
from citynode.wire.schema import RECORDS, STATUS, VERSION

# Network servers keep codecs in their databases and run them at every uplink.
MAX_BYTES = 8192

_META = frozenset(("record", "seq", "t", "time", "age_s", "status", "faults"))


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
    if (size := len(source.encode())) > MAX_BYTES:
        raise ValueError(f"the codec has {size} bytes")
    return source


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
    row = [field.name, field.low, field.high, scale, field.zero, form]
    while (len(row), row[-1]) in ((6, ()), (5, 0), (4, 1)):  # what `readValue` takes for granted
        row.pop()
    return _literal(row)


def _literal(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))

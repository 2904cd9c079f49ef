"""The reference page of all record types, `docs/records.md`."""

from citynode.frames import FIELDS, Field
from citynode.wire.schema import EVENT, HEALTH, RECORDS, STATUS, VERSION

_INTRODUCTION = """\
# Records

Every record type and every field that a node sends. Made from `firmware/node/wire/schema.py` by
`python -m citynode.codecs`: do not edit. [Frames](frames.md) tells how records are put into bytes.

A value is `(raw + zero) * step`, where `raw` is the integer in an open frame. Null is not sampled,
undefined is a sensor that failed; null in JSON is either, and `faults` names the failed ones.
Fields are never moved, reused or rescaled.
"""

_NOTES = {
    HEALTH: "Counters are since the start of the program.",
    EVENT: (
        "`detail` is, with `restart`, the number of the reset cause; with `fault_on` and\n"
        "`fault_off`, the place of the sensor in the configuration; with `clock_set`, the seconds\n"
        "by which the clock was moved; else 0."
    ),
}


def render() -> str:
    """Return the page."""
    parts = [_INTRODUCTION, _status()]
    for kind, (name, _) in RECORDS.items():
        note = f"\n{_NOTES[kind]}\n" if kind in _NOTES else ""
        parts.append(f"## {kind} {name}\n\n{_table(FIELDS[kind])}{_codes(FIELDS[kind])}{note}")
    return "\n".join(parts)


def _status() -> str:
    rows = "".join(f"| {bit} | {1 << bit} | `{name}` |\n" for bit, name in enumerate(STATUS))
    return f"## Status bits\n\n| bit | worth | name |\n|---|---|---|\n{rows}"


def _table(fields: tuple[Field, ...]) -> str:
    rows = ["| | field | unit | step | from | to | zero |", "|---|---|---|---|---|---|---|"]
    for place, field in enumerate(fields, 1):
        if field.form:
            form = "major.minor.patch" if field.form is VERSION else "code"
            cells = [form, "", "", "", ""]
        else:
            ends = [_number(field, steps) for steps in (field.low, field.high)]
            zero = str(field.zero) if field.zero else ""
            cells = [field.unit, _number(field, 1), *ends, zero]
        rows.append(f"| {place} | `{field.name}` | {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def _number(field: Field, steps: int) -> str:
    return f"{steps * field.den / field.num:.15g}"


def _codes(fields: tuple[Field, ...]) -> str:
    return "".join(
        f"\n`{field.name}`: "
        + ", ".join(f"{code} `{name}`" for code, name in enumerate(field.form))
        + "\n"
        for field in fields
        if field.form and field.form is not VERSION
    )

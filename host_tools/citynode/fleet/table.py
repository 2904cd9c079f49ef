"""The inventory as CSV: what a spreadsheet has made comes in, with every fault named, and out."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from citynode.errors import CitynodeError
from citynode.fleet.node import GIVEN, NUMBERS, Entry, Node, Stage
from citynode.identity import Identity, parse

if TYPE_CHECKING:
    from _csv import Reader

MAX_SIZE = 256 << 20

# What others call our columns; case, spaces and underscores do not matter.
_ALIASES = {
    "id": "node_id", "name": "node_id", "deviceid": "node_id", "devicename": "node_id",
    "nodeid": "node_id", "macaddress": "mac", "deveui": "dev_eui", "joineui": "join_eui",
    "appeui": "join_eui", "appkey": "app_key", "latitude": "lat", "longitude": "lon", "lng": "lon",
    "long": "lon", "note": "notes", "comment": "notes", "description": "notes",
}  # fmt: skip
SECRET = tuple(
    each.name for each in fields(Identity) if each.name not in ("node_id", "dev_eui", "join_eui")
)
_STAGES = {each: each.replace("-", "_") for each in Stage}
# What we write and make ourselves: it is not taken from a file.
OURS = ("status", *_STAGES.values(), "created", "changed")
_LIKE_A_SECRET = re.compile(r"key|secret|passw|psk|token|\bpin\b|claim", re.IGNORECASE)
_LONGEST = {"node_id": 32, "notes": 2000}
_LONGEST_ELSE = 200


@dataclass(frozen=True)
class Fault:
    """What is wrong in a file, and where; it never repeats a value."""

    line: int
    column: str
    cause: str

    def __str__(self) -> str:
        return f"line {self.line}, {self.column}: {self.cause}"


@dataclass
class Sheet:
    """What a CSV said: entries with the lines they begin in, and what is wrong with the others."""

    rows: list[tuple[int, Entry]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    not_taken: list[str] = field(default_factory=list)


class _CellError(ValueError):
    """A value that will not do; the text says what it has to be."""


def read(data: bytes, where: str, without: Sequence[str] = ()) -> Sheet:
    """Read a CSV with a header; comma, semicolon or tab between its columns.

    Raises CitynodeError for a file or a header that cannot be read; rows are told of in the sheet.
    """
    text = _decoded(data, where)
    head = text[: text.find("\n")] if "\n" in text else text
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records = _records(reader)
    try:
        _, header = next(records)
    except StopIteration:
        raise CitynodeError(f"{where} is empty", "give a CSV with a header line") from None
    except csv.Error as error:
        raise CitynodeError(f"{where}, line 1: {error}", "correct the header") from None
    columns = _columns(header, where, without)
    sheet = Sheet(not_taken=[name for name in columns if name in OURS or name in without])
    taken = [None if name in sheet.not_taken else name for name in columns]
    line = 1
    while True:
        try:
            line, cells = next(records)
        except StopIteration:
            return sheet
        except csv.Error as error:
            # What follows an open quote cannot be told apart any more.
            sheet.faults.append(Fault(reader.line_num, "the whole line", str(error)))
            return sheet
        if any(cell.strip() for cell in cells):
            _read_row(sheet, line, taken, cells)


def _records(reader: "Reader") -> Iterator[tuple[int, list[str]]]:
    """Yield the lines that records begin in, and their cells."""
    while True:
        line = reader.line_num + 1
        try:
            yield line, next(reader)
        except StopIteration:
            return


def _decoded(data: bytes, where: str) -> str:
    if len(data) > MAX_SIZE:
        raise CitynodeError(f"{where} is larger than {MAX_SIZE >> 20} MiB", "give it in parts")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CitynodeError(
            f"{where}, line {line}: not UTF-8", "save it as CSV UTF-8 (spreadsheets have it)"
        ) from None


def _columns(header: Sequence[str], where: str, without: Sequence[str]) -> list[str]:
    """Return our names of the columns; those we do not know keep theirs."""
    columns: list[str] = []
    for number, name in enumerate(_trimmed(header), 1):
        own = _own_name(name)
        if not own:
            raise CitynodeError(f"{where}, line 1: column {number} has no name", "give it one")
        if own in columns:
            raise CitynodeError(f"{where}, line 1: two columns are {own}", "take one of them out")
        known = own in GIVEN or own in SECRET or own in OURS or own in without
        if not known and _LIKE_A_SECRET.search(own):
            raise CitynodeError(
                f"{where}, line 1: the column {_shown(own)} looks like a secret, and would be kept "
                "for all to see",
                f"leave it out with --without, or name it one of {', '.join(SECRET)}",
            )
        columns.append(own)
    if not {"node_id", "mac", "dev_eui"} & set(columns):
        raise CitynodeError(
            f"{where} has no column node_id, mac or dev_eui", "its first line has to name columns"
        )
    return columns


def _trimmed(cells: Sequence[str]) -> list[str]:
    """Return cells without the empty ones at the end that spreadsheets add."""
    cells = list(cells)
    while cells and not cells[-1].strip():
        cells.pop()
    return cells


def _own_name(name: str) -> str:
    name = name.strip()
    plain = name.lower().replace(" ", "_").replace("-", "_")
    if plain in GIVEN or plain in SECRET or plain in OURS:
        return plain
    return _ALIASES.get(plain.replace("_", ""), name)


def _shown(name: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in name[:40])


def _read_row(sheet: Sheet, line: int, columns: Sequence[str | None], cells: Sequence[str]) -> None:
    if len(cells) > len(columns) >= len(_trimmed(cells)):
        cells = cells[: len(columns)]
    if len(cells) != len(columns):
        cause = f"{len(cells)} columns, the header has {len(columns)}"
        sheet.faults.append(Fault(line, "the whole line", cause))
        return
    values: dict[str, str | float] = {}
    before = len(sheet.faults)
    for column, cell in zip(columns, cells, strict=True):
        if column is None or not cell.strip():
            continue
        try:
            values[column] = _READERS.get(column, _text)(column, cell.strip())
        except _CellError as error:
            sheet.faults.append(Fault(line, _shown(column), str(error)))
    if ("lat" in values) != ("lon" in values) and len(sheet.faults) == before:
        sheet.faults.append(Fault(line, "lat" if "lon" in values else "lon", "is missing"))
    if not {"node_id", "mac", "dev_eui"} & values.keys() and len(sheet.faults) == before:
        sheet.faults.append(Fault(line, "node_id", "is missing"))
    if len(sheet.faults) == before:
        sheet.rows.append((line, _entry(values)))


def _entry(values: Mapping[str, str | float]) -> Entry:
    return Entry(
        **{"node_id": "", **{key: values[key] for key in GIVEN if key in values}},  # type: ignore[arg-type]
        extra={
            key: str(value)
            for key, value in values.items()
            if key not in GIVEN and key not in SECRET
        },
        secrets={key: str(values[key]) for key in SECRET if key in values},
    )


def _as_identity(column: str, cell: str) -> str:
    """Read what an identity file may have as well, by its rules."""
    try:
        value = parse({column: cell}, "")[column]
    except CitynodeError as error:
        raise _CellError(f"is {error.what.partition(' is ')[2]}") from None
    return value.hex() if isinstance(value, bytes) else value


def _mac(_: str, cell: str) -> str:
    digits = re.sub(r"[:.-]", "", cell).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        raise _CellError("is not 12 hex digits")
    if int(digits[1], 16) & 1:
        raise _CellError("is a multicast address")  # IEEE 802: the lowest bit of the first octet
    return digits


def _degrees(column: str, cell: str) -> float:
    limit = 90 if column == "lat" else 180
    try:
        value = float(cell.replace(",", ".") if cell.count(",") == 1 and "." not in cell else cell)
        if not -limit <= value <= limit:
            raise ValueError
    except ValueError:
        raise _CellError(f"is not degrees between -{limit} and {limit} (WGS84)") from None
    return value


def _text(column: str, cell: str) -> str:
    longest = _LONGEST.get(column, _LONGEST_ELSE)
    if len(cell) > longest:
        raise _CellError(f"is longer than {longest} characters")
    if not all(each.isprintable() or each in "\n\t" for each in cell):
        raise _CellError("has control characters")
    return cell


_READERS: Mapping[str, Callable[[str, str], str | float]] = {
    "mac": _mac,
    **dict.fromkeys(("node_id", "dev_eui", "join_eui", *SECRET), _as_identity),
    **dict.fromkeys(NUMBERS, _degrees),
}


def write(
    nodes: Iterable[Node],
    more_columns: Sequence[str],
    identities: Mapping[str, Identity] | None = None,
    delimiter: str = ",",
) -> bytes:
    """Return the CSV of nodes with all columns that came in; with secrets only if given."""
    file = io.StringIO()
    rows = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    more = [column for column in more_columns if column not in OURS]
    secret = SECRET if identities is not None else ()
    rows.writerow([*GIVEN, *secret, *OURS, *more])
    for node in nodes:
        kept = identities[node.node_id].to_json() if identities is not None else {}
        steps = [node.stages.get(each) for each in Stage]
        rows.writerow(
            [
                *(_cell(getattr(node.entry, key)) for key in GIVEN),
                *(kept.get(key, "") for key in secret),
                node.status,
                *(f"{each.outcome} {each.at}" if each is not None else "" for each in steps),
                node.created,
                node.changed,
                *(node.entry.extra.get(key, "") for key in more),
            ]
        )
    return file.getvalue().encode()


def _cell(value: object) -> object:
    return "" if value is None else value

"""`citynode decode`: frames as hex, base64, log lines or bytes become a table or JSON lines."""

import base64
import binascii
import json
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from citynode.errors import CitynodeError
from citynode.frames import Record, decode
from citynode.wire.frame import FrameError

_LOGGED = re.compile(r"\bframe: *(\S.*?)\s*$")
_MAX_INPUT = 64 << 20


class Format(StrEnum):
    """How the frames are written."""

    AUTO = "auto"
    HEX = "hex"
    BASE64 = "base64"
    LOG = "log"
    BINARY = "binary"


class _BadInputError(ValueError):
    """Text that is not what its format says."""


def register(app: typer.Typer) -> None:
    """Add `decode` to the application."""

    @app.command("decode")
    def decode_command(
        inputs: Annotated[
            list[str] | None,
            typer.Argument(
                metavar="[INPUT]...",
                show_default=False,
                help="Frames as hex or base64, files of them, or - for stdin (as without any).",
            ),
        ] = None,
        form: Annotated[
            Format, typer.Option("--format", "-f", help="How the frames are written.")
        ] = Format.AUTO,
        as_json: Annotated[
            bool, typer.Option("--json", help="Print one JSON object per record.")
        ] = False,
    ) -> None:
        """Decode frames to a table: hex, base64, a node's log, binary files, or stdin."""
        if not inputs and sys.stdin.isatty():
            raise CitynodeError("nothing to decode", "give a frame, a file, or - for stdin")
        records: list[Record] = []
        failed = False
        for where, frame in _frames(inputs or ["-"], form):
            try:
                if isinstance(frame, _BadInputError):
                    raise frame
                found = decode(frame)
            except (FrameError, _BadInputError) as error:
                failed = True
                print(f"citynode: {where}: {error}", file=sys.stderr)
                continue
            if as_json:
                for record in found:
                    print(json.dumps(record.to_json(), ensure_ascii=False))
            records += found
        if records and not as_json:
            console = Console()
            console.print(_table(records, console.width))
        if failed:
            raise typer.Exit(1)
        if not records:
            raise CitynodeError("no frame in the input", "see 'citynode decode --help'")


def _table(records: list[Record], width: int) -> Table:
    """Lay the records out for a terminal; a reading is never torn from its unit."""
    table = Table("record", box=box.SIMPLE_HEAD)
    table.add_column("seq", justify="right")
    table.add_column("time and status")
    table.add_column("values")
    for record in records:
        readings = ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in record.readings)
        table.add_row(
            record.name,
            str(record.seq),
            "\n".join((record.when, *record.flags)),
            fill(readings, max(width - 50, 30)).replace("\N{NO-BREAK SPACE}", " "),
        )
    return table


def _frames(inputs: list[str], form: Format) -> Iterator[tuple[str, bytes | _BadInputError]]:
    """Yield every frame with where it is from; in place of one that is none, why."""
    for number, given in enumerate(inputs, 1):
        if given == "-":
            yield from _from_bytes("stdin", sys.stdin.buffer.read(_MAX_INPUT + 1), form)
        elif _is_file(given):
            yield from _from_bytes(given, _read(Path(given)), form)
        elif form is Format.BINARY:
            raise CitynodeError(f"no such file: {given}")
        else:
            where = f"input {number}"
            yield from _from_lines(where, [(where, given)], form)


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):  # a long frame is no file name
        return False


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_INPUT + 1)
    except OSError as error:
        raise CitynodeError(f"cannot read {path}: {error.strerror}") from None


def _from_bytes(
    where: str, data: bytes, form: Format
) -> Iterator[tuple[str, bytes | _BadInputError]]:
    """Yield the frames of a file: the file itself when it is binary, else those on its lines."""
    if len(data) > _MAX_INPUT:
        raise CitynodeError(f"{where} is larger than {_MAX_INPUT >> 20} MiB", "split it")
    # A frame starts with the head of a CBOR array, a byte that no UTF-8 text starts with.
    # A log may start anywhere in a boot message, and hold whatever noise was on the line.
    binary = 0x80 <= data[0] <= 0xBF if data else False
    if form is Format.BINARY or (form is Format.AUTO and binary and b"frame: " not in data):
        yield where, data
        return
    lines = enumerate(data.decode("utf-8", "replace").splitlines(), 1)
    yield from _from_lines(where, [(f"{where}:{n}", line) for n, line in lines], form)


def _from_lines(
    where: str, lines: list[tuple[str, str]], form: Format
) -> Iterator[tuple[str, bytes | _BadInputError]]:
    logged = [(place, m[1]) for place, line in lines if (m := _LOGGED.search(line))]
    if form is Format.LOG or (form is Format.AUTO and logged):
        lines, form = logged, Format.HEX
    for place, line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            yield place, _parse(text, form)
        except _BadInputError as error:
            yield place, error


def _parse(text: str, form: Format) -> bytes:
    """Turn one line into bytes. Hex goes first: no frame's base64 starts with a hex digit."""
    if form is not Format.BASE64:
        digits = re.sub(r"0[xX]|[\s:,-]", "", text)
        try:
            return bytes.fromhex(digits)
        except ValueError:
            if form is Format.HEX:
                raise _BadInputError(f"not hex: {_short(text)}") from None
    letters = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        kinds = "base64" if form is Format.BASE64 else "hex, base64 or a file"
        raise _BadInputError(f"not {kinds}: {_short(text)}") from None


def _short(text: str) -> str:
    text = ascii(text)[1:-1]
    return text if len(text) <= 40 else text[:37] + "..."

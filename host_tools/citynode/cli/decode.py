"""`citynode decode`: frames, LoRaWAN messages and uplink events become tables or JSON lines."""

import json
import sys
from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from citynode.cli import decode_phy
from citynode.cli.decode_input import BadInputError, Format, read
from citynode.errors import CitynodeError
from citynode.fleet.events import Uplink
from citynode.frames import Record, decode
from citynode.identity import Store
from citynode.phy import keys
from citynode.phy.message import PhyError, is_likely
from citynode.phy.reader import Reader, Reading
from citynode.wire.frame import FrameError

# Columns of the table: of a node's name at most, of the readings at least, of all else.
_NAME_WIDTH = 24
_VALUES_WIDTH = 30
_OTHERS_WIDTH = 50


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
            bool, typer.Option("--json", help="Print one JSON object per record or message.")
        ] = False,
        phy: Annotated[
            bool, typer.Option("--phy", help="All bytes are LoRaWAN messages (PHYPayload).")
        ] = False,
        key_file: Annotated[
            Path | None,
            typer.Option(
                "--keys",
                metavar="FILE",
                show_default=False,
                help="Keys of LoRaWAN nodes, TOML or JSON, mode 600 (provisioning/codecs/README.md "
                "has its form); else those of the nodes provisioned here. CITYNODE_APP_KEY, "
                "CITYNODE_NWK_SKEY and CITYNODE_APP_SKEY are tried as well.",
            ),
        ] = None,
    ) -> None:
        """Decode frames: hex, base64, a node's log, binary files, or stdin.

        Takes LoRaWAN messages too, and the JSON events of The Things Stack v3 and ChirpStack v4.
        """
        if not inputs and sys.stdin.isatty():
            raise CitynodeError("nothing to decode", "give a frame, a file, or - for stdin")
        output = _Output(as_json)
        reader = _reader(key_file) if phy or key_file is not None else None
        for where, found in read(inputs or ["-"], form):
            try:
                if isinstance(found, BadInputError):
                    raise found
                if isinstance(found, Uplink):
                    output.records(decode(found.payload), found)
                elif phy or is_likely(found):
                    reader = reader or _reader(None)
                    output.message(where, reader.read(found))
                else:
                    output.records(decode(found), None)
            except PhyError as error:
                output.error(where, f"no LoRaWAN message: {error}")
            except (FrameError, BadInputError) as error:
                output.error(where, str(error))
        output.end()


def _reader(key_file: Path | None) -> Reader:
    """Return what reads LoRaWAN messages, with the keys of the file, or else of our nodes."""
    if key_file is not None:
        ring = keys.from_file(key_file)
    else:
        ring = keys.from_identities(Store().all().values())
    others = keys.from_environment()
    return Reader(keys.KeyRing(ring.devices + others.devices, others.sessions + ring.sessions))


class _Output:
    """Prints as it comes what is JSON or a message, and at the end one table of all records."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._rows: list[tuple[Record, Uplink | None]] = []
        self._found = False
        self._failed = False

    def records(self, records: list[Record], uplink: Uplink | None) -> None:
        """Show records, and of which uplink they are."""
        self._found = True
        for record in records:
            if self._as_json:
                source = {} if uplink is None else {"uplink": uplink.to_json()}
                print(json.dumps({**record.to_json(), **source}, ensure_ascii=False))
            else:
                self._rows.append((record, uplink))

    def message(self, where: str, reading: Reading) -> None:
        """Show a LoRaWAN message."""
        self._found = True
        if self._as_json:
            print(json.dumps(reading.to_json(), ensure_ascii=False))
        else:
            print(*decode_phy.lines(reading), sep="\n")
        if reading.problem is not None:
            self.error(where, reading.problem)

    def error(self, where: str, text: str) -> None:
        """Tell on stderr what is wrong with an input."""
        self._failed = True
        print(f"citynode: {where}: {text}", file=sys.stderr)

    def end(self) -> None:
        """Print the table; exits with 1 if there was an error."""
        if self._rows:
            console = Console()
            table, width = _table(self._rows, console.width)
            console.width = max(console.width, width)  # what is wider would be cut
            console.print(table)
        if self._failed:
            raise typer.Exit(1)
        if not self._found:
            raise CitynodeError("no frame in the input", "see 'citynode decode --help'")


def _table(rows: list[tuple[Record, Uplink | None]], width: int) -> tuple[Table, int]:
    """Lay the records out for a terminal; a reading is never torn from its unit.

    Returns the table and the columns that it takes at least.
    """
    names = [_name(uplink) for _, uplink in rows]
    widest = min(max(map(len, names)), _NAME_WIDTH)
    others = _OTHERS_WIDTH + (widest + 3 if widest else 0)
    table = Table(box=box.SIMPLE_HEAD)
    if widest:
        table.add_column("node", max_width=widest, overflow="fold")
    table.add_column("record")
    table.add_column("seq", justify="right")
    table.add_column("time and status")
    table.add_column("values")
    for name, (record, _) in zip(names, rows, strict=True):
        readings = ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in record.readings)
        table.add_row(
            *([escape(name)] if widest else []),
            record.name,
            str(record.seq),
            "\n".join((record.when, *record.flags)),
            fill(readings, max(width - others, _VALUES_WIDTH)).replace("\N{NO-BREAK SPACE}", " "),
        )
    return table, others + _VALUES_WIDTH


def _name(uplink: Uplink | None) -> str:
    """Return whose uplink it is, without what would move the cursor."""
    name = "" if uplink is None else uplink.device or uplink.dev_eui or ""
    return "".join(letter if letter.isprintable() else "?" for letter in name)

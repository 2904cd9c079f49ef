"""`citynode boards`: which boards there are, and which pin does what."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from citynode.boards import Board, board_ids, load_board
from citynode.errors import CitynodeError

AsJson = Annotated[bool, typer.Option("--json", help="Report as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the verb with its sub-commands."""
    boards = typer.Typer(
        help="The boards that are known: list, show, check.", invoke_without_command=True
    )
    boards.callback()(list_boards)
    boards.command("show")(show)
    boards.command("check")(check)
    app.add_typer(boards, name="boards")


def list_boards(context: typer.Context, as_json: AsJson = False) -> None:
    """List the boards."""
    if context.invoked_subcommand is not None:
        return
    boards = [load_board(name) for name in board_ids()]
    if as_json:
        for board in boards:
            print(board.model_dump_json())
        return
    table = Table("id", "name", "chip", "flash", "radio")
    for board in boards:
        radio = board.radio.chip if board.radio else "WiFi only"
        table.add_row(board.id, board.name, board.chip, f"{board.flash_mib} MiB", radio)
    Console().print(table)


def show(
    board: Annotated[str, typer.Argument(help="Board id, or a TOML file.")],
    as_json: AsJson = False,
) -> None:
    """Show a board's pins, notes and sources."""
    spec = load_board(board)
    if as_json:
        print(spec.model_dump_json())
        return
    console = Console()
    psram = f", {spec.psram_mib} MiB PSRAM" if spec.psram_mib else ""
    console.print(f"{spec.name}: {spec.chip}, {spec.flash_mib} MiB flash{psram}", highlight=False)
    console.print(_pin_table(spec))
    for line in (*spec.notes, *spec.traps()):
        console.print(f"· {line}", highlight=False)
    for source in spec.sources:
        console.print(f"source: {source}", highlight=False, soft_wrap=True)


def check(
    boards: Annotated[
        list[str] | None, typer.Argument(help="Board ids or TOML files; else all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check board files: keys, pins that the chip has, no pin used twice; 1 if one is wrong."""
    wrong = False
    for name in boards or board_ids():
        try:
            spec = load_board(name)
        except CitynodeError as error:
            wrong = True
            if as_json:
                print(json.dumps({"board": name, "ok": False, "error": str(error)}))
            print(f"citynode: {error}", file=sys.stderr)
            continue
        if as_json:
            print(json.dumps({"board": spec.id, "ok": True, "traps": spec.traps()}))
        else:
            print(f"{spec.id}: fits an {spec.chip}")
            for trap in spec.traps():
                print(f"  {trap}")
    if wrong:
        raise typer.Exit(1)


def _pin_table(spec: Board) -> Table:
    table = Table("GPIO", "used as")
    for role, gpio, _ in sorted(spec.pins(), key=lambda row: row[1]):
        table.add_row(str(gpio), role.removesuffix(".pin"))
    return table

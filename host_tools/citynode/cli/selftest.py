"""`citynode selftest`: nodes test themselves, all ports at once."""

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from citynode.bench import job, selftest
from citynode.bench.job import Bench
from citynode.bench.outcome import Outcome, Verdict
from citynode.bench.selftest import Choice, Item, Peer
from citynode.bench.selftest_lines import amount
from citynode.boards import load_board
from citynode.cli import bench_parts, parts
from citynode.errors import CitynodeError
from citynode.link import ports

_COLOURS = {
    Verdict.PASS: "green",
    Verdict.SKIP: "dim",
    Verdict.ABORTED: "yellow",
    Verdict.FAIL: "red",
    Verdict.ERROR: "red",
    Verdict.TIMEOUT: "red",
}
_FILE_WIDTH = 200
_BY_CHOICE = ("led", "button")


class _Person:
    """Whoever sits at the terminal."""

    def tell(self, port: str, text: str) -> None:
        """Say what to do at a board."""
        typer.echo(f"{port}: {text}", err=True)

    def agrees(self, port: str, question: str) -> bool:
        """Ask about a board; silence is no."""
        typer.echo(f"{port}: {question} [y/N] ", err=True, nl=False)
        return sys.stdin.readline().strip().lower() in ("y", "yes")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("selftest")(selftest_command)


def selftest_command(
    port: parts.Ports = None,
    board: Annotated[
        str | None,
        typer.Option(
            envvar="CITYNODE_BOARD",
            show_default=False,
            help="Board id or TOML file; else what the node's configuration says.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="ITEM", show_default=False, help="This item alone; repeatable."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option(metavar="ITEM", show_default=False, help="Leave an item out; repeatable."),
    ] = None,
    operator: Annotated[
        bool,
        typer.Option(
            "--operator", help="Somebody is there: LED and button, too; one board after the other."
        ),
    ] = False,
    peer: Annotated[
        str | None,
        typer.Option(
            metavar="PORT",
            show_default=False,
            help="LoRaWAN node that the boards are to hear, and be heard by.",
        ),
    ] = None,
    peer_rssi: Annotated[
        float | None,
        typer.Option(metavar="DBM", show_default=False, help="The least that either may receive."),
    ] = None,
    jobs: parts.Jobs = None,
    as_json: parts.AsJson = False,
) -> None:
    """Have nodes test themselves: flash, memory, clock, battery, sensors, radio, WiFi.

    Nothing on the boards is changed; they run their nodes again afterwards.
    """
    spec = load_board(board) if board is not None else None
    choice = Choice(
        tuple(only or ()), tuple(skip or ()), _BY_CHOICE if operator and not only else ()
    )
    person = _Person()
    selected = parts.choose_ports(port)
    other = Peer(ports.select([peer])[0], peer_rssi) if peer is not None else None
    if other is not None and ports.key(other.port) in map(ports.key, selected):
        raise CitynodeError(f"{other.port} cannot be its own peer", "give the port of another node")
    results: dict[str, list[Item]] = {}

    def work(bench: Bench, outcome: Outcome) -> None:
        items = selftest.run(
            bench,
            outcome,
            board=spec,
            choice=choice,
            operator=person if operator else None,
            peer=other,
        )
        results[bench.port] = items
        selftest.refuse(bench.port, items)

    try:
        with parts.Display(selected, quiet=as_json or operator) as display:
            outcomes: list[Outcome] = job.run(
                selected, work, jobs=1 if operator else jobs, watch=display
            )
    except job.InterruptedJobError as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would change the exit code
        _show(stop.outcomes, results, as_json)
        raise
    _show(outcomes, results, as_json)
    bench_parts.complain(outcomes)


def _show(
    outcomes: Sequence[Outcome], results: Mapping[str, Sequence[Item]], as_json: bool
) -> None:
    """Print a table for each board, or a line of JSON."""
    if as_json:
        for each in outcomes:
            items = [item.to_json() for item in results.get(each.port, ())]
            print(json.dumps(each.to_json() | {"items": items}), flush=True)
        return
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    for each in outcomes:
        if each.port in results:
            console.print(_table(each, results[each.port]))
    passed = sum(each.verdict is Verdict.PASS for each in outcomes)
    console.print(f"{passed} of {len(outcomes)} passed", highlight=False)


def _table(outcome: Outcome, items: Sequence[Item]) -> Table:
    node = " ".join(filter(None, (outcome.port, outcome.node_id, outcome.mac)))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=escape(node), title_justify="left")
    for name in ("item", "verdict", "value", "unit", "limits", "detail"):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    for item in items:
        table.add_row(
            escape(item.name),
            f"[{_COLOURS[item.verdict]}]{item.verdict.value}[/]",
            "" if item.value is None else amount(item.value),
            escape(item.unit),
            item.limits(),
            escape(item.detail),
        )
    return table

"""`citynode soak`: watch running nodes for a while and tell whether anything was lost."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from citynode import identity
from citynode.cli import parts
from citynode.errors import CitynodeError
from citynode.link import ports
from citynode.soak import times
from citynode.soak.account import Account
from citynode.soak.listener import Address
from citynode.soak.verdict import Plan
from citynode.soak.watch import Watcher

_SILENCE_S = 900.0


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("soak")(soak_command)


def soak_command(
    plan: Annotated[
        str | None,
        typer.Argument(
            metavar="PLAN",
            show_default=False,
            help="Plan: smoke, night, city, or a TOML file.",
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--ports",
            "--port",
            metavar="PORT",
            show_default=False,
            help="Port, glob, URL, or several with commas; repeatable.",
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(show_default="10m, or the plan's", help="How long: 90s, 10m, 24h, 7d."),
    ] = None,
    broker: parts.BrokerAddress = None,
    identity_file: parts.BrokerLogin = None,
    ca: parts.BrokerCa = None,
    silence: Annotated[
        str | None,
        typer.Option(
            show_default="15m, or two thirds of --duration",
            help="Longest time that a node may say nothing.",
        ),
    ] = None,
    heap_loss: Annotated[
        float | None,
        typer.Option(
            min=0, show_default="1024", help="Bytes of heap that a node may lose in an hour."
        ),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Events as JSON lines, appended; a plan's: anew."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per node.")] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=0xFFFFFFFF, show_default="the plan's", help="Decides all chance of a plan."
        ),
    ] = None,
    cell: Annotated[
        int | None,
        typer.Option(min=1, show_default="all", help="Run this cell of a plan alone."),
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=256, help="Cells of a plan that run at a time, here.")
    ] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", show_default=False, help="Dask scheduler to run a plan's cells on."
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(show_default=False, help="A plan's verdict as JUnit XML.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(show_default=False, help="A plan's report as one HTML file.")
    ] = None,
) -> None:
    """Count what running nodes accept and deliver, restarts and heap; give a verdict.

    A plan says which nodes, virtual or real, what is done to them, and what they have to meet.
    Without one, ports and broker are watched (without a broker the ports only), and nothing is
    reset or interrupted. Ends with 0 if all nodes passed, 1 if one failed, 2 if it was
    interrupted: the verdict is then on what was seen.
    """
    if plan is not None:
        if any(each is not None for each in (port, silence, heap_loss)):
            raise CitynodeError(
                "ports and limits of a plan are in its file",
                "leave out --ports, --silence and --heap-loss",
            )
        from citynode.cli.soak_plan import Way, run_plan  # virtual boards cost their imports

        at = None if broker is None else broker_address(broker, identity_file, ca)
        run_plan(
            plan,
            Way(
                seed=seed,
                cell=cell,
                duration_s=None if duration is None else seconds(duration, "--duration"),
                processes=processes,
                dask=dask,
                log=log,
                junit=junit,
                report=report,
                as_json=as_json,
                broker=at,
            ),
        )
        return
    if any(each is not None for each in (seed, cell, dask, junit, report)):
        raise CitynodeError(
            "--seed, --cell, --dask, --junit and --report are for plans", "give a plan"
        )
    selected = ports.select(port or ())
    if not selected and broker is None:
        raise CitynodeError("nothing to watch", "give --ports, or --broker, or both")
    duration_s = seconds(duration or "10m", "--duration")
    watched = Plan(
        duration_s,
        min(_SILENCE_S, duration_s * 2 / 3) if silence is None else seconds(silence, "--silence"),
        heap_loss=1024.0 if heap_loss is None else heap_loss,
    )
    address = None if broker is None else broker_address(broker, identity_file, ca)
    with Watcher(selected, address, log) as watcher:
        try:
            watch(watcher, watched, quiet=as_json)
        except KeyboardInterrupt:
            show(watcher.results(watched), as_json=as_json)
            raise CitynodeError(
                "interrupted", "the verdict is on what was seen until then"
            ) from None
        rows = watcher.results(watched)
    if watcher.broker_losses:
        print(
            f"citynode: the broker was away {watcher.broker_losses} times; what it got before we "
            "were back counts as lost",
            file=sys.stderr,
        )
    finish(rows, as_json=as_json)


def seconds(text: str, option: str) -> float:
    """Return a duration like 90s, 10m, 24h or 7d in seconds; raises CitynodeError."""
    found = times.seconds(text)
    if found is None:
        raise CitynodeError(f"{option} {text!r} is no duration", "write 90s, 10m, 24h or 7d")
    return found


def watch(watcher: Watcher, plan: Plan, *, quiet: bool = False) -> None:
    """Watch with a live table on a terminal."""
    console = Console(stderr=True, quiet=quiet)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        if not console.is_terminal:
            console.print(f"watching for {plan.duration_s:.0f} s", highlight=False)

        def show(left: float, accounts: list[Account]) -> None:
            if console.is_terminal:
                title = f"{left:.0f} s left" if left else "waiting for what is on its way"
                live.update(_table([(each, None) for each in accounts], title))

        watcher.wait(plan, show)


def finish(rows: Sequence[tuple[Account, list[str]]], *, as_json: bool = False) -> None:
    """Print the verdict; exits with 1 if a node failed."""
    show(rows, as_json=as_json)
    if not rows:
        raise CitynodeError("no node was heard", "check ports and broker", exit_code=1)
    if any(wrong for _, wrong in rows):
        raise typer.Exit(1)


def show(rows: Sequence[tuple[Account, list[str]]], *, as_json: bool = False) -> None:
    """Print the verdict, and for each node that failed a line that says why."""
    if as_json:
        for account, wrong in rows:
            print(json.dumps({**account.to_json(), "passed": not wrong, "wrong": wrong}))
    else:
        Console().print(_table(rows, "soak"))
    for account, wrong in rows:
        if wrong:
            name = account.node_id or account.port
            print(f"citynode: {name}: {'; '.join(wrong)}", file=sys.stderr)


def _table(rows: Sequence[tuple[Account, list[str] | None]], title: str) -> Table:
    table = Table("node", title=title, title_justify="left")
    for name in ("expected", "received", "lost", "repeated"):
        table.add_column(name, justify="right")
    table.add_column("restarts")
    judged = all(wrong is not None for _, wrong in rows)
    table.add_column("verdict" if judged else "last record")
    for each, wrong in rows:
        if wrong is None:
            last = "" if each.last is None else ", ".join(each.last.readings)
        else:
            last = "[red]FAIL[/]" if wrong else "[green]PASS[/]"
            if each.heap_slope is not None:
                last += f" heap {each.heap_slope:+.0f} B/h"
        table.add_row(
            escape(each.node_id or each.port or "?"),
            str(each.expected),
            str(each.delivered),
            str(each.lost),
            str(each.repeated),
            " ".join(f"{cause} {n}" for cause, n in each.restarts.items()) or "none",
            last,
        )
    return table


def broker_address(text: str, identity_file: Path | None, ca: Path | None) -> Address:
    """Return what --broker, --identity and --ca mean; raises CitynodeError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, "8883" if ca else "1883"
    if not host or "@" in host or "/" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise CitynodeError(
            "--broker is not HOST or HOST:PORT",
            "user and password go into the file for --identity, or CITYNODE_MQTT_USER and …_PASS",
        )
    given = identity.settings(identity_file)
    user, password = given.get("mqtt_user"), given.get("mqtt_pass")
    return Address(
        host,
        int(port),
        user if isinstance(user, str) else None,
        password if isinstance(password, str) else None,
        ca,
    )

"""What the verbs for real and virtual ports have in common: options, progress, the summary."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from citynode import identity
from citynode.bench.contents import Order
from citynode.bench.outcome import Outcome, Step, Verdict
from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.link import ports
from citynode.profiles import ca_der, load_profile

Ports = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--port",
        metavar="PORT",
        show_default=False,
        help="Port, glob or rfc2217:// URL; repeatable. Else ESPTOOL_PORT, or the only board.",
    ),
]
BoardId = Annotated[
    str,
    typer.Option(
        "--board",
        envvar="CITYNODE_BOARD",
        show_default=False,
        help="Board id (see `citynode boards`), or a TOML file.",
    ),
]
ProfileId = Annotated[
    str,
    typer.Option(
        "--profile", envvar="CITYNODE_PROFILE", help="Profile id (provisioning/), or a TOML file."
    ),
]
IdentityFile = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        show_default=False,
        help="TOML or JSON with secrets (mode 600): wifi_ssid, wifi_psk, mqtt_user, … Else "
        "CITYNODE_WIFI_SSID and so on. What is unique to a board is made and kept.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca", show_default=False, help="CA certificate of the broker (PEM or DER)."),
]
Renew = Annotated[
    bool,
    typer.Option("--renew-identity", help="Give known boards a new identity."),
]
Jobs = Annotated[
    int | None,
    typer.Option("-j", "--jobs", min=1, show_default=False, help="Boards at a time; else all."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON line per board.")]


def choose_ports(given: Sequence[str] | None) -> list[str]:
    """Return the ports to work on; raises CitynodeError if it is not clear which."""
    if given:
        return ports.select(given)
    if preset := os.environ.get("ESPTOOL_PORT"):
        return ports.select([preset])
    likely = [port.device for port in ports.list_all() if port.likely]
    if len(likely) == 1:
        return likely
    if not likely:
        raise CitynodeError(
            "no board found", "plug one in, or name its port with -p (see 'citynode ports')"
        )
    raise CitynodeError(
        f"{len(likely)} boards found", f"choose with -p: {', '.join(likely)}, or a glob for all"
    )


def make_order(
    board: str, profile: str, identity_file: Path | None, ca: Path | None, renew: bool
) -> Order:
    """Check all that was said about the boards; raises CitynodeError before any port is touched."""
    spec, what = load_board(board), load_profile(profile)
    certificate = ca_der(ca) if ca is not None else None
    if what.uplink.tls and certificate is None:
        raise CitynodeError(
            f"the profile {what.id} sends over TLS, and no CA certificate was given",
            "give --ca the certificate that the broker's is signed with",
        )
    return Order(spec, what, identity.settings(identity_file), certificate, renew)


class Display:
    """A live line per port on a terminal; on anything else a line per step, on stderr."""

    def __init__(self, selected: Sequence[str], *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._live = self._console.is_terminal
        self._progress = Progress(
            TextColumn("{task.fields[port]}"),
            TextColumn("{task.description}", style="cyan"),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {
            port: self._progress.add_task(Step.WAIT.value, total=None, start=False, port=port)
            for port in selected
        }

    def step(self, port: str, step: Step) -> None:
        """Show what is done at a port now."""
        task = self._tasks[port]
        if not self._live:
            self._console.print(f"{port}: {step.value}", highlight=False, markup=False)
            return
        self._progress.start_task(task)
        total = 1.0 if step is Step.DONE else None
        self._progress.update(task, description=step.value, completed=total or 0, total=total)

    def progress(self, port: str, done: int, total: int) -> None:
        """Show how far the step is."""
        self._progress.update(self._tasks[port], completed=done, total=total or None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()


def finish(outcomes: Sequence[Outcome], as_json: bool) -> None:
    """Print how each board ended; exits with 1 if one failed."""
    if as_json:
        for outcome in outcomes:
            print(json.dumps(outcome.to_json()), flush=True)
    else:
        Console().print(_summary(outcomes))
    for outcome in outcomes:
        if outcome.error is not None:
            text = "; ".join(filter(None, (outcome.error, outcome.cure)))
            print(f"citynode: {text}", file=sys.stderr)
    if any(outcome.verdict is not Verdict.PASS for outcome in outcomes):
        raise typer.Exit(1)


def _summary(outcomes: Sequence[Outcome]) -> Table:
    table = Table("port", "verdict", "node", "MAC", "version", "changed", "time")
    colours = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.ABORTED: "yellow"}
    for each in outcomes:
        verdict = f"[{colours[each.verdict]}]{each.verdict.value}[/]"
        if each.verdict is not Verdict.PASS:
            verdict += f" {each.step.value}"
        table.add_row(
            each.port,
            verdict,
            each.node_id or "",
            each.mac or "",
            each.version or "",
            ", ".join(each.changed) or "nothing",
            f"{each.seconds:.0f} s",
        )
    return table

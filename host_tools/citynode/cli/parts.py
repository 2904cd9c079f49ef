"""What the verbs for real and virtual ports have in common: options, progress, the summary."""

import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from citynode import identity
from citynode.bench import job
from citynode.bench.contents import Order
from citynode.bench.outcome import Outcome, Step, Verdict
from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.fleet.inventory import Fleet
from citynode.fleet.node import Result, Stage
from citynode.fleet.store import FleetStore
from citynode.link import ports
from citynode.nodefiles import ca_der
from citynode.profiles import WifiUplink, check_fits, load_profile

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
FleetFile = Annotated[
    Path | None,
    typer.Option(
        "--fleet",
        metavar="FILE",
        envvar="CITYNODE_FLEET",
        show_default=False,
        help="Fleet that identities and stages are kept in (see 'citynode fleet'); else a folder.",
    ),
]
Batch = Annotated[
    str | None, typer.Option(show_default=False, help="Batch of the fleet that the boards are of.")
]
DevEuiBlock = Annotated[
    str | None,
    typer.Option(
        "--dev-eui-block",
        envvar="CITYNODE_DEV_EUI_BLOCK",
        metavar="FIRST/COUNT",
        show_default=False,
        help="EUI-64s to take DevEUIs from, each once, as 70B3D57ED0001000/256; else the MACs'.",
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option("--ca", show_default=False, help="CA certificate of the broker (PEM or DER)."),
]
BrokerAddress = Annotated[
    str | None,
    typer.Option(
        "--broker",
        envvar="CITYNODE_BROKER",
        metavar="HOST[:PORT]",
        show_default=False,
        help="MQTT broker that the nodes send to.",
    ),
]
BrokerLogin = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        show_default=False,
        help="File with mqtt_user and mqtt_pass (mode 600); else CITYNODE_MQTT_USER, …_PASS.",
    ),
]
BrokerCa = Annotated[
    Path | None,
    typer.Option(
        "--ca", show_default=False, help="CA certificate of the broker: connect over TLS."
    ),
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

_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.ABORTED: "yellow"}
_WORDS = {Verdict.PASS: "passed", Verdict.FAIL: "failed", Verdict.ABORTED: "aborted"}
_FILE_WIDTH = 200  # columns of a table that goes to a file or to another program
_PORT_WIDTH = 28  # columns of a port beside its bar


def store_of(
    dev_eui_block: str | None, fleet: Path | None = None, batch: str | None = None
) -> identity.Store:
    """Return the identities given out, and where new DevEUIs come from; raises CitynodeError."""
    if fleet is None and batch is not None:
        raise CitynodeError("a batch is one of a fleet", "give --fleet as well")
    store = FleetStore(Fleet(fleet), batch) if fleet is not None else identity.Store()
    if dev_eui_block is not None:
        store.dev_euis = identity.EuiBlock.parse(dev_eui_block)
    return store


# Where a board is while a step is done to it.
_STAGES = {
    Step.WRITE: Stage.FLASH,
    Step.BOOT: Stage.BOOT,
    Step.PROVISION: Stage.IDENTITY,
    Step.READ_BACK: Stage.IDENTITY,
}


def recorded(store: identity.Store, work: job.Work, stages: Sequence[Stage]) -> job.Work:
    """Return work that is recorded in the fleet, stage by stage, if there is one."""
    if not isinstance(store, FleetStore):
        return work

    def run(bench: job.Bench, outcome: Outcome) -> None:
        try:
            work(bench, outcome)
        except Exception:
            if outcome.mac is not None and outcome.step in _STAGES:
                failed = max(_STAGES[outcome.step], stages[0], key=list(Stage).index)
                result = Result.ABORTED if bench.leash.is_cut else Result.FAIL
                passed = stages[: stages.index(failed)]
                store.record(outcome.mac, passed, failed, result, outcome.step.value)
            raise
        if outcome.mac is not None:
            store.record(outcome.mac, stages, firmware=outcome.version)

    return run


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


def refuse_shared(order: Order, selected: Sequence[str]) -> None:
    """Raise CitynodeError if several boards would get what only one may have."""
    unique = [key for key in identity.UNIQUE if key in order.given]
    if unique and len(selected) > 1:
        raise CitynodeError(
            f"the identity file has {' and '.join(unique)}, which only one board may have, "
            f"and there are {len(selected)} ports",
            "take it out (each board gets its own), or give one port",
        )


def make_order(
    board: str, profile: str, identity_file: Path | None, ca: Path | None, renew: bool
) -> Order:
    """Check all that was said about the boards; raises CitynodeError before any port is touched."""
    spec, what = load_board(board), load_profile(profile)
    certificate = ca_der(ca) if ca is not None else None
    check_fits(spec, what)
    if isinstance(what.uplink, WifiUplink) and what.uplink.tls and certificate is None:
        raise CitynodeError(
            f"the profile {what.id} sends over TLS, and no CA certificate was given",
            "give --ca the certificate that the broker's is signed with",
        )
    return Order(spec, what, identity.settings(identity_file), certificate, renew)


class Display:
    """A live line per port on a terminal; on anything else a line per step, on stderr."""

    def __init__(self, selected: Sequence[str], *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)
        self._live = self._console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.fields[port]}", markup=False),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {
            port: self._progress.add_task(
                Step.WAIT.value, total=None, start=False, port=_shortened(port)
            )
            for port in selected
        }

    def step(self, port: str, step: Step) -> None:
        """Show what is done at a port now."""
        if not self._live:
            self._console.print(
                f"{port}: {step.value}", highlight=False, markup=False, soft_wrap=True
            )
            return
        task = self._task(port)
        self._progress.start_task(task.id)
        # Until the step tells how far it is; `update` takes None for "as before".
        task.total = task.finished_time = None
        self._progress.update(task.id, description=f"[cyan]{step.value}[/]", completed=0)

    def progress(self, port: str, done: int, total: int) -> None:
        """Show how far the step is."""
        self._progress.update(self._tasks[port], completed=done, total=total or None)

    def ended(self, outcome: Outcome) -> None:
        """Show how a board ended as soon as it has; the others may take a while."""
        if not self._live:
            return
        task = self._task(outcome.port)
        task.finished_time = None
        text = f"[{_COLOURS[outcome.verdict]}]{outcome.verdict.value}[/]"
        if outcome.verdict is Verdict.PASS:
            task.total = 1.0
        else:
            text += f" {outcome.step.value}"
        self._progress.update(task.id, description=text, completed=task.total)
        self._progress.stop_task(task.id)

    def _task(self, port: str) -> Task:
        return next(task for task in self._progress.tasks if task.id == self._tasks[port])

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


def _shortened(port: str) -> str:
    """Return the end of a long name: the serial number is there."""
    return port if len(port) <= _PORT_WIDTH else "…" + port[1 - _PORT_WIDTH :]


def work_on(
    selected: Sequence[str],
    work: job.Work,
    *,
    jobs: int | None = None,
    as_json: bool = False,
    dry_run: bool = False,
) -> None:
    """Do the work at all ports while its progress is shown; print how each board ended.

    Exits with 1 if one failed; raises InterruptedJobError when all was shown.
    """
    try:
        with Display(selected, quiet=as_json) as display:
            outcomes = job.run(selected, work, jobs=jobs, watch=display)
    except job.InterruptedJobError as stop:
        # What is left to do takes a moment; a second Ctrl-C in it would change the exit code.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        show(stop.outcomes, as_json, dry_run=dry_run)
        raise
    finish(outcomes, as_json, dry_run=dry_run)


def finish(outcomes: Sequence[Outcome], as_json: bool, *, dry_run: bool = False) -> None:
    """Print how each board ended; exits with 1 if one failed."""
    show(outcomes, as_json, dry_run=dry_run)
    for outcome in outcomes:
        if outcome.error is not None:
            error = outcome.error
            if outcome.port not in error:
                error = f"{outcome.port}: {error}"
            print(f"citynode: {'; '.join(filter(None, (error, outcome.cure)))}", file=sys.stderr)
    if any(outcome.verdict is not Verdict.PASS for outcome in outcomes):
        raise typer.Exit(1)


def show(outcomes: Sequence[Outcome], as_json: bool, *, dry_run: bool = False) -> None:
    """Print a table, or a JSON line for each board."""
    if as_json:
        for outcome in outcomes:
            print(json.dumps(outcome.to_json()), flush=True)
        return
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    console.print(_summary(outcomes, dry_run))
    console.print(_count(outcomes), highlight=False)


def _summary(outcomes: Sequence[Outcome], dry_run: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("port", "verdict", "node", "MAC"):
        table.add_column(name, overflow="fold", no_wrap=name == "MAC")
    table.add_column("would change" if dry_run else "changed", overflow="fold")
    table.add_column("time", justify="right", no_wrap=True)
    for each in outcomes:
        verdict = f"[{_COLOURS[each.verdict]}]{each.verdict.value}[/]"
        if each.verdict is not Verdict.PASS:
            verdict += f" {each.step.value}"
        table.add_row(
            escape(each.port),
            verdict,
            each.node_id or "",
            each.mac or "",
            ", ".join(each.changed) or ("nothing" if each.verdict is Verdict.PASS else ""),
            f"{each.seconds:.0f} s",
        )
    return table


def _count(outcomes: Sequence[Outcome]) -> str:
    """Tell in one line how many ended how, and which firmware the nodes report."""
    counts = Counter(outcome.verdict for outcome in outcomes)
    told = ", ".join(
        f"[{_COLOURS[verdict]}]{counts[verdict]} {word}[/]"
        for verdict, word in _WORDS.items()
        if counts[verdict]
    )
    versions = sorted({outcome.version for outcome in outcomes if outcome.version})
    return told + (f"; firmware {', '.join(versions)}" if versions else "")


def read_image(path: Path) -> bytes:
    """Return a MicroPython image; raises CitynodeError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CitynodeError(
            f"cannot read {path}: {os.strerror(error.errno or 0)}",
            "give --image a MicroPython image",
        ) from None

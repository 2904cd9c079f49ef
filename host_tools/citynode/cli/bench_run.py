"""`citynode bench run`: boards go over the bench, all ports at once."""

import contextlib
import re
import signal
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import filelock
import typer

from citynode.bench import job, selftest
from citynode.bench.arrivals import Arrivals, work_on_arrivals
from citynode.bench.benchmap import UNKNOWN, BenchMap
from citynode.bench.boardlog import BoardLogs
from citynode.bench.flash import Kit, Method, prepare
from citynode.bench.job import Bench
from citynode.bench.line import BoardOutcome, Line, PrintLabel, Rules, verdict_of
from citynode.bench.outcome import Outcome, Verdict
from citynode.boards import load_board
from citynode.cli import bench_parts, fleet_parts, parts
from citynode.cli.bench_view import BenchDisplay, summary
from citynode.errors import CitynodeError
from citynode.fleet.node import Node
from citynode.fleet.store import FleetStore
from citynode.image import fetch
from citynode.link import ports
from citynode.link.bootloader import FAST
from citynode.state import state_dir


def run(
    batch: Annotated[str, typer.Option(help="Batch of the fleet that the boards are of.")],
    board: Annotated[
        str | None,
        typer.Option(
            envvar="CITYNODE_BOARD",
            show_default=False,
            help="Board id or TOML file; else each board is what the bench map says.",
        ),
    ] = None,
    port: bench_parts.Ports = None,
    bench: Annotated[
        Path | None,
        typer.Option(
            "--bench",
            metavar="FILE",
            envvar="CITYNODE_BENCH",
            show_default=False,
            help="Bench map: its connected boards, each of which has to be at its port.",
        ),
    ] = None,
    port_filter: bench_parts.PortFilter = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on: plug a board in, pull it out when it is done."),
    ] = False,
    profile: parts.ProfileId = "climate-demo",
    identity: parts.IdentityFile = None,
    ca: parts.CaFile = None,
    image: Annotated[
        Path | None,
        typer.Option(show_default=False, help="MicroPython image; else the newest in the cache."),
    ] = None,
    fleet: fleet_parts.FleetFile = None,
    dev_eui_block: parts.DevEuiBlock = None,
    baud: Annotated[
        int,
        typer.Option("-b", "--baud", envvar="ESPTOOL_BAUD", min=9600, help="Falls back to 115200."),
    ] = FAST,
    before: Annotated[
        str, typer.Option(help="Way into the bootloader: default-reset or usb-reset.")
    ] = "default-reset",
    jobs: parts.Jobs = None,
    only_failed: Annotated[
        bool, typer.Option("--only-failed", help="Leave boards alone that lack nothing.")
    ] = False,
    retry_failed: Annotated[
        int, typer.Option(min=0, max=10, metavar="N", help="Take boards up again whose port fails.")
    ] = 0,
    erase_all: Annotated[
        bool, typer.Option("--erase-all", help="Erase the whole flash before it is written.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Write boards, too, that are finished, of another batch, or of another fleet.",
        ),
    ] = False,
    self_test: Annotated[
        bool,
        typer.Option("--self-test/--no-self-test", help="Have the boards test themselves."),
    ] = True,
    skip: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ITEM",
            show_default=False,
            help="Leave an item of the self-test out; repeatable.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            metavar="FORMAT",
            show_default=False,
            help="Print a label for each new node as a PDF beside its log (see 'citynode fleet "
            "labels --formats').",
        ),
    ] = None,
    log_dir: Annotated[
        Path | None,
        typer.Option(show_default=False, help="Folder of the logs; else in citynode's own."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare only: write nothing, keep nothing.")
    ] = False,
    as_json: parts.AsJson = False,
) -> None:
    """Flash, start, prove, test and label every board, as far as it lacks that.

    Each stage is in the fleet as soon as it has ended: run it again, and what is missing is done.
    """
    if before not in ("default-reset", "usb-reset"):
        raise CitynodeError(f"--before {before} is not known", "use default-reset or usb-reset")
    found = BenchMap.load(bench) if bench is not None else None
    selected = None if watch else _selected(port, port_filter, found, board)
    kits = _kits(board, found, selected, profile, identity, ca, image)
    for kit in kits.values():
        parts.refuse_shared(kit.order, selected or ("one", "another"))
    path = fleet_parts.path_of(fleet)
    folder = log_dir or state_dir() / "logs" / _slug(batch)
    store = parts.store_of(dev_eui_block, path, batch)
    if not isinstance(store, FleetStore):
        raise TypeError(store)
    label = _label_printer(labels, folder)
    choice = selftest.Choice(skip=tuple(skip or ()))

    def test(each: Bench, outcome: Outcome, kit: Kit) -> list[selftest.Item]:
        return selftest.run(each, outcome, board=kit.order.board, choice=choice)

    display = BenchDisplay(selected or (), as_json=as_json, come_and_go=watch)
    logs = BoardLogs(None if dry_run else folder, display)
    line = Line(
        kits,
        store,
        Method(baud, before, dry_run, erase_all),
        Rules(force, only_failed, retry_failed),
        logs,
        bench_map=found,
        self_test=test if self_test else None,
        print_label=label,
    )

    def work(each: Bench, outcome: BoardOutcome) -> None:
        try:
            line.work(each, outcome)
        finally:
            log = logs.path(each.port)
            outcome.log = str(log) if log is not None else None

    with store.fleet, _alone(path, batch):
        try:
            with display:
                if selected is None:
                    arrivals = Arrivals(_wanted(port, found), port_filter or ())
                    outcomes = work_on_arrivals(
                        arrivals, work, jobs=jobs, watch=logs, make=BoardOutcome, judge=verdict_of
                    )
                else:
                    outcomes = job.run(
                        selected, work, jobs=jobs, watch=logs, make=BoardOutcome, judge=verdict_of
                    )
        except job.InterruptedJobError as stop:
            # What is left to do takes a moment; a second Ctrl-C in it would change the exit code.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            _finish(stop.outcomes, logs, as_json)
            raise
    _finish(outcomes, logs, as_json)
    shown = [each for each in outcomes if each.verdict is not Verdict.SKIP]
    bench_parts.complain(shown)


def _selected(
    given: Sequence[str] | None,
    filters: Sequence[str] | None,
    found: BenchMap | None,
    board: str | None,
) -> list[str]:
    if given or found is None:
        return bench_parts.all_ports(given, filters)
    chosen = [
        place.serial
        for place in found.places
        if place.connected and (board is None or place.platform in (board, UNKNOWN))
    ]
    if not chosen:
        raise CitynodeError(f"{found.path} has no such board", "see 'citynode bench show'")
    return bench_parts.all_ports(chosen, filters) if filters else ports.select(chosen)


def _wanted(given: Sequence[str] | None, found: BenchMap | None) -> list[str] | None:
    """Return what to wait for: ports that may not be there yet."""
    if given:
        return [item for text in given for item in text.split(",") if item]
    if found is not None:
        return [place.serial for place in found.places]
    return None


def _kits(
    board: str | None,
    found: BenchMap | None,
    selected: Sequence[str] | None,
    profile: str,
    identity: Path | None,
    ca: Path | None,
    image: Path | None,
) -> Mapping[str, Kit]:
    """Return what each kind of board gets, by the name that the map has for it."""
    names = [board] if board is not None else []
    if board is None and found is not None:
        wanted = None if selected is None else {ports.key(port) for port in selected}
        names = [
            place.platform
            for place in found.places
            if place.platform != UNKNOWN and (wanted is None or ports.key(place.serial) in wanted)
        ]
    if not names:
        raise CitynodeError(
            "nobody has said which board it is", "give --board, or write platforms into the map"
        )
    chips = {name: load_board(name).chip for name in dict.fromkeys(names)}
    if image is not None and len(set(chips.values())) > 1:
        raise CitynodeError(
            f"one image, and boards with {' and '.join(sorted(set(chips.values())))}",
            "leave out --image, or give --board",
        )
    kits = {}
    for name in chips:
        order = parts.make_order(name, profile, identity, ca, False)
        source = image if image is not None else fetch.find(order.board.micropython).path
        kits[name] = prepare(order, parts.read_image(source))
    return kits


def _label_printer(form: str | None, folder: Path) -> PrintLabel | None:
    if form is None:
        return None
    from citynode.fleet import formats, tr005
    from citynode.fleet.labels import Print, label_of, render  # fonts and PDF take a while to load

    chosen = formats.find(form)
    if chosen is None:
        raise CitynodeError(
            f"no labels are named {form!r}", "see 'citynode fleet labels --formats'"
        )

    def print_label(node: Node) -> None:
        made = render([label_of(node, tr005.Options())], chosen, Print())
        folder.mkdir(parents=True, exist_ok=True)
        fleet_parts.write(folder / f"{node.node_id}.pdf", made)

    return print_label


@contextlib.contextmanager
def _alone(fleet: Path, batch: str) -> Iterator[None]:
    """Keep others off the batch; the system lets go of the lock however this process ends."""
    fleet = fleet.resolve()
    lock = filelock.FileLock(fleet.with_name(f".{fleet.name}.{_slug(batch)}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise CitynodeError(
            f"another run has the batch {batch}", "wait for it, or give another --batch"
        ) from None
    except OSError as error:
        raise CitynodeError(
            f"cannot write {fleet.parent}: {error.strerror}", "make the folder writable"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _slug(batch: str) -> str:
    """Return a file's name for a batch: what is changed for that is told by a checksum."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", batch)[:40].strip(".") or "_"
    return plain if plain == batch else f"{plain}-{zlib.crc32(batch.encode()):08x}"


def _finish(outcomes: Sequence[Outcome], logs: BoardLogs, as_json: bool) -> None:
    if not as_json:
        summary([each for each in outcomes if isinstance(each, BoardOutcome)])
    if logs.failure is not None:
        print(f"citynode: a log cannot be written: {logs.failure.strerror}", file=sys.stderr)

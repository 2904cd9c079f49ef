"""Flash a board: see what it is and what it lacks, write that, start it, ask it who it is."""

import contextlib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from citynode import resources
from citynode.bench.contents import SLOT, Order, node_id_in, same_identity
from citynode.bench.job import Bench, SkippedError
from citynode.bench.outcome import BoardError, Outcome, Step
from citynode.bench.readback import read_back
from citynode.boards import Board, board_ids, load_board
from citynode.errors import CitynodeError
from citynode.identity import NAMESPACE, Identity, Store
from citynode.image import plan as planning
from citynode.image.plan import Plan, Region
from citynode.link.bootloader import FAST, SAFE, SECTOR, Bootloader, ChipFacts
from citynode.link.errors import LinkError

_MIB = 1 << 20
_FILES, _NVS = "files", "NVS"  # regions that a running node changes
_SUPERBLOCKS = 2 * SECTOR  # littlefs keeps its first pair of metadata blocks there
_AT_A_LOWER_SPEED = ("bootloader", "silent", "unkept")  # what may go better then
_BY_LINE = (Step.COMPARE, Step.ERASE, Step.WRITE)

Runs = list[tuple[int, bytes]]


@dataclass(frozen=True)
class Kit:
    """What all boards of one order get: the MicroPython image and the node's files."""

    order: Order
    image: bytes = field(repr=False)
    micropython: str
    files: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True)
class Method:
    """How boards are reached; `before` is esptool's way into the bootloader."""

    baud: int = FAST
    before: str = "default-reset"
    dry_run: bool = False
    erase_all: bool = False


class _UnreadableFilesError(Exception):
    """Littlefs gave up on what is in the flash, and took its process with it."""


def prepare(order: Order, image: bytes) -> Kit:
    """Check the image and compile the application; no board is needed for that.

    Raises CitynodeError (image for another chip, cut off, too old; a file that does not compile).
    """
    chip = order.board.chip
    version = planning.take_apart(image, chip).micropython.version
    files = planning.node_files(resources.firmware(), version, chip, order.settings)
    planning.make(image, chip, order.board.flash_mib * _MIB, files=files)
    return Kit(order, image, version, files)


class Guard:
    """Who may stop the writing of a board; this one lets everything pass.

    What its methods raise ends the work on the board before anything is written.
    """

    asks_whose = False  # whether to look for another's identity on boards that the store has not

    def met(self, facts: ChipFacts) -> None:
        """Take what a board has just told of itself."""

    def owned(self, facts: ChipFacts, node_id: str) -> None:
        """Take the node id that is on a board which the store does not know."""

    def writes(self, facts: ChipFacts, changed: Sequence[str]) -> None:
        """Take what is about to be written; called directly before."""


def flash(bench: Bench, outcome: Outcome, kit: Kit, store: Store, method: Method) -> None:
    """Bring one board to what the kit says; only what differs is written. Raises CitynodeError."""
    identity = write(bench, outcome, kit, store, method, Guard())
    if not method.dry_run:
        prove(bench, outcome, kit, identity, method)


def write(
    bench: Bench, outcome: Outcome, kit: Kit, store: Store, method: Method, guard: Guard
) -> Identity:
    """Write what differs, verify it, start the board; returns who it is. Raises CitynodeError.

    Where the line or the flash fails at a high speed, the rest is written at a safe one. That the
    board could not be reset is no fault of what was written: `prove` tells whether it runs.
    """
    look_at_files, baud = True, method.baud
    while True:
        try:
            slower = replace(method, baud=baud)
            return _session(bench, outcome, kit, store, slower, guard, look_at_files=look_at_files)
        except _UnreadableFilesError:
            look_at_files = False
        except LinkError as error:
            passing = error.kind in _AT_A_LOWER_SPEED and outcome.step in _BY_LINE
            if bench.leash.is_cut or not passing or baud <= SAFE:
                raise
            baud = SAFE


def prove(bench: Bench, outcome: Outcome, kit: Kit, identity: Identity, method: Method) -> None:
    """Wait until the board has started and ask who it is; raises LinkError, BoardError."""
    if outcome.step is not Step.BOOT:
        bench.step(Step.BOOT)
    try:
        outcome.version = read_back(bench, kit.order, identity.node_id, outcome.mac or "")
    except LinkError as error:
        if error.kind == "no_repl" and method.before == "no-reset":
            raise BoardError(
                f"{bench.port} was written, but has not started",
                "press EN on the board, then run this again",
            ) from None
        raise


def _session(
    bench: Bench,
    outcome: Outcome,
    kit: Kit,
    store: Store,
    method: Method,
    guard: Guard,
    *,
    look_at_files: bool,
) -> Identity:
    """Do all that needs the bootloader, in one session; the identity is kept before any write."""
    bench.step(Step.CONNECT)
    with Bootloader(bench.port, bench.leash) as boot:
        facts = boot.connect(method.baud, before=method.before)
        outcome.mac, outcome.chip = facts.mac, facts.chip
        try:
            guard.met(facts)
            _refuse_wrong_board(bench.port, kit.order.board, facts)
            bench.step(Step.COMPARE)
            if guard.asks_whose and store.find(facts.mac) is None:
                owner = _owner(boot, kit)
                if owner is not None:
                    guard.owned(facts, owner)
            identity = kit.order.identity(store, facts.mac, keep=not method.dry_run)
            outcome.node_id = identity.node_id
            runs = _differences(boot, bench, outcome, kit, identity, look_at_files)
            if runs or method.erase_all:
                guard.writes(facts, outcome.changed)
        except (CitynodeError, SkippedError):
            with contextlib.suppress(LinkError):
                boot.reset()  # nothing was written: what ran on the board goes on
            raise
        if not method.dry_run:
            if method.erase_all and not outcome.erased:
                bench.step(Step.ERASE)
                boot.erase()
                outcome.erased = True
                runs = _differences(boot, bench, outcome, kit, identity, False)
            if runs:
                bench.step(Step.WRITE)
                boot.write(runs, bench.progress)
                outcome.written += sum(len(data) for _, data in runs)
            bench.step(Step.BOOT)
        try:
            boot.reset()
        except LinkError:
            if bench.leash.is_cut:
                raise
    return identity


def _owner(boot: Bootloader, kit: Kit) -> str | None:
    """Return the node id in the board's NVS, where there is one."""
    board = kit.order.board
    place = planning.make(kit.image, board.chip, board.flash_mib * _MIB).nvs
    raw = boot.read(place.offset, place.size, b"\xff" * place.size)
    return node_id_in(raw)


def _refuse_wrong_board(port: str, board: Board, facts: ChipFacts) -> None:
    if facts.chip != board.chip:
        fitting = [name for name in board_ids() if load_board(name).chip == facts.chip]
        raise BoardError(
            f"{port} is an {facts.name}, {board.id} has an {board.chip}: nothing was written",
            f"choose another port, or --board {' or '.join(fitting)}"
            if fitting
            else "choose another port",
        )
    if facts.flash_size is None:
        raise BoardError(
            f"{port} does not tell the size of its flash: nothing was written",
            "check the board's flash chip",
        )
    if facts.flash_size != board.flash_mib * _MIB:
        raise BoardError(
            f"{port} has {facts.flash_size // _MIB} MiB of flash, {board.id} has "
            f"{board.flash_mib} MiB: nothing was written",
            "choose another port or --board",
        )


def _differences(
    boot: Bootloader,
    bench: Bench,
    outcome: Outcome,
    kit: Kit,
    identity: Identity,
    look_at_files: bool,
) -> Runs:
    """Return what has to be written, in an order that any interruption leaves recognisable."""
    board = kit.order.board
    plan = planning.make(
        kit.image,
        board.chip,
        board.flash_mib * _MIB,
        nvs_values={NAMESPACE: identity.nvs()},
        files=kit.files,
    )
    runs: Runs = []
    for number, region in enumerate(plan.regions):
        bench.progress(number, len(plan.regions))
        if region.name == _NVS and same_identity(
            boot.read(region.offset, plan.nvs.size, region.data), identity
        ):
            continue  # the rest of it is the chip's own: radio calibration, network settings
        if region.name == _FILES and look_at_files and _has_files(boot, bench, plan, region, kit):
            continue  # what else is there is the node's own: records not yet delivered
        found = boot.differing(region.offset, region.data)
        if found:
            if region.name not in outcome.changed:  # a second session lists what is left
                outcome.changed.append(region.name)
            runs += _guarded(region, found) if region.name == _FILES else found
    bench.progress(len(plan.regions), len(plan.regions))
    return runs


def _has_files(boot: Bootloader, bench: Bench, plan: Plan, region: Region, kit: Kit) -> bool:
    """Tell whether the board's file system holds all files of the kit, and would start them."""
    sizes = {path: len(data) for path, data in kit.files.items()}
    try:
        found = boot.files(plan.files.offset, plan.files.size, {**sizes, SLOT: 1}, region.data)
    except LinkError as error:
        if error.kind in ("died", "silent") and not bench.leash.is_cut:
            raise _UnreadableFilesError from error
        raise
    if found is None or found.get(SLOT) == hashlib.sha256(b"b").hexdigest():
        return False
    return all(
        found.get(path) == hashlib.sha256(data).hexdigest() for path, data in kit.files.items()
    )


def _guarded(region: Region, found: Runs) -> Runs:
    """Order the writing of a file system: until its last block is written there is none.

    Half of one and half of another would otherwise pass for a file system.
    """
    head = region.data[:_SUPERBLOCKS]
    body: Runs = []
    for address, data in found:
        skip = max(0, region.offset + _SUPERBLOCKS - address)
        if data[skip:]:
            body.append((address + skip, data[skip:]))
    return [(region.offset, b"\xff" * len(head)), *body, (region.offset, head)]

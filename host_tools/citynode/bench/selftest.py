"""The self-test of a node: what the board measures of itself, judged item by item.

The board does the work (`node.hal.selftest`) and says each value with its limits; here it is asked
for one item after the other, with a bound on each wait, and what it says is believed no further
than it can be read. Whatever happens, the board is restarted and runs its node afterwards.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from citynode.bench.job import Bench
from citynode.bench.outcome import BoardError, Outcome, Step, Verdict
from citynode.bench.readback import ask
from citynode.bench.selftest_lines import HUNG, Item, broken, objects, parse
from citynode.bench.selftest_peer import Peer, exchange
from citynode.boards import Board, board_ids, load_board
from citynode.errors import CitynodeError
from citynode.link import lines
from citynode.link.errors import LinkError
from citynode.link.repl import Repl, Transport

__all__ = ["GOOD", "Choice", "Item", "Operator", "Peer", "refuse", "run"]

# FAIL: measured, and not as it should be; ERROR: could not be measured; TIMEOUT: took longer than
# it may; ABORTED: not reached; SKIP: the board or its profile has no such thing.
GOOD = (Verdict.PASS, Verdict.SKIP)


class Operator(Protocol):
    """Somebody at the bench, for what a board cannot see of itself."""

    def tell(self, port: str, text: str) -> None:
        """Say what to do at the board now."""

    def agrees(self, port: str, question: str) -> bool:
        """Ask a question and return the answer."""


@dataclass(frozen=True)
class Choice:
    """Which items: all that need nobody, or `only` some; not those to `skip`; `more` by choice."""

    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    more: tuple[str, ...] = ()


_EVERYTHING = Choice()
_NAMES = "from node.hal import selftest\nselftest.names()"
_MAIN = "from node.hal import selftest\nselftest.main([{name!r}], {wants!r}, {slice_ms})"
_RESUME = "from node.hal import selftest\nselftest.resume({slice_ms})"

_SLICE_MS = 4000  # mpremote gives up a program that is silent for 10 s
_LONGEST_S = 300.0  # of an item; the board itself gives up sooner
_BACK_S = 10.0
_NAME = 64

# Out of a program and out of the raw REPL, then what a person would type.
_TYPED_RESET = b"\r\x03\x03\r\x02import machine\rmachine.reset()\r"
_TYPED_S = 0.2  # it has to be read before the port is closed

_PEER = "peer"  # no item of a board alone
_LED = "Did the LED blink a few times?"
_BUTTON = "press the BOOT button, and let it go"


def run(
    bench: Bench,
    outcome: Outcome | None = None,
    *,
    board: Board | None = None,
    choice: Choice = _EVERYTHING,
    operator: Operator | None = None,
    peer: Peer | None = None,
    transport: Transport = "mpremote",
) -> list[Item]:
    """Have the board at a port test itself; return what it measured, in the order of the items.

    `outcome` tells which MAC is expected, if it has one, and who the node is afterwards. `board`
    is what it should be, else what its configuration says. The items "led" and "button" need an
    `operator`; with a `peer` the radios are tried across the air. Raises LinkError and BoardError
    where there is no node to be tested, and CitynodeError for a choice that no item is of; what
    fails later is an item.
    """
    bench.step(Step.SELF_TEST)
    tester = _Tester(bench, transport, operator, peer)
    try:
        tester.connect()
        found = ask(tester.repl)
        names = _chosen(*_names(tester.repl.run(_NAMES), bench.port), choice)
        tester.wants = _wants(found, board, outcome)
        if outcome is not None:
            _note(outcome, found)
        return tester.work([*names, *([_PEER] if peer is not None else [])])
    finally:
        tester.restart()


def refuse(port: str, items: Sequence[Item]) -> None:
    """Raise BoardError if an item of a board is not as it should be; names the first."""
    bad = [item for item in items if item.verdict not in GOOD]
    if bad:
        others = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise BoardError(
            f"{port}: the self-test has {bad[0].verdict.value} for {bad[0].told()}{others}",
            "see docs/selftest.md for what to look at",
        )


class _Tester:
    """A board in its REPL, and what there is to be known for its items."""

    def __init__(
        self, bench: Bench, transport: Transport, operator: Operator | None, peer: Peer | None
    ) -> None:
        self.wants: Mapping[str, object] = {}
        self.repl = Repl(bench.port, transport, bench.leash)
        self._bench = bench
        self._transport: Transport = transport
        self._operator = operator
        self._peer = peer

    def connect(self) -> None:
        """Stop the node's program; one that sleeps or hangs is reset before. Raises LinkError."""
        try:
            self.repl.connect(_BACK_S)
        except LinkError as error:
            if error.kind not in HUNG:
                raise
            self.repl.close()
            self._reset()
            self.repl = Repl(self._bench.port, self._transport, self._bench.leash)
            self.repl.connect()

    def work(self, names: Sequence[str]) -> list[Item]:
        """Do these items one after the other; what is not reached is ABORTED."""
        items: list[Item] = []
        for number, name in enumerate(names):
            self._bench.progress(number, len(names))
            found, lost = self._one(name)
            items += found
            if lost and (self._bench.leash.is_cut or not self._back()):
                why = "stopped" if self._bench.leash.is_cut else "the board did not come back"
                left = names[number + 1 :]
                return items + [Item(each, Verdict.ABORTED, detail=why) for each in left]
        self._bench.progress(len(names), len(names))
        return items

    def _one(self, name: str) -> tuple[list[Item], bool]:
        """Return an item's values, and whether the board was lost over it."""
        found: list[Item] = []
        if name == _PEER and self._peer is not None:
            try:
                return exchange(self._bench, self.repl, self._peer), False
            except LinkError as error:
                return [broken(name, error)], True
        if name == "button" and self._operator is not None:
            self._operator.tell(self._bench.port, _BUTTON)
        end = time.monotonic() + _LONGEST_S
        code = _MAIN.format(name=name, wants=dict(self.wants), slice_ms=_SLICE_MS)
        try:
            while True:
                told, more = parse(self.repl.run(code))
                found += told
                if not more:
                    break
                if time.monotonic() > end:
                    return [*found, Item(name, Verdict.TIMEOUT, detail="has no end")], True
                code = _RESUME.format(slice_ms=_SLICE_MS)
        except LinkError as error:
            return [*found, broken(name, error)], True
        if not found:
            found = [Item(name, Verdict.ERROR, detail="the board said nothing that makes sense")]
        if (
            name == "led"
            and found[0].verdict is Verdict.PASS
            and self._operator is not None
            and not self._operator.agrees(self._bench.port, _LED)
        ):
            found = [Item("led", Verdict.FAIL, detail="nobody saw it blink")]
        return found, False

    def _back(self) -> bool:
        """Try to get hold of a board that was lost, twice; return whether it is there."""
        for again in (False, True):
            self.repl.close()
            if again:
                self._reset()  # one that hears no Ctrl-C
            try:
                self.repl = Repl(self._bench.port, self._transport, self._bench.leash)
                self.repl.connect(_BACK_S)
                return True
            except LinkError:
                if self._bench.leash.is_cut:
                    break
        return False

    def restart(self) -> None:
        """Have the board run its node again: by its REPL, its reset line, or as a person would."""
        try:
            self.repl.restart()
            return
        except LinkError:
            pass
        finally:
            self.repl.close()
        self._reset()

    def _reset(self) -> None:
        # A board that can be reached in no way is restarted by its watchdog.
        with (
            contextlib.suppress(LinkError, OSError),
            lines.open_listening(self._bench.port) as line,
        ):
            try:
                lines.reset(self._bench.port, line)
            except LinkError:  # it has no lines for that
                line.write(_TYPED_RESET)
                line.flush()
                time.sleep(_TYPED_S)


def _names(said: str, port: str) -> tuple[list[str], list[str]]:
    """Return the items of a board, and those of them by choice."""
    for found in objects(said):
        match found:
            case {"items": list(items), "by_choice": list(by_choice)} if all(
                isinstance(name, str) and name.isidentifier() and len(name) <= _NAME
                for name in [*items, *by_choice]
            ):
                return items, by_choice
    raise BoardError(f"{port} reports nothing that makes sense", "flash the board")


def _chosen(items: Sequence[str], by_choice: Sequence[str], choice: Choice) -> list[str]:
    """Return the items to do; raises CitynodeError for one that there is not."""
    known = [*items, *by_choice]
    for name in (*choice.only, *choice.skip, *choice.more):
        if name not in known:
            raise CitynodeError(f"no item is called {name!r}", f"known are {', '.join(known)}")
    wanted = {*(choice.only or items), *choice.more} - {*choice.skip}
    return [name for name in known if name in wanted]


def _wants(
    found: Mapping[str, object], board: Board | None, outcome: Outcome | None
) -> dict[str, object]:
    """Return what the board is held against."""
    wants: dict[str, object] = {}
    if board is None and (name := found.get("board")) in board_ids():
        board = load_board(str(name))  # else it is somebody's own, and nothing is known of it
    if board is not None:
        wants |= {"chip": board.chip, "flash_b": board.flash_mib << 20}
    if outcome is not None and outcome.mac is not None:
        wants["mac"] = outcome.mac
    return wants


def _note(outcome: Outcome, found: Mapping[str, object]) -> None:
    texts = {key: str(found.get(key) or "")[:_NAME] for key in ("mac", "node_id", "version")}
    outcome.mac = outcome.mac or texts["mac"] or None
    outcome.node_id = outcome.node_id or texts["node_id"] or None
    outcome.version = texts["version"] or outcome.version

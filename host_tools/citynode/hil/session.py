"""One process of tests on a bench: which boards it has opened, and what a test gets of them."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from citynode.boards import load_board
from citynode.hil.arrivals import Arrivals
from citynode.hil.dut import Dut
from citynode.hil.lab import Lab
from citynode.hil.slots import Dealer, Slot, Wish, check_unique
from citynode.hil.turns import turn
from citynode.state import state_dir

_LOG_LINES = 200  # of each board with a failure


@dataclass(frozen=True)
class Deal:
    """The boards of one test, or why it has none."""

    wish: Wish
    slots: Sequence[Slot]
    refusal: str = ""


class Session:
    """The boards that tests of this process use; they are opened when they are first wanted.

    Raises CitynodeError where a slot's kind of board is not known.
    """

    def __init__(
        self, slots: Sequence[Slot], make_lab: Callable[[], Lab], *, spread: bool, retries: int
    ) -> None:
        self.slots = check_unique(slots)
        self._specs = {slot.name: load_board(slot.board) for slot in slots}
        features = {slot.name: slot.features(self._specs[slot.name]) for slot in slots}
        self.dealer = Dealer(slots, features, spread=spread)
        self._make_lab = make_lab
        self._retries = retries
        self._lab: Lab | None = None
        self._duts: dict[str, Dut] = {}
        self._arrivals: Arrivals | None = None

    @property
    def lab(self) -> Lab:
        """The bench, opened."""
        if self._lab is None:
            self._lab = self._make_lab()
        return self._lab

    @property
    def arrivals(self) -> Arrivals | None:
        """What arrives at the broker, if the bench has one."""
        if self._arrivals is None and self.lab.broker is not None:
            self._arrivals = Arrivals(self.lab.broker)
        return self._arrivals

    def deal(self, wish: Wish, board: str | None = None) -> Deal:
        """Choose boards for a test."""
        slots = self.dealer.deal(wish, board)
        return Deal(wish, slots, "" if slots else self.dealer.refusal(wish, board))

    def duts(self, deal: Deal) -> list[Dut]:
        """Return the boards of a test; they may be flashed, or not yet."""
        _ = self.arrivals  # whatever the boards send, somebody is there
        found = []
        for slot in deal.slots:
            if slot.name not in self._duts:
                site = self.lab.open(slot)
                spec = self._specs[slot.name]
                self._duts[slot.name] = Dut(self.lab, site, slot, spec, self._retries)
            found.append(self._duts[slot.name])
        return found

    def prepare(self, deal: Deal, duts: Sequence[Dut]) -> None:
        """Have the boards of a test flashed, provisioned and running, and their logs clean."""
        for dut in duts:
            dut.prepare(_network(deal, dut.slot))
        for dut in duts:
            if self.arrivals is not None:
                dut.arrived_before = len(self.arrivals.of(dut.node_id))
            dut.console.clear()

    @contextlib.contextmanager
    def turn(self, deal: Deal) -> Iterator[None]:
        """Wait until no other test disturbs this one, and disturb none."""
        if not self.lab.shared:
            yield
            return
        alone = any(name.endswith("-cut") and name != "power-cut" for name in deal.wish.features)
        others = [slot.name for slot in self.slots] if alone else ()
        with turn(state_dir() / "locks", [slot.name for slot in deal.slots], others):
            yield

    def close(self) -> None:
        """Give all boards back."""
        with contextlib.ExitStack() as stack:
            if self._lab is not None:
                stack.callback(self._lab.close)
            if self._arrivals is not None:
                stack.callback(self._arrivals.close)
            for dut in self._duts.values():
                stack.callback(dut.close)


def _network(deal: Deal, slot: Slot) -> str:
    """Return what a board sends over in a test: what was wished for, or the first in reach."""
    wished = [name for name in slot.networks if name in deal.wish.features]
    return (wished or list(slot.networks) or ["wifi"])[0]


def told(dut: Dut, arrivals: Arrivals | None) -> list[tuple[str, str]]:
    """Return what a failure's report is to have of a board: titles and texts."""
    lines = dut.console.lines
    cut = [f"… {len(lines) - _LOG_LINES} lines before"] if len(lines) > _LOG_LINES else []
    found = [(f"board {dut.name} at {dut.port}", "\n".join(cut + lines[-_LOG_LINES:]) or "silent")]
    if accepted := dut.records:
        there = [] if arrivals is None else arrivals.of(dut.node_id)[dut.arrived_before :]
        got = {each.seq for each in there}
        found.append(
            (
                f"records of {dut.name}",
                "\n".join(
                    f"{record.to_json()}{'' if record.seq in got else '  (not arrived)'}"
                    for record in accepted[-_LOG_LINES:]
                ),
            )
        )
    return found

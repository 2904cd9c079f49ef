"""How a soak by plan looks while it runs, and its verdict."""

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from citynode.soak.plan import SoakPlan
from citynode.soak.results import Node, Run
from citynode.soak.runner import Glance
from citynode.soak.schedule import cells, members
from citynode.soak.times import words

_DAY_S = 86_400.0
_MOST_ROWS = 60  # of nodes; of more only those that failed are shown
_MOST_LINES = 40
_TOLD_EACH = 0.1  # of the whole, where there is no terminal
_NUMBERS = ("accepted", "received", "missing", "repeated", "restarts", "faults")


class View:
    """A live table with a row for each cell on a terminal, else a line now and then; on stderr."""

    def __init__(self, plan: SoakPlan, seed: int, *, quiet: bool, shards: int) -> None:
        self._plan = plan
        self._seed = seed
        self._shards = shards
        self._nodes = len(members(plan)) / len(cells(plan))  # of a cell
        self._glances: dict[int, Glance] = {}
        self._told = _TOLD_EACH
        self._began = time.monotonic()
        self._console = Console(stderr=True, quiet=quiet)
        self._live = Live(
            console=self._console, transient=True, get_renderable=self._table, refresh_per_second=2
        )

    def __enter__(self) -> Self:
        plan = self._plan
        self._console.print(
            f"soak {plan.id}: {len(members(plan))} nodes in {len(cells(plan))} cells for "
            f"{words(plan.duration)} of {plan.clock} time, seed {self._seed}",
            highlight=False,
            markup=False,
        )
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def look(self, glance: Glance) -> None:
        """Take note of how far a shard is."""
        self._glances[glance.cell] = glance
        if not self._console.is_terminal and self._done > self._told:
            self._told = self._done - self._done % _TOLD_EACH + _TOLD_EACH
            self._console.print(self._title(), highlight=False, markup=False)

    @property
    def _done(self) -> float:
        done_s = sum(min(each.now_s, each.end_s) for each in self._glances.values())
        return done_s / (self._plan.duration * self._shards)

    def _title(self) -> str:
        took_s = time.monotonic() - self._began
        title = f"{self._plan.id}: {self._done:.0%}"
        if self._done:
            days = self._done * self._shards * self._plan.duration * self._nodes / _DAY_S
            title += f", {60 * days / took_s:.3g} node-days a minute"
            title += f", {words(max(1.0, took_s * (1 / self._done - 1)))} left"
        return title

    def _table(self) -> Table:
        glances = [self._glances[cell] for cell in sorted(self._glances)]
        table = Table("cell", title=self._title(), title_justify="left")
        for name in ("time", *_NUMBERS):
            table.add_column(name, justify="right")
        for each in glances:
            if each.now_s < each.end_s or len(glances) <= _MOST_ROWS:
                numbers = (str(getattr(each, name)) for name in _NUMBERS)
                table.add_row(str(each.cell + 1), words(each.now_s), *numbers)
        return table


def show(run: Run, again: str) -> None:
    """Print the verdict, and for each node that failed a line that says why."""
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(_summary(run))
    for each in _complaints(run):
        print(f"citynode: {each}", file=sys.stderr)
    if not run.passed and not run.interrupted:
        print(f"citynode: to see it again: {again}", file=sys.stderr)


def _complaints(run: Run) -> list[str]:
    found = [f"{each.name}: {text}" for each in run.criteria for text in each.wrong]
    failed = [node for node in run.nodes if node.wrong]
    found += [f"{node.id}: {'; '.join(text for _, text in node.wrong)}" for node in failed]
    if len(found) > _MOST_LINES:
        left = len(found) - _MOST_LINES
        found[_MOST_LINES:] = [f"and {left} more; see --json or --report"]
    return found


def _summary(run: Run) -> Table:
    failed = sum(bool(node.wrong) for node in run.nodes)
    shown = list(run.nodes)
    title = f"{run.plan}, seed {run.seed}: {len(run.nodes) - failed} of {len(run.nodes)} nodes pass"
    if len(shown) > _MOST_ROWS:
        shown = [node for node in run.nodes if node.wrong][:_MOST_ROWS]
    kinds = sorted({fault.kind for fault in run.faults})
    counts = (f"{kind} {sum(each.kind == kind for each in run.faults)}" for kind in kinds)
    table = Table(
        "node",
        title=title,
        title_justify="left",
        caption=f"faults: {', '.join(counts) or 'none'}",
        caption_justify="left",
    )
    columns: tuple[tuple[str, Callable[[Node], float | None], str], ...] = (
        ("accepted", lambda node: node.accepted, "d"),
        ("received", lambda node: node.received, "d"),
        ("lost", lambda node: node.lost, "d"),
        ("repeated", lambda node: node.repeated, "d"),
        ("restarts", lambda node: len(node.restarts), "d"),
        ("joins", lambda node: node.joins, "d"),
        ("air s", lambda node: node.air_time_s, ".1f"),
        ("mAh", lambda node: node.energy_mah, ".1f"),
    )
    for name, _, _ in columns:
        table.add_column(name, justify="right")
    table.add_column("verdict")

    def add(name: str, nodes: Sequence[Node], passed: bool) -> None:
        told = []
        for _, value, style in columns:
            known = [found for node in nodes if (found := value(node)) is not None]
            told.append(format(sum(known), style) if known else "–")
        table.add_row(escape(name), *told, "[green]PASS[/]" if passed else "[red]FAIL[/]")

    for node in shown:
        add(node.id, [node], not node.wrong)
    if len(run.nodes) > 1:
        table.add_section()
        add("all", run.nodes, run.passed)
    return table

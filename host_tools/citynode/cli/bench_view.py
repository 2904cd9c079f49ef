"""What a person or a program sees of a bench run: a line per board, a table, JSON lines."""

import json
import threading
from collections import Counter
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from citynode.bench.line import BoardOutcome
from citynode.bench.outcome import Outcome, Step, Verdict
from citynode.cli.parts import Display
from citynode.fleet.node import Stage

COLOURS = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.ERROR: "red",
    Verdict.TIMEOUT: "red",
    Verdict.ABORTED: "yellow",
    Verdict.SKIP: "dim",
}
_WORDS = {
    Verdict.PASS: "passed",
    Verdict.FAIL: "failed",
    Verdict.ERROR: "errors",
    Verdict.TIMEOUT: "timed out",
    Verdict.ABORTED: "aborted",
    Verdict.SKIP: "left alone",
}
_FILE_WIDTH = 200  # columns of a table that goes to a file or to another program


class BenchDisplay(Display):
    """A line per board as `Display` has it, for ports that may come and come again.

    With `as_json` a JSON line is printed for each board as soon as it has ended.
    """

    def __init__(self, selected: Sequence[str], *, as_json: bool, come_and_go: bool) -> None:
        super().__init__(() if come_and_go else selected, quiet=as_json)
        self._as_json = as_json
        self._come_and_go = come_and_go
        self._lock = threading.Lock()

    def step(self, port: str, step: Step) -> None:
        """Show what is done at a port now."""
        with self._lock:
            if port not in self._tasks:
                self._tasks[port] = self._progress.add_task(
                    Step.WAIT.value, total=None, start=False, port=shortened(port)
                )
        super().step(port, step)

    def progress(self, port: str, done: int, total: int) -> None:
        """Show how far the step is."""
        if port in self._tasks:
            super().progress(port, done, total)

    def ended(self, outcome: Outcome) -> None:
        """Show how a board ended as soon as it has."""
        if self._as_json:
            with self._lock:
                print(json.dumps(outcome.to_json()), flush=True)
            return
        if not self._live or self._come_and_go:
            text = f"{outcome.port}: {outcome.verdict.value}"
            if outcome.node_id:
                text += f" {outcome.node_id}"
            if outcome.verdict not in (Verdict.PASS, Verdict.SKIP):
                text += f" {outcome.step.value}"
            if outcome.error and self._come_and_go:
                text += f": {outcome.error}"
                text += f"; {outcome.cure}" if outcome.cure else ""
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
        if not self._live or outcome.port not in self._tasks:
            return
        if self._come_and_go:  # its line is free for the next
            with self._lock:
                self._progress.remove_task(self._tasks.pop(outcome.port))
            return
        task = self._task(outcome.port)
        task.finished_time = None
        text = f"[{COLOURS[outcome.verdict]}]{outcome.verdict.value}[/]"
        if outcome.verdict in (Verdict.PASS, Verdict.SKIP):
            task.total = 1.0
        else:
            text += f" {outcome.step.value}"
        self._progress.update(task.id, description=text, completed=task.total)
        self._progress.stop_task(task.id)


def shortened(port: str) -> str:
    """Return the end of a long name: the serial number or the place is there."""
    return port if len(port) <= 28 else "…" + port[-27:]


def summary(outcomes: Sequence[BoardOutcome]) -> None:
    """Print a table of all boards, and how many ended how."""
    console = Console()
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("port", "verdict", "node", "MAC", "stages", "changed"):
        table.add_column(name, overflow="fold", no_wrap=name == "MAC")
    table.add_column("time", justify="right", no_wrap=True)
    for each in outcomes:
        verdict = f"[{COLOURS[each.verdict]}]{each.verdict.value}[/]"
        if each.verdict not in (Verdict.PASS, Verdict.SKIP):
            verdict += f" {each.step.value}"
        elif each.verdict is Verdict.SKIP:
            verdict += f" {each.cure or ''}"
        table.add_row(
            escape(each.port),
            verdict + (f" ({each.tries} tries)" if each.tries > 1 else ""),
            each.node_id or "",
            each.mac or "",
            _stages(each),
            ", ".join(each.changed) or ("nothing" if each.verdict is Verdict.PASS else ""),
            f"{each.seconds:.0f} s",
        )
    console.print(table)
    counts = Counter(outcome.verdict for outcome in outcomes)
    told = ", ".join(
        f"[{COLOURS[verdict]}]{counts[verdict]} {word}[/]"
        for verdict, word in _WORDS.items()
        if counts[verdict]
    )
    versions = sorted({outcome.version for outcome in outcomes if outcome.version})
    console.print(
        (told or "no board came") + (f"; firmware {', '.join(versions)}" if versions else ""),
        highlight=False,
    )


def _stages(outcome: BoardOutcome) -> str:
    """Tell which stages have passed now, which before, and which have not."""
    told = []
    for stage in Stage:
        how = outcome.stages.get(stage)
        if how == "before":
            told.append(f"[dim]{stage.value}[/]")
        elif how == "PASS":
            told.append(f"[green]{stage.value}[/]")
        elif how is not None:
            told.append(f"[red]{stage.value} {how}[/]")
    return ", ".join(told)

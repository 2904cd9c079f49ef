"""A log for each board, named by its MAC: what was done to it, when, and how that ended."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path

from citynode.bench.outcome import Outcome, Step, Watch


class BoardLogs:
    """The logs of a run in a folder; also a watch, which passes on what it is told.

    Until a board has told its MAC, its lines are kept; a board that never does has a log that is
    named by its port. A log that cannot be written stops no board: `failure` says why.
    """

    def __init__(
        self, folder: Path | None, watch: Watch, *, now: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._watch = watch
        self._now = now
        self._lock = threading.Lock()
        self._kept: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}
        self.failure: OSError | None = None

    def note(self, port: str, text: str) -> None:
        """Write a line about the board at a port; never a secret."""
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._now()))
        with self._lock:
            self._kept.setdefault(port, []).append(f"{at} {' '.join(text.split())}\n")
            if port in self._names:
                self._flush(port)

    def named(self, port: str, mac: str, chip: str) -> None:
        """Take which board is at a port: its lines go into its log from now on."""
        with self._lock:
            self._names[port] = mac
        self.note(port, f"{port}: {chip} {mac}")

    def path(self, port: str) -> Path | None:
        """Return the log of the board at a port."""
        if self._folder is None:
            return None
        name = self._names.get(port) or re.sub(r"[^A-Za-z0-9.-]+", "_", port).strip("_")
        return self._folder / f"{name}.log"

    def step(self, port: str, step: Step) -> None:
        """Write down what is done at a port now."""
        if step is Step.CONNECT and port not in self._kept:
            self.note(port, "begun")
        self.note(port, step.value)
        self._watch.step(port, step)

    def progress(self, port: str, done: int, total: int) -> None:
        """Pass it on."""
        self._watch.progress(port, done, total)

    def ended(self, outcome: Outcome) -> None:
        """Write down how it ended, and let go of the port's board."""
        told = [outcome.verdict.value, f"{outcome.seconds:.1f} s"]
        if outcome.changed:
            told.append(f"changed {', '.join(outcome.changed)} ({outcome.written} bytes written)")
        told += [each for each in (outcome.error, outcome.cure) if each]
        self.note(outcome.port, "; ".join(told))
        with self._lock:
            self._flush(outcome.port)
            self._kept.pop(outcome.port, None)
            self._names.pop(outcome.port, None)
        self._watch.ended(outcome)

    def _flush(self, port: str) -> None:
        path = self.path(port)
        lines = self._kept.get(port, [])
        self._kept[port] = []
        if path is None or not lines:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            self.failure = error

"""Findings, and how the checks that make them are run: side by side, each for a limited time."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from citynode.errors import CitynodeError

_LIMIT_S = 30.0


class Level(StrEnum):
    """How bad it is: a WARN may be meant so, with a FAIL something will not work."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `cure` says what to do unless it is OK."""

    level: Level
    text: str
    cure: str = ""


def ok(text: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(Level.OK, text)


def warn(text: str, cure: str) -> Finding:
    """Return a finding that may be meant so."""
    return Finding(Level.WARN, text, cure)


def fail(text: str, cure: str) -> Finding:
    """Return a finding that has to be cured."""
    return Finding(Level.FAIL, text, cure)


Check = Callable[[], Iterable[Finding]]


def examine(
    checks: Mapping[str, Check], limit_s: float = _LIMIT_S
) -> Iterator[tuple[str, Finding]]:
    """Run all checks at once and yield (name, finding) in their order.

    A check that does not end within `limit_s` is left behind, and is a FAIL itself.
    """
    runs = [_Run(name, check) for name, check in checks.items()]
    for run in runs:
        run.thread.join(limit_s)
        if run.thread.is_alive():
            late = f"did not end within {limit_s:.0f} s"
            yield run.name, fail(late, "see what this machine is waiting for (disk, network)")
            continue
        for finding in run.findings:
            yield run.name, finding


class _Run:
    def __init__(self, name: str, check: Check) -> None:
        self.name = name
        self.findings: list[Finding] = []
        self._check = check
        self.thread = threading.Thread(target=self._work, name=f"check {name}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            self.findings += self._check()
        except CitynodeError as error:
            self.findings.append(fail(error.what, error.cure or "see 'citynode --help'"))
        except Exception as error:
            # Its text may hold anything, so only its kind is told.
            text = f"the check itself failed ({type(error).__name__})"
            self.findings.append(fail(text, "report this"))

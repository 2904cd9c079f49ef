"""How the work on one board ended, and how those who watch it are told."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from citynode.errors import CitynodeError


class Step(StrEnum):
    """What is being done to a board, in order."""

    WAIT = "waiting"
    CONNECT = "connecting"
    COMPARE = "comparing"
    ERASE = "erasing"
    WRITE = "writing"
    BOOT = "starting"
    PROVISION = "provisioning"
    READ_BACK = "reading back"
    SELF_TEST = "self-testing"
    LABEL = "labelling"
    DONE = "done"


class Verdict(StrEnum):
    """How it ended."""

    PASS = "PASS"  # noqa: S105 -- no password
    FAIL = "FAIL"  # the board is not what it should be
    ERROR = "ERROR"  # something else than the board: its port, a tool, the disk
    TIMEOUT = "TIMEOUT"  # it did not answer
    ABORTED = "ABORTED"
    SKIP = "SKIP"  # nothing was to be done


class BoardError(CitynodeError):
    """This board is not what it should be."""

    def __init__(self, what: str, cure: str = "") -> None:
        super().__init__(what, cure, exit_code=1)


class Watch(Protocol):
    """Whoever wants to see the progress; called from the threads that do the work."""

    def step(self, port: str, step: Step) -> None:
        """Say what is done at a port now."""

    def progress(self, port: str, done: int, total: int) -> None:
        """Say how far the step is."""

    def ended(self, outcome: "Outcome") -> None:
        """Say how the work at a port ended."""


class Unwatched:
    """Nobody wants to see it."""

    def step(self, port: str, step: Step) -> None:
        """Say it to nobody."""

    def progress(self, port: str, done: int, total: int) -> None:
        """Say it to nobody."""

    def ended(self, outcome: "Outcome") -> None:
        """Say it to nobody."""


@dataclass
class Outcome:
    """What became of one board; holds no secret."""

    port: str
    verdict: Verdict = Verdict.FAIL
    step: Step = Step.WAIT
    error: str | None = None
    cure: str | None = None
    mac: str | None = None
    chip: str | None = None
    node_id: str | None = None
    version: str | None = None
    erased: bool = False
    written: int = 0
    changed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def to_json(self) -> dict[str, object]:
        """Return what JSON can hold."""
        return {
            "port": self.port,
            "verdict": self.verdict.value,
            "step": self.step.value,
            "error": self.error,
            "cure": self.cure,
            "mac": self.mac,
            "chip": self.chip,
            "node_id": self.node_id,
            "version": self.version,
            "written_bytes": self.written,
            "changed": self.changed,
            "seconds": round(self.seconds, 1),
        }

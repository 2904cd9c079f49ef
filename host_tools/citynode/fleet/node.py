"""What a fleet knows of a node, as plain data; secrets show in no repr."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Stage(StrEnum):
    """What a board goes through on the bench, in order."""

    FLASH = "flash"
    BOOT = "boot"
    IDENTITY = "identity"
    SELF_TEST = "self-test"
    LABEL = "label"


class Status(StrEnum):
    """How far a node is; it follows from its stages until it is retired."""

    PLANNED = "planned"  # no stage yet
    OPEN = "open"  # some passed, none failed
    FAILED = "failed"  # the last try of a stage did not pass
    READY = "ready"  # all passed
    RETIRED = "retired"


class Result(StrEnum):
    """How a stage or a measurement ended."""

    PASS = "PASS"  # noqa: S105 -- no password
    FAIL = "FAIL"
    ERROR = "ERROR"
    TIMEOUT = "TIMEOUT"
    ABORTED = "ABORTED"


# What a person or a file says of a node; also the columns of its CSV, in this order.
TEXTS = ("node_id", "mac", "dev_eui", "join_eui", "board", "batch", "site")
NUMBERS = ("lat", "lon")
LATER_TEXTS = ("firmware", "micropython", "notes")
GIVEN = (*TEXTS, *NUMBERS, *LATER_TEXTS)


@dataclass(frozen=True)
class Entry:
    """A node as it comes in: MAC and EUIs as small hex digits, `secrets` as in an identity file.

    An import may leave `node_id` empty; then it is that of the node with this MAC or DevEUI.
    """

    node_id: str
    mac: str | None = None
    dev_eui: str | None = None
    join_eui: str | None = None
    board: str | None = None
    batch: str | None = None
    site: str | None = None
    lat: float | None = None
    lon: float | None = None
    firmware: str | None = None
    micropython: str | None = None
    notes: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Step:
    """The last try of a stage; `at` is UTC, as 2026-01-31T12:00:00Z."""

    outcome: str
    at: str
    detail: str | None = None


@dataclass(frozen=True)
class Measurement:
    """A measured value of the self-test with its limits, in its own unit."""

    item: str
    outcome: str
    value: float | None = None
    unit: str | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Node:
    """A node of the fleet; whether it has keys is told, never which."""

    number: int
    entry: Entry
    status: str
    has_secrets: bool
    created: str
    changed: str
    stages: Mapping[str, Step] = field(default_factory=dict)

    @property
    def node_id(self) -> str:
        """The node's name."""
        return self.entry.node_id

    def to_json(self) -> dict[str, object]:
        """Return what JSON can hold; what other columns of an import had comes last."""
        told: dict[str, object] = {key: getattr(self.entry, key) for key in GIVEN}
        told |= {"status": self.status, "has_keys": self.has_secrets}
        told["stages"] = {
            each.value: {"outcome": step.outcome, "at": step.at, "detail": step.detail}
            for each in Stage
            if (step := self.stages.get(each)) is not None
        }
        return told | {
            "created": self.created,
            "changed": self.changed,
            "extra": dict(self.entry.extra),
        }

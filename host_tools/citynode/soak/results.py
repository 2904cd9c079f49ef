"""A finished soak: what was asked, what was done to the nodes, and how each of them fared. No I/O.

Times are seconds since the run began, by its own clock. What a runner fills is taken as it is;
what comes from a file is checked. Names and texts may be anyone's: show them escaped.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from citynode.errors import CitynodeError

# Bounds that let sums and differences of all of them be plain numbers.
Seconds = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]
Value = Annotated[float, Field(ge=-1e12, le=1e12, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=0xFFFFFFFFFFFF)]
Name = Annotated[str, Field(max_length=100)]

Frame = tuple[Seconds, Count, Seconds | None]  # arrived at, record's number, seconds on its way
Gap = tuple[Seconds, Seconds]  # from, to
Heap = tuple[Seconds, Count]  # bytes free
Link = tuple[Seconds, Value, Value | None]  # RSSI dBm, SNR dB; WiFi has no SNR
Current = tuple[Seconds, Value]  # mA, on average since the last
Restart = tuple[Seconds, Name]  # cause
Wrong = tuple[Name, str]  # name of the criterion, what is wrong

_CHECKED = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class RunError(CitynodeError):
    """The result of a soak that is none, or shards that do not belong together."""


@dataclass(frozen=True)
class Node:
    """One node's run.

    `gaps` are the times without a sign of life that the plan does not allow, `erases` how often
    each sector of 4 KiB was erased in the run, `energy_mah` what was drawn from the battery until
    the run's duration was over, `wrong` what failed, by criterion.
    """

    __pydantic_config__ = _CHECKED

    id: Name
    board: Name
    profile: Name
    cell: Name | None = None  # the gateway or access point it belongs to
    frames: tuple[Frame, ...] = ()
    gaps: tuple[Gap, ...] = ()
    heap: tuple[Heap, ...] = ()
    link: tuple[Link, ...] = ()
    current: tuple[Current, ...] = ()
    restarts: tuple[Restart, ...] = ()
    erases: dict[Count, Count] = field(default_factory=dict)
    energy_mah: Value | None = None
    air_time_s: Seconds = 0.0
    joins: Count = 0
    accepted: Count = 0
    received: Count = 0
    lost: Count = 0
    repeated: Count = 0
    wrong: tuple[Wrong, ...] = ()


@dataclass(frozen=True)
class Fault:
    """Something that was done to a node; `node` None: to all nodes, or to all of `cell`.

    `until` is None where it took no time, such as a power cut. `detail` says what, and what came.
    """

    __pydantic_config__ = _CHECKED

    kind: Name
    node: Name | None
    t: Seconds
    until: Seconds | None = None
    detail: str = ""
    cell: Name | None = None

    @property
    def lasted_s(self) -> float:
        """How long it lasted."""
        return 0.0 if self.until is None else max(0.0, self.until - self.t)


@dataclass(frozen=True)
class Criterion:
    """What every node has to meet: its name and its limit in words; `wrong` of the whole fleet."""

    __pydantic_config__ = _CHECKED

    name: Name
    limit: Name
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A whole run, or a shard of one. `command` shows it again; `started` is seconds of Unix."""

    __pydantic_config__ = _CHECKED

    plan: Name
    seed: int
    started: Seconds
    duration_s: Seconds
    clock: Literal["virtual", "real"]
    nodes: tuple[Node, ...]
    faults: tuple[Fault, ...]
    criteria: tuple[Criterion, ...]
    command: str
    interrupted: bool = False

    @property
    def passed(self) -> bool:
        """Whether all was done, and nothing is wrong with a node or the fleet."""
        return bool(self.nodes) and not (
            self.interrupted
            or any(node.wrong for node in self.nodes)
            or any(criterion.wrong for criterion in self.criteria)
        )

    def failures(self, criterion: str) -> tuple[str, ...]:
        """Return what is wrong with the whole fleet by this criterion."""
        return tuple(
            text for each in self.criteria if each.name == criterion for text in each.wrong
        )

    def to_json(self) -> str:
        """Return the run and its verdict as one line of JSON."""
        return _adapter().dump_json(_File(self.passed, self)).decode()

    @staticmethod
    def from_json(text: str | bytes) -> "Run":
        """Return the run of `to_json`; raises RunError that names the first key that is wrong."""
        try:
            file = _adapter().validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            key = ".".join(str(part) for part in first["loc"]) or "file"
            raise RunError(
                f"the soak's result is wrong: {key}: {first['msg']}", "let the soak run again"
            ) from None
        if file.passed != file.run.passed:
            raise RunError(
                "the soak's result is wrong: passed: not what the run says",
                "let the soak run again",
            )
        return file.run


@dataclass(frozen=True)
class _File:
    __pydantic_config__ = _CHECKED

    passed: bool  # for who reads the file without us
    run: Run


@cache
def _adapter() -> TypeAdapter[_File]:
    return TypeAdapter(_File)


def merge(shards: Iterable[Run]) -> Run:
    """Put the shards of a run together; their order makes no difference.

    A fault that several shards tell alike, such as a broker that is away, is one. Raises RunError
    if there are none, if they are of different runs, or if a node is in two of them.
    """
    runs = list(shards)
    if not runs:
        raise RunError("a soak without shards has no result", "give at least one")
    first = runs[0]
    if any(_terms(run) != _terms(first) for run in runs):
        raise RunError("the shards are of different soaks", "give those of one plan and seed")
    nodes = sorted((node for run in runs for node in run.nodes), key=lambda node: node.id)
    for one, other in pairwise(nodes):
        if one.id == other.id:
            raise RunError(f"node {one.id!r} is in two shards", "give each shard once")
    return replace(
        first,
        started=min(run.started for run in runs),
        duration_s=max(run.duration_s for run in runs),
        nodes=tuple(nodes),
        faults=tuple(sorted({fault for run in runs for fault in run.faults}, key=_when)),
        criteria=tuple(
            Criterion(
                name, limit, tuple(sorted({text for run in runs for text in run.failures(name)}))
            )
            for name, limit in _terms(first)[-1]
        ),
        interrupted=any(run.interrupted for run in runs),
    )


def _terms(run: Run) -> tuple[str, int, str, str, tuple[tuple[str, str], ...]]:
    asked = tuple((each.name, each.limit) for each in run.criteria)
    return run.plan, run.seed, run.clock, run.command, asked


def _when(fault: Fault) -> tuple[object, ...]:
    known = tuple(each or "" for each in (fault.node, fault.cell))
    unknown = tuple(each is None for each in (fault.node, fault.cell, fault.until))
    return fault.t, fault.kind, *known, *unknown, fault.until or 0.0, fault.detail

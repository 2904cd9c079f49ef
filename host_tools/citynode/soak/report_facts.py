"""The figures of a run that its report shows in words. No HTML."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from statistics import median

from citynode.soak.report_scale import Point, merged, quantile
from citynode.soak.results import Criterion, Fault, Node, Run

# Erases that a sector of the usual NOR flash is good for (Winbond W25Q32JV, features).
ENDURANCE = 100_000


@dataclass(frozen=True)
class Facts:
    """What one node's measurements come to; None where there are none."""

    node: Node

    @cached_property
    def latencies(self) -> list[float]:
        """Seconds from the record to its arrival, in order of size."""
        return sorted(s for _, _, s in self.node.frames if s is not None)

    @property
    def late(self) -> float | None:
        """Seconds within which 95 % arrived."""
        return quantile(self.latencies, 0.95) if self.latencies else None

    @property
    def longest_gap(self) -> float:
        """Seconds."""
        return max((end - start for start, end in self.node.gaps), default=0.0)

    @property
    def lowest_heap(self) -> int | None:
        """Bytes free."""
        return min((free for _, free in self.node.heap), default=None)

    @property
    def rssi(self) -> float | None:
        """The median, dBm."""
        return median(rssi for _, rssi, _ in self.node.link) if self.node.link else None

    @property
    def snr(self) -> list[Point]:
        """Times and dB, where there is one."""
        return [(t, snr) for t, _, snr in self.node.link if snr is not None]

    @property
    def worst_sector(self) -> int | None:
        """Number of the sector that was erased most."""
        erases = self.node.erases
        return min(erases, key=lambda sector: (-erases[sector], sector)) if erases else None

    @property
    def most_erases(self) -> int | None:
        """How often that one was erased."""
        return max(self.node.erases.values(), default=None)

    @property
    def causes(self) -> Counter[str]:
        """Restarts by their cause."""
        return Counter(cause for _, cause in self.node.restarts)


@dataclass(frozen=True)
class Verdict:
    """A criterion, and the nodes that did not meet it."""

    criterion: Criterion
    nodes: tuple[Node, ...]

    @property
    def passed(self) -> bool:
        """Whether every node and the fleet met it."""
        return not self.nodes and not self.criterion.wrong


def verdicts(run: Run) -> list[Verdict]:
    """Return every criterion with who failed it; those that no list names come last."""
    known = {each.name for each in run.criteria}
    named = (name for node in run.nodes for name, _ in node.wrong if name not in known)
    others = [Criterion(name, "") for name in dict.fromkeys(named)]
    failed: dict[str, list[Node]] = {}
    for node in run.nodes:
        for name in dict.fromkeys(name for name, _ in node.wrong):
            failed.setdefault(name, []).append(node)
    return [Verdict(each, tuple(failed.get(each.name, ()))) for each in (*run.criteria, *others)]


def in_order(nodes: Iterable[Node]) -> list[Node]:
    """Sort as a person does: those that failed first, node-2 before node-10."""
    return sorted(nodes, key=lambda node: (not node.wrong, natural(node.id), node.id))


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in a text by their size."""
    parts = re.findall(r"([0-9]{1,18})|([^0-9]+)", text)
    return [(int(digits) if digits else -1, rest) for digits, rest in parts]


def worth_showing(nodes: Sequence[Node], at_most: int) -> list[Node]:
    """Return the nodes to be shown in detail: all, or those that failed or fared worst."""
    if len(nodes) <= at_most:
        return in_order(nodes)
    worst = sorted(
        nodes,
        key=lambda node: (
            not node.wrong, -node.lost, -Facts(node).longest_gap, -len(node.restarts), node.id
        ),
    )  # fmt: skip
    return in_order(worst[:at_most])


def utc(run: Run) -> datetime:
    """Return when a run began, in whole seconds; the end of the year 9999 is the latest."""
    return datetime.fromtimestamp(min(int(run.started), 253_402_300_799), UTC).replace(tzinfo=None)


def end_s(run: Run) -> float:
    """Return when the last thing happened: frames may come after the time is over. At least 1 s."""
    times = [run.duration_s, 1.0]
    times += (fault.t + fault.lasted_s for fault in run.faults)
    for node in run.nodes:
        times += (points[-1][0] for points in (node.heap, node.link, node.restarts) if points)
        times += (frame[0] for frame in node.frames)
        times += (end for _, end in node.gaps)
    return max(times)


def every(faults: Iterable[Fault]) -> list[Point]:
    """Return from when to when each of the faults was on."""
    return [(fault.t, fault.t + fault.lasted_s) for fault in faults]


def spans(faults: Iterable[Fault]) -> list[Point]:
    """Return from when to when any of the faults was on."""
    return merged(every(faults))


def shades(faults: Iterable[Fault]) -> list[list[Point]]:
    """Return for each kind of fault from when to when it was on."""
    return [spans(found) for found in by_kind(faults).values()]


def by_kind(faults: Iterable[Fault]) -> dict[str, list[Fault]]:
    """Return the faults of each kind, in the order of the kinds' names."""
    found: dict[str, list[Fault]] = {}
    for fault in sorted(faults, key=lambda fault: (fault.kind, fault.t)):
        found.setdefault(fault.kind, []).append(fault)
    return found


class Whole:
    """A run, and what several parts of its report need of it."""

    def __init__(self, run: Run, at_most: int) -> None:
        self.run = run
        self.span_s = end_s(run)
        self.facts = {node.id: Facts(node) for node in run.nodes}
        self.detailed = worth_showing(run.nodes, at_most)
        self.verdicts = verdicts(run)
        self.shared = [fault for fault in run.faults if fault.node is None]
        self._anchors = {node.id: f"node-{place}" for place, node in enumerate(self.detailed, 1)}
        self._own: dict[str, list[Fault]] = {}
        for fault in run.faults:
            if fault.node is not None:
                self._own.setdefault(fault.node, []).append(fault)

    def own(self, node: Node) -> list[Fault]:
        """Return the faults that struck this node alone."""
        return self._own.get(node.id, [])

    def around(self, node: Node) -> list[Fault]:
        """Return the faults that struck this node and others: its cell, or all."""
        return [fault for fault in self.shared if fault.cell in (None, node.cell)]

    def anchor(self, node: Node) -> str | None:
        """Return the place of the node's details in the page, if it has one."""
        return self._anchors.get(node.id)

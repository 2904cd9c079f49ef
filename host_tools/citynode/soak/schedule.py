"""Which node is in which cell, and what is done to whom when: all of it follows from the seed."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from citynode.soak.plan import KINDS, Fault, SoakPlan, length_of


@dataclass(frozen=True)
class Member:
    """A node of a plan: the `number` of all nodes, the `group` it is of, the cell it is in."""

    number: int
    id: str
    group: int
    cell: int


@dataclass(frozen=True)
class Due:
    """A fault that is to come: at `at_s` for `for_s` seconds.

    It strikes the node `node` or, where that is None, the whole cell. `seed` is for what chance
    decides while it lasts.
    """

    at_s: float
    for_s: float
    kind: str
    way: str
    size: float
    node: str | None
    cell: int
    seed: int


def stream(seed: int, name: str) -> random.Random:
    """Return the start of a stream of chance: names keep them apart."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return random.Random(int.from_bytes(digest, "big"))


def members(plan: SoakPlan) -> list[Member]:
    """Return all nodes of a plan; they are dealt to the cells in turn."""
    found: list[Member] = []
    for group, nodes in enumerate(plan.nodes):
        for number in range(max(nodes.count, len(nodes.ports))):
            at = len(found)
            found.append(Member(at, f"{nodes.name}-{number + 1}", group, at % plan.gateways))
    return found


def cells(plan: SoakPlan) -> list[int]:
    """Return the cells that have nodes."""
    return sorted({member.cell for member in members(plan)})


def cell_seed(seed: int, cell: int) -> int:
    """Return the seed of a cell's own world (32 bits)."""
    return stream(seed, f"cell {cell}").getrandbits(32)


def draw(plan: SoakPlan, seed: int, cell: int) -> list[Due]:
    """Return the faults of a cell in the order of their times.

    Each kind, target and entry of the plan has a stream of its own: what is drawn for one is the
    same whatever else is in the plan.
    """
    here = [member for member in members(plan) if member.cell == cell]
    found = []
    numbers: Counter[str] = Counter()
    for fault in plan.faults:
        number = numbers[fault.kind]
        numbers[fault.kind] += 1
        chosen = [m.id for m in here if any(fnmatchcase(m.id, each) for each in fault.nodes)]
        if KINDS[fault.kind].cell:
            targets: list[str | None] = [None] if chosen else []
        else:
            targets = list(chosen)
        for node in targets:
            target = f"cell {cell}" if node is None else node
            rng = stream(seed, f"fault {fault.kind} {number} {target}")
            found += [
                _due(fault, at_s, node, cell, rng) for at_s in _times(fault, plan.duration, rng)
            ]
    return sorted(found, key=lambda due: (due.at_s, due.kind, due.node or "", due.seed))


def _times(fault: Fault, duration_s: float, rng: random.Random) -> Iterator[float]:
    length = length_of(fault)
    if fault.at is not None and fault.at + length <= duration_s:
        yield fault.at
    if fault.every is not None:
        at_s = rng.expovariate(1 / fault.every)
        # What begins is also to end: how a node recovers is what is looked at.
        while at_s + length <= duration_s:
            yield round(at_s, 3)
            at_s += length + rng.expovariate(1 / fault.every)


def _due(fault: Fault, at_s: float, node: str | None, cell: int, rng: random.Random) -> Due:
    kind = KINDS[fault.kind]
    way = rng.choice(kind.ways)  # drawn in any case: a way that is given shifts nothing
    size = fault.size
    if size is None:
        size = 0.0 if kind.size is None else kind.size[1]
    return Due(
        at_s, length_of(fault), fault.kind, fault.way or way, size, node, cell, rng.getrandbits(32)
    )

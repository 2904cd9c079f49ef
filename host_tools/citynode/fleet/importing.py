"""Nodes come into a fleet: all of a file or nothing, or what is good of it; all faults are told."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from citynode.fleet.inventory import Fleet
from citynode.fleet.node import GIVEN, Entry, Node
from citynode.fleet.reading import UNIQUE
from citynode.fleet.sealer import UNIQUE_KEYS, secrets_of
from citynode.fleet.table import Fault
from citynode.identity import Identity

_KEYS = ("node_id", "mac", "dev_eui")  # a node is known by them; an import does not change them
_ANOTHER_KEY = "the node {} has another; 'citynode fleet rekey' makes new ones"


class _DryRunError(Exception):
    """All that was written is to be undone."""


@dataclass
class Taken:
    """What became of an import."""

    added: int = 0
    changed: int = 0
    same: int = 0
    faults: list[Fault] = field(default_factory=list)


def take(
    fleet: Fleet,
    rows: Sequence[tuple[int, Entry]],
    faults: Sequence[Fault] = (),
    *,
    update: bool = False,
    partial: bool = False,
    dry_run: bool = False,
) -> Taken:
    """Add nodes, and with `update` change those that are there, in one transaction.

    `rows` have the lines they are from. Nothing is written if there is a fault, in `faults` or
    found here, unless `partial`; nor in a dry run. Raises CitynodeError.
    """
    taken = Taken(faults=list(faults))
    with contextlib.suppress(_DryRunError), fleet.writing():
        judge = _Judge(fleet, {node.node_id: node for node in fleet.nodes()} if update else {})
        for line, entry in rows:
            if (fault := judge.fault(line, entry)) is not None:
                taken.faults.append(fault)
        taken.faults.sort(key=lambda fault: fault.line)
        if taken.faults and not partial:
            return taken
        fleet.add(judge.new, "import", checked=True)
        taken.added = len(judge.new)
        for node, entry in judge.known:
            if fleet.change(node, entry, "import"):
                taken.changed += 1
            else:
                taken.same += 1
        if taken.added or taken.changed:
            fleet.note("import", None, f"{taken.added} added, {taken.changed} changed")
        if dry_run:
            raise _DryRunError
    return taken


def from_identities(identities: Mapping[str, Identity]) -> list[tuple[int, Entry]]:
    """Return the entries of identities by MAC, as the folder store has them, numbered from 1."""
    return [
        (
            number,
            Entry(
                each.node_id,
                mac,
                each.dev_eui.hex() if each.dev_eui else None,
                each.join_eui.hex() if each.join_eui else None,
                secrets=secrets_of(each),
            ),
        )
        for number, (mac, each) in enumerate(identities.items(), 1)
    ]


class _Judge:
    """Sorts entries into new and known ones; knows what is given out, by the fleet or the file."""

    def __init__(self, fleet: Fleet, known: Mapping[str, Node]) -> None:
        self.new: list[Entry] = []
        self.known: list[tuple[Node, Entry]] = []
        self._fleet = fleet
        self._nodes = known
        self._given_out = fleet.taken()
        self._has = {
            kind: {owner for owner, past in self._given_out[kind].values() if not past}
            for kind in UNIQUE
        }
        self._lines: dict[str, dict[str, int]] = {kind: {} for kind in UNIQUE}

    def fault(self, line: int, entry: Entry) -> Fault | None:
        """Return why an entry cannot be taken; None if it was sorted in."""
        entry = self._named(entry)
        if not entry.node_id:
            return Fault(line, "node_id", "is missing, and no node has the DevEUI")
        marks = self._fleet.marked(entry)
        for kind, mark in marks.items():
            if (other := self._lines[kind].get(mark)) is not None:
                return Fault(line, kind, f"line {other} has the same")
        owners = {
            kind: self._given_out[kind][mark]
            for kind, mark in marks.items()
            if mark in self._given_out[kind]
        }
        known_by = next((owners[kind][0] for kind in _KEYS if kind in owners), None)
        node = self._nodes.get(known_by) if known_by is not None else None
        for kind, (owner, _) in owners.items():
            if node is None or owner != node.node_id:
                return Fault(line, kind, f"the node {owner} has the same")
        if node is not None:
            if (fault := self._unlike(line, node, entry, owners)) is not None:
                return fault
            self.known.append((node, _merged(node.entry, entry)))
        else:
            self.new.append(entry)
        for kind, mark in marks.items():
            self._lines[kind][mark] = line
        return None

    def _named(self, entry: Entry) -> Entry:
        """Return an entry with a name: that of the node it is about, or one made of its MAC."""
        if entry.node_id:
            return entry
        for key in ("mac", "dev_eui"):
            if (found := self._given_out[key].get(getattr(entry, key))) is not None:
                return replace(entry, node_id=found[0])
        if entry.mac is None:
            return entry
        return replace(entry, node_id=f"node-{entry.mac[6:]}")

    def _unlike(
        self, line: int, node: Node, entry: Entry, owners: Mapping[str, tuple[str, bool]]
    ) -> Fault | None:
        for key in _KEYS:
            old, new = getattr(node.entry, key), getattr(entry, key)
            if old is not None and new is not None and old != new:
                return Fault(line, key, f"the node {node.node_id} has another")
        for kind in UNIQUE_KEYS:
            # One that it had before a rekey would bring that back.
            _, past = owners.get(kind, ("", True))
            if kind in entry.secrets and past and node.node_id in self._has[kind]:
                return Fault(line, kind, _ANOTHER_KEY.format(node.node_id))
        return None


def _merged(old: Entry, new: Entry) -> Entry:
    """Return what is known with what is new; an empty cell leaves what was there."""
    given = {key: value for key in GIVEN if (value := getattr(new, key)) is not None}
    return replace(old, **given, extra={**old.extra, **new.extra}, secrets=new.secrets)

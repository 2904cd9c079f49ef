"""The identities of a fleet behind the interface of the folder of files; the bench takes either."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

from citynode.boards import Board
from citynode.errors import CitynodeError
from citynode.fleet.inventory import Fleet
from citynode.fleet.node import Entry, Node, Result, Stage, Status
from citynode.fleet.query import Filter
from citynode.fleet.sealer import secrets_of
from citynode.identity import Identity, Store, eui64


class FleetStore(Store):
    """Gives out identities as `Store` does and keeps them in a fleet, in a batch if it has one."""

    def __init__(self, fleet: Fleet, batch: str | None = None) -> None:
        super().__init__(fleet.path.parent)
        self.fleet = fleet
        self.batch = batch

    def find(self, mac: str) -> Identity | None:
        """Return the identity of the board with this MAC (12 hex digits), if it has one."""
        return self.fleet.identity(self._path(mac).stem)

    def all(self) -> dict[str, Identity]:
        """Return every identity in service that has a board, by its MAC, sorted by node id."""
        identities = self.fleet.identities()
        return {
            node.entry.mac: identities[node.node_id]
            for node in self.fleet.nodes()
            if node.entry.mac is not None and node.status != Status.RETIRED
        }

    def issue(
        self,
        mac: str,
        board: Board,
        site: str,
        given: Mapping[str, str | bytes],
        *,
        renew: bool = False,
        keep: bool = True,
    ) -> Identity:
        """Return the board's identity with the given settings; what it lacks is made and kept.

        As `Store.issue`; a node that is retired gets none without `renew`.
        """
        with self.fleet.writing() if keep else contextlib.nullcontext():
            node = self.node(mac)
            if node is not None and node.status == Status.RETIRED and not renew:
                raise CitynodeError(
                    f"the board {mac} is {node.node_id}, which is retired",
                    "'citynode fleet retire --undo' takes it back, --renew-identity makes it "
                    "another node",
                )
            identity = self._issue(mac, board, site, given, renew, keep=False)
            if keep:
                self._keep(node, mac, board, site, identity)
            return identity

    def _new_dev_eui(self, mac: str, keep: bool) -> bytes:
        """Return the next of the block that no node of the fleet has or has had."""
        block = self.dev_euis
        if block is None:
            return eui64(mac)
        numbers = (int(eui, 16) for eui in self.fleet.taken()["dev_eui"])
        last = max((n for n in numbers if 0 <= n - block.first < block.count), default=None)
        number = block.first if last is None else last + 1
        if number >= block.first + block.count:
            raise CitynodeError(
                f"all {block.count} DevEUIs of the block are given out", "give another block"
            )
        return number.to_bytes(8)

    def record(
        self,
        mac: str,
        passed: Sequence[Stage],
        failed: Stage | None = None,
        result: Result = Result.FAIL,
        detail: str | None = None,
        firmware: str | None = None,
        micropython: str | None = None,
    ) -> None:
        """Record which stages a board has passed, which one it has not, and what it runs."""
        with self.fleet.writing():
            node = self.node(mac)
            if node is None:
                return  # it did not get as far as an identity
            for stage in passed:
                self.fleet.stage(node, stage, Result.PASS)
            if failed is not None:
                self.fleet.stage(node, failed, result, detail)
            if firmware is not None or micropython is not None:
                self.fleet.versions(node, firmware, micropython)

    def node(self, mac: str) -> Node | None:
        """Return what the fleet knows of the board with this MAC."""
        return next(iter(self.fleet.nodes(Filter(where=(f"mac={mac}",)))), None)

    def _keep(
        self, node: Node | None, mac: str, board: Board, site: str, identity: Identity
    ) -> None:
        entry = replace(
            node.entry if node is not None else Entry(identity.node_id, mac),
            node_id=identity.node_id,
            dev_eui=identity.dev_eui.hex() if identity.dev_eui else None,
            join_eui=identity.join_eui.hex() if identity.join_eui else None,
            secrets=secrets_of(identity),
        )
        entry = replace(
            entry,
            board=board.id,
            site=entry.site or site,
            batch=self.batch or entry.batch,
        )
        if node is None:
            self.fleet.add([entry], "issue", checked=True)  # by _refuse_twins, a moment ago
            return
        if node.status == Status.RETIRED:
            self.fleet.restore([node])
        self.fleet.change(node, entry, "issue")

    def _refuse_twins(self, mac: str, identity: Identity) -> None:
        node = self.node(mac)
        entry = Entry(
            identity.node_id,
            mac,
            identity.dev_eui.hex() if identity.dev_eui else None,
            secrets=secrets_of(identity),
        )
        self.fleet.refuse_twins(entry, node.number if node is not None else None)

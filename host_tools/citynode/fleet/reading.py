"""What a fleet's file says: nodes, how far they are, their identities, and who did what."""

# ruff: noqa: S608 -- what is not ours is bound to names, never put into the text
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from citynode.errors import CitynodeError
from citynode.fleet import keys
from citynode.fleet.database import Database
from citynode.fleet.node import GIVEN, Entry, Measurement, Node, Step
from citynode.fleet.query import Filter, condition
from citynode.fleet.sealer import UNIQUE_KEYS, Sealer, identity_of
from citynode.identity import Identity

# What only one node may have; past ones, apart from node ids and MACs, count.
UNIQUE = ("node_id", "mac", "dev_eui", *UNIQUE_KEYS)

COLUMNS = ", ".join(GIVEN)
SEALED = "node_id, mac, dev_eui, secrets"  # what Sealer.open takes


class FleetReader:
    """An open fleet that is looked at; threads may share it. Every method raises CitynodeError."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._db = Database(path)
        self._now = now
        self._sealer: Sealer | None = None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def key_id(self) -> str:
        """What the fleet's key is called; no secret."""
        return self._meta("key")

    @property
    def more_columns(self) -> list[str]:
        """The columns of imports that we know nothing of, in their order."""
        return list(json.loads(self._meta("columns")))

    def count(self, wanted: Filter = Filter()) -> int:  # noqa: B008 -- frozen
        """Return how many nodes are meant."""
        where, values = condition(wanted, self.more_columns)
        return int(self._db.query(f"SELECT count(*) FROM node WHERE {where}", values)[0][0])

    def nodes(self, wanted: Filter = Filter(), limit: int | None = None) -> list[Node]:  # noqa: B008
        """Return the nodes that are meant, in the order of their ids, at most `limit`."""
        where, values = condition(wanted, self.more_columns)
        chosen = f"FROM node WHERE {where} ORDER BY node_id LIMIT :limit"
        values["limit"] = -1 if limit is None else limit
        rows = self._db.query(
            f"SELECT id, {COLUMNS}, extra, status, secrets IS NOT NULL AS sealed, created, changed "
            + chosen,
            values,
        )
        stages: dict[int, dict[str, Step]] = {}
        everyone = wanted.is_empty and limit is None
        for row in self._db.query(
            "SELECT node, stage, outcome, at, detail FROM stage"
            + ("" if everyone else f" WHERE node IN (SELECT id {chosen})"),
            () if everyone else values,
        ):
            stages.setdefault(row["node"], {})[row["stage"]] = Step(*row[2:])
        return [
            Node(
                row["id"],
                Entry(*(*row[1 : 1 + len(GIVEN)], json.loads(row["extra"]))),
                row["status"],
                bool(row["sealed"]),
                row["created"],
                row["changed"],
                stages.get(row["id"], {}),
            )
            for row in rows
        ]

    def chosen(self, wanted: Filter) -> list[Node]:
        """Return the nodes that are meant; raises CitynodeError if there is none for a name."""
        for name in wanted.names:
            if not self.count(Filter([name])):
                raise CitynodeError(f"no node is {name!r}", "see 'citynode fleet list'")
        found = self.nodes(wanted)
        if not found:
            raise CitynodeError("no node is meant by that", "see 'citynode fleet list'")
        return found

    def measurements(self, node: Node) -> list[Measurement]:
        """Return what the node's last self-test measured."""
        rows = self._db.query(
            "SELECT item, outcome, value, unit, low, high FROM measurement WHERE node = ? "
            "ORDER BY item",
            (node.number,),
        )
        return [Measurement(*row) for row in rows]

    def audit(
        self, node_id: str | None = None, limit: int | None = None
    ) -> list[dict[str, object]]:
        """Return who did what when, the newest first."""
        rows = self._db.query(
            "SELECT id, at, who, action, node, detail FROM audit WHERE :node IS NULL OR "
            "node = :node ORDER BY id DESC LIMIT :limit",
            {"node": node_id, "limit": -1 if limit is None else limit},
        )
        return [dict(row) for row in rows]

    def identity(self, mac: str) -> Identity | None:
        """Return the identity of the board with this MAC, if it has one."""
        for identity in self._identities("mac = :mac", {"mac": mac}).values():
            return identity
        return None

    def identities(self, wanted: Filter = Filter()) -> dict[str, Identity]:  # noqa: B008
        """Return the identities of the nodes that are meant, by node id."""
        return self._identities(*condition(wanted, self.more_columns))

    def _identities(self, where: str, values: Mapping[str, object]) -> dict[str, Identity]:
        rows = self._db.query(
            f"SELECT {SEALED}, join_eui FROM node WHERE {where} ORDER BY node_id",
            dict(values),
        )
        sealer = self.sealer if any(row["secrets"] for row in rows) else None
        return {row["node_id"]: identity_of(row, sealer) for row in rows}

    @property
    def sealer(self) -> Sealer:
        """What secrets are sealed with; asks for the key when it is first needed."""
        name = self.key_id
        if self._sealer is None or self._sealer.key_id != name:  # another process may renew it
            self._sealer = Sealer(keys.find_vault(name), self._meta("uid"), self._meta("marker"))
        return self._sealer

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Do all that is within or nothing of it."""
        with self._db.writing():
            yield

    def taken(self) -> dict[str, dict[str, tuple[str, bool]]]:
        """Return what is given out: by kind and value the node, and whether it is so no more."""
        found: dict[str, dict[str, tuple[str, bool]]] = {kind: {} for kind in UNIQUE}
        for row in self._db.query("SELECT node_id, mac FROM node"):
            found["node_id"][row[0]] = (row[0], False)
            if row[1] is not None:
                found["mac"][row[1]] = (row[0], False)
        for row in self._db.query(
            "SELECT kind, value, node_id, past FROM given_out JOIN node ON id = node"
        ):
            found[row[0]][row[1]] = (row[2], bool(row[3]))
        return found

    def marked(self, entry: Entry) -> dict[str, str]:
        """Return of an entry what only one node may have."""
        values = {"node_id": entry.node_id, "mac": entry.mac, "dev_eui": entry.dev_eui}
        found = {kind: value for kind, value in values.items() if value is not None}
        return found | (self.sealer.marks(entry) if entry.secrets else {})

    def _meta(self, key: str) -> str:
        return str(self._db.query("SELECT value FROM fleet WHERE key = ?", (key,))[0][0])

    def _at(self) -> str:
        return utc(self._now())


def utc(seconds: float) -> str:
    """Return a time as the fleet has it, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))

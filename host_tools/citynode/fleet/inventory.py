"""The inventory of a fleet: nodes, their secrets, their way over the bench, and who did what."""

# ruff: noqa: S608 -- what is not ours is bound to names, never put into the text
import getpass
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.fleet import keys
from citynode.fleet.database import create
from citynode.fleet.node import GIVEN, Entry, Measurement, Node, Result, Stage
from citynode.fleet.reading import COLUMNS, SEALED, FleetReader, utc
from citynode.fleet.sealer import UNIQUE_KEYS, Sealer

_FOLLOWS = f"""
    UPDATE node SET changed = :at, status = CASE
      WHEN status = 'retired' THEN 'retired'
      WHEN EXISTS (SELECT 1 FROM stage WHERE node = id AND outcome <> 'PASS') THEN 'failed'
      WHEN (SELECT count(*) FROM stage WHERE node = id) = {len(Stage)} THEN 'ready'
      WHEN EXISTS (SELECT 1 FROM stage WHERE node = id) THEN 'open'
      ELSE 'planned' END
    WHERE id = :id
"""
_INSERT = f"""
    INSERT INTO node (id, {COLUMNS}, extra, secrets, created, changed)
    VALUES ({", ".join("?" * (len(GIVEN) + 5))})
"""


_JSON = json.JSONEncoder(ensure_ascii=False).encode


def os_user() -> str:
    """Return the name of the person at work, also behind sudo."""
    try:
        user = getpass.getuser() if os.name != "posix" else _posix_user()
    except (KeyError, OSError, ImportError):
        user = "unknown"
    behind = os.environ.get("SUDO_USER")
    return f"{behind} (as {user})" if behind and behind != user else user


def _posix_user() -> str:
    import pwd  # not on Windows

    # Not getpass: the environment says what it likes.
    return pwd.getpwuid(os.getuid()).pw_name


class Fleet(FleetReader):
    """An open fleet; threads may share it. Every change is in the audit trail, by `who`."""

    def __init__(
        self, path: Path, *, now: Callable[[], float] = time.time, who: str | None = None
    ) -> None:
        super().__init__(path, now=now)
        self._who = who or os_user()

    @staticmethod
    def init(
        path: Path,
        place: keys.Place | None = None,
        *,
        now: Callable[[], float] = time.time,
        who: str | None = None,
    ) -> str:
        """Make an empty fleet with a new key; returns where the key is."""
        if path.exists():  # before a key is made that nobody needs
            raise CitynodeError(f"{path} is there already", "give --fleet another file")
        vault, where = keys.first_vault(place)

        def fill(sql: sqlite3.Connection) -> None:
            uid = secrets.token_hex(8)
            marker = Sealer.new_marker(vault, uid)
            first = {"uid": uid, "key": vault.key_id, "marker": marker, "columns": "[]"}
            sql.executemany("INSERT INTO fleet VALUES (?, ?)", first.items())
            sql.execute(
                "INSERT INTO audit (at, who, action) VALUES (?, ?, 'init')",
                (utc(now()), who or os_user()),
            )

        create(path, fill)
        return where

    def refuse_twins(self, entry: Entry, number: int | None = None) -> None:
        """Raise CitynodeError if another node has, or has had, what only one may have."""
        for kind, value in self.marked(entry).items():
            rows = self._db.query(
                f"SELECT node_id FROM node WHERE {kind} = ? AND id IS NOT ?"
                if kind in ("node_id", "mac")
                else "SELECT node_id FROM given_out JOIN node ON id = node "
                f"WHERE kind = '{kind}' AND value = ? AND node IS NOT ?",
                (value, number),
            )
            for row in rows:
                raise CitynodeError(
                    f"the node {row['node_id']} has the same {kind}",
                    "an identity is for one board; take it out",
                )

    def add(self, entries: Sequence[Entry], action: str = "add", *, checked: bool = False) -> None:
        """Add nodes, all or none; `checked` if they were compared with `taken` since `writing`."""
        with self.writing():
            for entry in () if checked else entries:
                self.refuse_twins(entry)
            self._learn_columns(entries)
            at = self._at()
            sealer = self.sealer if any(each.secrets for each in entries) else None
            first = self._db.query("SELECT coalesce(max(id), 0) + 1 FROM node")[0][0]
            numbered = list(enumerate(entries, first))
            self._db.run_many(
                _INSERT,
                [
                    (number, *_given(each), _extra(each), _sealed(each, sealer), at, at)
                    for number, each in numbered
                ],
            )
            self._db.run_many(
                "INSERT INTO given_out (kind, value, node) VALUES (?, ?, ?)",
                [row for number, each in numbered for row in _given_out(number, each, sealer)],
            )
            self._db.run_many(
                "INSERT INTO audit (at, who, action, node) VALUES (?, ?, ?, ?)",
                [(at, self._who, action, each.node_id) for each in entries],
            )

    def _give_out(self, number: int, entry: Entry) -> None:
        """Record what a node has now; what it had before is past, and stays its own."""
        sealer = self.sealer if entry.secrets else None
        for kind, value, _ in _given_out(number, entry, sealer):
            self._db.run(
                "UPDATE given_out SET past = 1 WHERE node = ? AND kind = ?", (number, kind)
            )
            self._db.run(
                "INSERT INTO given_out (kind, value, node) VALUES (?, ?, ?) "
                "ON CONFLICT DO UPDATE SET past = 0",
                (kind, value, number),
            )

    def change(self, node: Node, entry: Entry, action: str = "change") -> bool:
        """Replace what is known of a node; secrets that the entry does not name stay.

        Returns whether anything was another.
        """
        with self.writing():
            kept = self._kept(node)
            both = replace(entry, secrets={**kept, **entry.secrets})
            differing = [key for key in GIVEN if getattr(entry, key) != getattr(node.entry, key)]
            if entry.extra != node.entry.extra:
                differing.append("extra")
            if both.secrets != kept:
                differing.append("secrets")
            if not differing:
                return False
            self.refuse_twins(entry, node.number)
            self._learn_columns([entry])
            self._db.run(
                f"UPDATE node SET {', '.join(f'{key} = ?' for key in GIVEN)}, extra = ?, "
                "secrets = ?, changed = ? WHERE id = ?",
                (
                    *_given(both),
                    _extra(both),
                    _sealed(both, self.sealer if both.secrets else None),
                    self._at(),
                    node.number,
                ),
            )
            self._give_out(node.number, both)
            self.note(action, entry.node_id, ", ".join(differing))
            return True

    def _kept(self, node: Node) -> dict[str, str]:
        row = self._db.query(f"SELECT {SEALED} FROM node WHERE id = ?", (node.number,))[0]
        return self.sealer.open(row) if row["secrets"] is not None else {}

    def stage(self, node: Node, stage: Stage, outcome: Result, detail: str | None = None) -> None:
        """Record how a stage ended; the last try counts."""
        self.stages([node], stage, outcome, detail)

    def stages(
        self, nodes: Iterable[Node], stage: Stage, outcome: Result, detail: str | None = None
    ) -> None:
        """Record how a stage ended for many nodes, all or none."""
        at = self._at()
        with self.writing():
            for node in nodes:
                self._db.run(
                    "INSERT OR REPLACE INTO stage VALUES (?, ?, ?, ?, ?)",
                    (node.number, stage.value, outcome.value, at, detail),
                )
                self._db.run(_FOLLOWS, {"at": at, "id": node.number})
                self.note(stage.value, node.node_id, outcome.value)

    def begin(self, node: Node, void: Sequence[Stage]) -> None:
        """Record that a board is being written: `void` are the stages that it has to pass again.

        Until the stage `flash` has passed it is ABORTED, which is what it is if nobody comes back.
        """
        with self.writing():
            for stage in void:
                self._db.run(
                    "DELETE FROM stage WHERE node = ? AND stage = ?", (node.number, stage.value)
                )
            self.stage(node, Stage.FLASH, Result.ABORTED, "writing")

    def measured(self, node: Node, items: Sequence[Measurement]) -> None:
        """Replace what the self-test measured, and record how that stage ended."""
        bad = [each for each in items if each.outcome != Result.PASS]
        at = self._at()
        with self.writing():
            self._db.run("DELETE FROM measurement WHERE node = ?", (node.number,))
            self._db.run_many(
                "INSERT INTO measurement VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        node.number,
                        each.item,
                        each.outcome,
                        each.value,
                        each.unit,
                        each.low,
                        each.high,
                        at,
                    )
                    for each in items
                ],
            )
            outcome = Result(bad[0].outcome) if bad else Result.PASS
            self.stage(node, Stage.SELF_TEST, outcome, ", ".join(each.item for each in bad) or None)

    def versions(self, node: Node, firmware: str | None, micropython: str | None = None) -> None:
        """Record what runs on a node; None leaves what is known."""
        with self.writing():
            self._db.run(
                "UPDATE node SET firmware = coalesce(?, firmware), "
                "micropython = coalesce(?, micropython), changed = ? WHERE id = ?",
                (firmware, micropython, self._at(), node.number),
            )

    def retire(
        self, nodes: Sequence[Node], reason: str | None = None, *, forget: bool = False
    ) -> None:
        """Take nodes out of service; nobody gets their identity again, also if it is forgotten."""
        with self.writing():
            for node in nodes:
                self._db.run(
                    "UPDATE node SET status = 'retired', changed = ? WHERE id = ?",
                    (self._at(), node.number),
                )
                if forget:
                    self._db.run("UPDATE node SET secrets = NULL WHERE id = ?", (node.number,))
                self.note("forget" if forget else "retire", node.node_id, reason)

    def restore(self, nodes: Sequence[Node]) -> None:
        """Take retired nodes into service again."""
        with self.writing():
            for node in nodes:
                self._db.run("UPDATE node SET status = 'planned' WHERE id = ?", (node.number,))
                self._db.run(_FOLLOWS, {"at": self._at(), "id": node.number})
                self.note("restore", node.node_id)

    def rekey(self, nodes: Sequence[Node]) -> None:
        """Give nodes new keys; until they are provisioned again they have the old ones.

        These are the AppKey, and others that are a node's own, where it has them.
        """
        at = self._at()
        with self.writing():
            sealer = self.sealer
            for node in nodes:
                kept = self._kept(node)
                kept |= {kind: secrets.token_hex(16) for kind in UNIQUE_KEYS if kind in kept}
                kept["app_key"] = secrets.token_hex(16)
                both = replace(node.entry, secrets=kept)
                self._db.run(
                    "UPDATE node SET secrets = ? WHERE id = ?", (sealer.seal(both), node.number)
                )
                self._give_out(node.number, both)
                self._db.run(
                    "DELETE FROM stage WHERE node = ? AND stage = ?",
                    (node.number, Stage.IDENTITY.value),
                )
                self._db.run(_FOLLOWS, {"at": at, "id": node.number})
                self.note("rekey", node.node_id)

    def new_key(self, place: keys.Place | None = None) -> str:
        """Encrypt everything with a new key; returns where that is. The old one stays there too."""
        with self.writing():
            old = self.sealer
            vault, where = keys.next_vault(place)
            if vault.key_id == old.key_id:
                raise CitynodeError(f"the key in {where} is the old one", "give a new one")
            new = old.renewed(vault)
            rows = self._db.query(f"SELECT {SEALED}, id FROM node WHERE secrets IS NOT NULL")
            self._db.run_many(
                "UPDATE node SET secrets = ? WHERE id = ?",
                [
                    (new.seal(replace(Entry(*row[:3]), secrets=old.open(row))), row["id"])
                    for row in rows
                ],
            )
            for key, value in (("key", new.key_id), ("marker", new.sealed_marker)):
                self._db.run("UPDATE fleet SET value = ? WHERE key = ?", (value, key))
            self.note("new-key", None, f"{old.key_id} to {new.key_id}")
        return where

    def note(self, action: str, node_id: str | None = None, detail: str | None = None) -> None:
        """Add a line to the audit trail; never a secret."""
        self._db.run(
            "INSERT INTO audit (at, who, action, node, detail) VALUES (?, ?, ?, ?, ?)",
            (self._at(), self._who, action, node_id, detail or None),
        )

    def backup(self, target: Path) -> None:
        """Copy the fleet to a new file; the key is not in it."""
        self._db.backup(target)

    def _learn_columns(self, entries: Iterable[Entry]) -> None:
        known = self.more_columns
        new = dict.fromkeys(key for each in entries for key in each.extra if key not in known)
        if new:
            self._db.run(
                "UPDATE fleet SET value = ? WHERE key = 'columns'", (json.dumps([*known, *new]),)
            )


def _given(entry: Entry) -> tuple[object, ...]:
    return tuple(getattr(entry, key) for key in GIVEN)


def _extra(entry: Entry) -> str:
    return _JSON(dict(entry.extra)) if entry.extra else "{}"


def _sealed(entry: Entry, sealer: Sealer | None) -> bytes | None:
    return sealer.seal(entry) if sealer is not None and entry.secrets else None


def _given_out(number: int, entry: Entry, sealer: Sealer | None) -> list[tuple[str, str, int]]:
    rows = [("dev_eui", entry.dev_eui, number)] if entry.dev_eui is not None else []
    if sealer is not None:
        rows += [(kind, value, number) for kind, value in sealer.marks(entry).items()]
    return rows

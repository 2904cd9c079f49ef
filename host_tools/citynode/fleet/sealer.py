"""The secrets of nodes as they are kept: sealed for their node, and marked to be told apart."""

import json
import secrets
import sqlite3
from typing import Self

from citynode.errors import CitynodeError
from citynode.fleet.node import Entry
from citynode.fleet.vault import KEY_SIZE, SealError, Vault, mark
from citynode.identity import UNIQUE, Identity, parse

UNIQUE_KEYS = tuple(key for key in UNIQUE if key not in ("node_id", "dev_eui"))


class Sealer:
    """Seals the secrets of nodes so that they open in this fleet, for this node, alone.

    Marks are made with a key of their own, so that they outlive a change of the fleet's key.
    Raises CitynodeError if the marker was not sealed for this fleet.
    """

    def __init__(self, vault: Vault, uid: str, sealed_marker: str) -> None:
        self._vault = vault
        self._uid = uid
        self.sealed_marker = sealed_marker
        self.key_id = vault.key_id
        try:
            self._marker = vault.open(bytes.fromhex(sealed_marker), _owner(uid))
        except (SealError, ValueError):
            raise CitynodeError("the fleet's file was changed", "go back to a backup") from None

    @staticmethod
    def new_marker(vault: Vault, uid: str) -> str:
        """Return a new key for marks, sealed."""
        return vault.seal(secrets.token_bytes(KEY_SIZE), _owner(uid)).hex()

    def renewed(self, vault: Vault) -> Self:
        """Return the same with another key."""
        marker = vault.seal(self._marker, _owner(self._uid)).hex()
        return type(self)(vault, self._uid, marker)

    def marks(self, entry: Entry) -> dict[str, str]:
        """Return what the keys of an entry that it alone may have are told from others by."""
        return {
            kind: mark(self._marker, bytes.fromhex(entry.secrets[kind])).hex()
            for kind in UNIQUE_KEYS
            if kind in entry.secrets
        }

    def seal(self, entry: Entry) -> bytes:
        """Return the secrets of an entry sealed."""
        owner = _owner(self._uid, entry.node_id, entry.mac, entry.dev_eui)
        return self._vault.seal(json.dumps(dict(entry.secrets)).encode(), owner)

    def open(self, row: sqlite3.Row) -> dict[str, str]:
        """Return the secrets in a row of node_id, mac, dev_eui, secrets; raises CitynodeError."""
        node_id, mac, dev_eui, sealed = row[:4]
        try:
            opened = self._vault.open(sealed, _owner(self._uid, node_id, mac, dev_eui))
        except SealError:
            raise CitynodeError(
                f"the secrets of {node_id} are not its own: somebody has changed the fleet's file",
                "go back to a backup",
            ) from None
        return dict(json.loads(opened))


def identity_of(row: sqlite3.Row, sealer: Sealer | None) -> Identity:
    """Return the identity in a row of node_id, mac, dev_eui, secrets, join_eui."""
    kept = sealer.open(row) if sealer is not None and row["secrets"] is not None else {}
    euis = {key: row[key] for key in ("dev_eui", "join_eui") if row[key]}
    values = parse({"node_id": row["node_id"], **euis, **kept}, f"the fleet's {row['node_id']}")
    return Identity(**values)  # type: ignore[arg-type]


def secrets_of(identity: Identity) -> dict[str, str]:
    """Return of an identity what has to be sealed."""
    open_keys = ("node_id", "dev_eui", "join_eui")
    return {key: value for key, value in identity.to_json().items() if key not in open_keys}


def _owner(*parts: str | None) -> bytes:
    return "\0".join(part or "" for part in parts).encode()

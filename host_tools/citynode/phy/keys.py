"""The keys that frames are read with: from a file only we can read, the environment, the store."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.identity import Identity, load_secret

_ENVIRONMENT = {
    "app_key": "CITYNODE_APP_KEY",
    "nwk_skey": "CITYNODE_NWK_SKEY",
    "app_skey": "CITYNODE_APP_SKEY",
}
_SIZES = {"dev_eui": 8, "dev_addr": 4, "app_key": 16, "nwk_skey": 16, "app_skey": 16}


@dataclass(frozen=True)
class Device:
    """A node's AppKey; `dev_eui` None stands for any node."""

    name: str | None
    dev_eui: bytes | None
    app_key: bytes = field(repr=False)


@dataclass
class Session:
    """The keys of a session; `dev_addr` None stands for any address.

    `f_cnt_high` are the upper halves of the counters that were seen last, up and down.
    """

    name: str | None
    dev_addr: int | None
    nwk_skey: bytes | None = field(repr=False)
    app_skey: bytes | None = field(repr=False)
    f_cnt_high: dict[bool, int] = field(default_factory=dict)


@dataclass
class KeyRing:
    """All keys that are known."""

    devices: list[Device] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)

    def add(self, values: Mapping[str, object], where: str) -> None:
        """Take the keys of one node; raises CitynodeError that never repeats a value."""
        name = values.get("node_id")
        if name is not None and not isinstance(name, str):
            raise CitynodeError(f"{where}: node_id is no text", "correct it")
        keys = {key: _hexadecimal(values[key], key, where) for key in _SIZES if key in values}
        if unknown := [key for key in values if key not in _SIZES and key != "node_id"]:
            raise CitynodeError(
                f"{where}: unknown key {unknown[0][:40]!r}",
                f"known are node_id, {', '.join(_SIZES)}",
            )
        if "app_key" in keys:
            self.devices.append(Device(name, keys.get("dev_eui"), keys["app_key"]))
        if "nwk_skey" in keys or "app_skey" in keys:
            address = keys.get("dev_addr")
            number = None if address is None else int.from_bytes(address)
            self.sessions.append(Session(name, number, keys.get("nwk_skey"), keys.get("app_skey")))


def _hexadecimal(value: object, key: str, where: str) -> bytes:
    try:
        if not isinstance(value, str):
            raise ValueError
        raw = bytes.fromhex(value.replace(":", "").replace("-", ""))
        if len(raw) != _SIZES[key]:
            raise ValueError
    except ValueError:
        wanted = f"{2 * _SIZES[key]} hex digits"
        raise CitynodeError(f"{where}: {key} is not {wanted}", "correct it") from None
    return raw


def from_file(path: Path) -> KeyRing:
    """Read a key file, TOML or JSON: the keys of one node, or a `node` array of such tables.

    Raises CitynodeError (cannot be read, open to others, wrong).
    """
    values = dict(load_secret(path, "--keys"))
    nodes = values.pop("node", [])
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise CitynodeError(f"{path}: node is no array of tables", "write [[node]] before each")
    ring = KeyRing()
    if values:
        ring.add(values, str(path))
    for number, node in enumerate(nodes, 1):
        ring.add(node, f"{path}, node {number}")
    if not ring.devices and not ring.sessions:
        raise CitynodeError(
            f"{path} holds no key", "write app_key, or nwk_skey and app_skey, in hex"
        )
    return ring


def from_environment(environ: Mapping[str, str] = os.environ) -> KeyRing:
    """Return the keys of `CITYNODE_APP_KEY` and so on; they are tried on every frame."""
    ring = KeyRing()
    given = {key: environ[name] for key, name in _ENVIRONMENT.items() if environ.get(name)}
    ring.add(given, "environment")
    return ring


def from_identities(identities: Iterable[Identity]) -> KeyRing:
    """Return the AppKeys of nodes that were provisioned."""
    return KeyRing(
        [
            Device(each.node_id, each.dev_eui, each.app_key)
            for each in identities
            if each.app_key is not None
        ]
    )

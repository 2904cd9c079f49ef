"""Identities: who a node is and what it may use. Secrets stay in files that only we can read."""

import contextlib
import json
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path

import filelock

from citynode.boards import Board
from citynode.errors import CitynodeError
from citynode.image.nvs import Kind, Value
from citynode.state import state_dir, write_secret

NAMESPACE = "citynode"
VERSION = 1
# Whom a node joins where nothing else is given: networks of one's own do not look at it.
NO_JOIN_EUI = bytes(8)

_GIVEN_OUT = ".dev-euis"  # those of blocks, in the store's folder
_MAC = re.compile(r"[0-9a-f]{12}")
_NODE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MAX_FILE = 64 << 10
_WAIT_S = 20.0

# Settings that are the same for a whole site may come from the environment instead of a file.
_ENVIRONMENT = {
    "wifi_ssid": "CITYNODE_WIFI_SSID",
    "wifi_psk": "CITYNODE_WIFI_PSK",
    "mqtt_user": "CITYNODE_MQTT_USER",
    "mqtt_pass": "CITYNODE_MQTT_PASS",
}
# What one board alone may have.
UNIQUE = ("node_id", "dev_eui", "app_key", "command_key")


@dataclass(frozen=True)
class Identity:
    """What is in a node's NVS; None where it is not used. Only `node_id` shows in a repr."""

    node_id: str
    dev_eui: bytes | None = field(default=None, repr=False)
    join_eui: bytes | None = field(default=None, repr=False)
    app_key: bytes | None = field(default=None, repr=False)
    wifi_ssid: str | None = field(default=None, repr=False)
    wifi_psk: str | None = field(default=None, repr=False)
    mqtt_user: str | None = field(default=None, repr=False)
    mqtt_pass: str | None = field(default=None, repr=False)
    update_key: bytes | None = field(default=None, repr=False)
    command_key: bytes | None = field(default=None, repr=False)

    def nvs(self) -> dict[str, tuple[Kind, Value]]:
        """Return keys, types and values of the NVS namespace."""
        values: dict[str, tuple[Kind, Value]] = {"ver": (Kind.I32, VERSION)}
        for key in _KEYS:
            value = getattr(self, key)
            if value is not None:
                raw = value.encode() if isinstance(value, str) else value
                values[key] = (Kind.BLOB, raw)
        return values

    def to_json(self) -> dict[str, str]:
        """Return what the identity's file holds; bytes as hex."""
        return {
            key: value.hex() if isinstance(value, bytes) else value
            for key in _KEYS
            if (value := getattr(self, key)) is not None
        }


_KEYS = tuple(each.name for each in fields(Identity))


def _hexadecimal(size: int) -> Callable[[str], bytes]:
    def parse(text: str) -> bytes:
        raw = bytes.fromhex(text.replace(":", "").replace("-", ""))
        if len(raw) != size:
            raise ValueError
        return raw

    return parse


def _text(longest: int, shortest: int = 0) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not shortest <= len(text.encode()) <= longest or "\0" in text:
            raise ValueError
        return text

    return parse


def _node_id(text: str) -> str:
    if not _NODE_ID.fullmatch(text):
        raise ValueError
    return text


# Key: how it is read, and what it has to be.
_FORMS: Mapping[str, tuple[Callable[[str], str | bytes], str]] = {
    "node_id": (_node_id, "small letters, digits and -, at most 32"),
    "dev_eui": (_hexadecimal(8), "16 hex digits"),
    "join_eui": (_hexadecimal(8), "16 hex digits"),
    "app_key": (_hexadecimal(16), "32 hex digits"),
    "wifi_ssid": (_text(32, 1), "1 to 32 bytes"),
    "wifi_psk": (_text(63), "8 to 63 characters, or empty for an open network"),
    "mqtt_user": (_text(64), "at most 64 bytes"),
    "mqtt_pass": (_text(128), "at most 128 bytes"),
    "update_key": (_hexadecimal(32), "64 hex digits"),
    "command_key": (_hexadecimal(16), "32 hex digits"),
}


def parse(values: Mapping[str, object], where: str) -> dict[str, str | bytes]:
    """Check the keys of an identity file; raises CitynodeError that never repeats a value."""
    checked: dict[str, str | bytes] = {}
    for number, (key, value) in enumerate(values.items(), 1):
        if key not in _FORMS:
            near = get_close_matches(key, _FORMS, 1)
            # What is not even like a key may be a secret in the wrong place.
            what = f"unknown key {key[:40]!r}" if near else f"key number {number} is not known"
            hint = f"did you mean {near[0]}? " if near else ""
            raise CitynodeError(f"{where}: {what}", f"{hint}known are {', '.join(_FORMS)}")
        read, wanted = _FORMS[key]
        try:
            if not isinstance(value, str):
                raise ValueError
            result = read(value)
            if key == "wifi_psk" and 0 < len(value) < 8:
                raise ValueError
        except ValueError:
            raise CitynodeError(f"{where}: {key} is not {wanted}", "correct it") from None
        checked[key] = result
    return checked


def load_secret(path: Path, option: str) -> Mapping[str, object]:
    """Read a TOML or JSON file that nobody else may read; `option` is what named it.

    Raises CitynodeError (cannot be read, open to others, wrong) that never repeats a value.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise CitynodeError(
            f"cannot read {path}: {error.strerror}", f"give {option} a readable file"
        ) from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CitynodeError(f"others can read {path}, which has secrets", f"chmod 600 {path}")
    if len(raw) > _MAX_FILE:
        raise CitynodeError(f"{path} is too large", f"give {option} another file")
    try:
        text = raw.decode("utf-8")
        values = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError):
        # The parser's own message may quote the line, and so a secret.
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise CitynodeError(f"{path} is not valid {kind}", "correct the file") from None
    if not isinstance(values, dict):
        raise CitynodeError(f"{path} holds no keys", 'write node_id = "…" and so on')
    return values


def read_file(path: Path) -> dict[str, str | bytes]:
    """Read an identity file; raises CitynodeError as `load_secret` and `parse` do."""
    return parse(load_secret(path, "--identity"), str(path))


def settings(path: Path | None, environ: Mapping[str, str] = os.environ) -> dict[str, str | bytes]:
    """Return what the identity file says, and for what it does not say the environment."""
    given = {key: environ[name] for key, name in _ENVIRONMENT.items() if environ.get(name)}
    return {**parse(given, "environment"), **(read_file(path) if path is not None else {})}


@dataclass(frozen=True)
class EuiBlock:
    """Consecutive EUI-64s that one may give out: `count` of them from `first` on."""

    first: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "EuiBlock":
        """Read FIRST/COUNT, 16 hex digits and a decimal number; raises CitynodeError."""
        first, _, count = text.partition("/")
        try:
            block = cls(int.from_bytes(_hexadecimal(8)(first)), int(count))
        except ValueError:
            block = cls(0, 0)
        if block.count < 1 or block.first + block.count > 1 << 64:
            raise CitynodeError(
                "the DevEUI block is not FIRST/COUNT",
                "give 16 hex digits and how many there are, as 70B3D57ED0001000/256",
            )
        return block

    def __contains__(self, eui: bytes | None) -> bool:
        return eui is not None and 0 <= int.from_bytes(eui) - self.first < self.count


class Store:
    """The identities that were given out, one file per MAC, in a folder only we can read.

    DevEUIs are those of the MACs, or of the block `dev_euis`, each once, also where the board that
    had it has another one now.
    """

    dev_euis: EuiBlock | None = None

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or state_dir() / "nodes"

    def find(self, mac: str) -> Identity | None:
        """Return the identity of the board with this MAC (12 hex digits), if it has one."""
        path = self._path(mac)
        if not path.is_file():
            return None
        return Identity(**read_file(path))  # type: ignore[arg-type]

    def all(self) -> dict[str, Identity]:
        """Return every identity that was given out, by MAC, in the order of the node ids."""
        macs = [path.stem for path in self.folder.glob("*.json") if _MAC.fullmatch(path.stem)]
        found = {mac: identity for mac in macs if (identity := self.find(mac)) is not None}
        return dict(sorted(found.items(), key=lambda item: item[1].node_id))

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

        The file is complete on disk before this returns. Raises CitynodeError when another board
        has that node id, DevEUI or AppKey, or when this one has another and `renew` is not set.
        """
        with self._alone() if keep else contextlib.nullcontext():
            return self._issue(mac, board, site, given, renew, keep)

    def _issue(
        self,
        mac: str,
        board: Board,
        site: str,
        given: Mapping[str, str | bytes],
        renew: bool,
        keep: bool,
    ) -> Identity:
        known = self.find(mac)
        if known is not None and not renew:
            for key in UNIQUE:
                if key in given and getattr(known, key) not in (None, given[key]):
                    raise CitynodeError(
                        f"the board {mac} is {known.node_id} and has another {key}",
                        "leave it out of the identity file, or give --renew-identity",
                    )
        base = known or Identity("")
        if known is None or renew:  # what others may have as well stays
            base = replace(
                base, node_id=f"{site}-{mac[6:]}", dev_eui=None, app_key=None, command_key=None
            )
        identity = replace(base, **given)  # type: ignore[arg-type]
        if board.radio is not None:
            identity = replace(
                identity,
                dev_eui=identity.dev_eui or self._new_dev_eui(mac, keep),
                join_eui=identity.join_eui or NO_JOIN_EUI,
                app_key=identity.app_key or secrets.token_bytes(16),
                command_key=identity.command_key or secrets.token_bytes(16),
            )
        self._refuse_twins(mac, identity)
        if keep and identity != known:
            self._write(self._path(mac), identity)
        return identity

    def _new_dev_eui(self, mac: str, keep: bool) -> bytes:
        block = self.dev_euis
        if block is None:
            return eui64(mac)
        path = self.folder / _GIVEN_OUT
        try:
            given_out = json.loads(path.read_bytes()) if path.is_file() else []
            numbers = {int(eui, 16) for eui in given_out}
        except (OSError, ValueError, TypeError):
            raise CitynodeError(
                f"{path} cannot be read", "bring it back from a backup: it has the DevEUIs in use"
            ) from None
        numbers |= {int.from_bytes(each.dev_eui) for each in self.all().values() if each.dev_eui}
        last = max((n for n in numbers if 0 <= n - block.first < block.count), default=None)
        number = block.first if last is None else last + 1
        if number >= block.first + block.count:
            raise CitynodeError(
                f"all {block.count} DevEUIs of the block are given out", "give another block"
            )
        if keep:
            known = sorted({*given_out, f"{number:016x}"})
            try:
                write_secret(path, json.dumps(known).encode())
            except OSError as error:
                raise self._unwritable(error) from None
        return number.to_bytes(8)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from giving out the same identity at the same time."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if os.name == "posix":
                self.folder.chmod(0o700)
            lock = filelock.FileLock(self.folder / ".lock", timeout=_WAIT_S)
            lock.acquire()
        except filelock.Timeout:
            raise CitynodeError(
                f"another citynode holds {self.folder}", "wait for it, then run this again"
            ) from None
        except OSError as error:
            raise self._unwritable(error) from None
        try:
            yield
        finally:
            lock.release()

    def _unwritable(self, error: OSError) -> CitynodeError:
        return CitynodeError(
            f"cannot write {self.folder}: {os.strerror(error.errno or 0)}",
            "make the folder writable, or set CITYNODE_STATE to one that is",
        )

    def _refuse_twins(self, mac: str, identity: Identity) -> None:
        for path in sorted(self.folder.glob("*.json")):
            if path.stem == mac or not _MAC.fullmatch(path.stem):
                continue
            other = self.find(path.stem)
            for key in UNIQUE:
                value = getattr(identity, key)
                if other is not None and value is not None and value == getattr(other, key):
                    raise CitynodeError(
                        f"the board {path.stem} has the same {key}",
                        "an identity is for one board; take it out of the identity file",
                    )

    def _path(self, mac: str) -> Path:
        if not _MAC.fullmatch(mac):
            raise ValueError(mac)
        return self.folder / f"{mac}.json"

    def _write(self, path: Path, identity: Identity) -> None:
        try:
            for half in self.folder.glob(f".{path.name}.*"):
                half.unlink()  # of a run that was killed
            write_secret(path, json.dumps(identity.to_json(), indent=1).encode())
        except OSError as error:
            raise self._unwritable(error) from None


def eui64(mac: str) -> bytes:
    """Return the EUI-64 of a 48-bit MAC (12 hex digits): ff fe in its middle (IEEE guidelines)."""
    raw = bytes.fromhex(mac)
    return raw[:3] + b"\xff\xfe" + raw[3:]

"""Where a fleet's key is: the environment, the keyring of the OS, or a file only we can read."""

import base64
import binascii
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.fleet.vault import KEY_SIZE, Vault, key_name
from citynode.state import state_dir, write_secret

VARIABLE = "CITYNODE_KEY"
NEW_VARIABLE = "CITYNODE_NEW_KEY"
FILE_VARIABLE = "CITYNODE_KEY_FILE"
SERVICE = "citynode-fleet"  # under this name keyrings show it

_MAX_FILE = 4096
_TRUSTED = 1.0  # keyring's own measure: what is below keeps passwords as plain text, or nowhere


class Place(StrEnum):
    """Where a key goes."""

    KEYRING = "keyring"
    FILE = "file"
    ENV = "env"


def first_vault(place: Place | None, environ: Mapping[str, str] = os.environ) -> tuple[Vault, str]:
    """Return a vault for a new fleet, whose key is in its place already, and where that is.

    Without a place: CITYNODE_KEY or CITYNODE_KEY_FILE if one is set, else the OS keyring if there
    is one, else a file. What these two have already is used. Raises CitynodeError.
    """
    if place is None and environ.get(VARIABLE):
        place = Place.ENV
    path = environ.get(FILE_VARIABLE)
    if path and place in (None, Place.FILE):
        if Path(path).exists():
            return Vault(_read(Path(path))), path
        return _made(Place.FILE, Path(path))
    return _from(VARIABLE, environ) if place is Place.ENV else _made(place)


def next_vault(place: Place | None, environ: Mapping[str, str] = os.environ) -> tuple[Vault, str]:
    """Return a vault with another key, and where that is; what opens the fleet now is left alone.

    Without a place: CITYNODE_NEW_KEY if it is set, else as `first_vault`. Raises CitynodeError.
    """
    if place is Place.ENV or (place is None and environ.get(NEW_VARIABLE)):
        return _from(NEW_VARIABLE, environ)
    return _made(place)


def _from(variable: str, environ: Mapping[str, str]) -> tuple[Vault, str]:
    if not environ.get(variable):
        raise CitynodeError(f"{variable} is not set", f"set it to what '{_HOW}' prints")
    return Vault(_parse(environ[variable], variable)), variable


def _made(place: Place | None, path: Path | None = None) -> tuple[Vault, str]:
    if place is None:
        place = Place.KEYRING if _has_keyring() else Place.FILE
    key = secrets.token_bytes(KEY_SIZE)
    name = key_name(key)
    if place is Place.KEYRING:
        _to_keyring(name, key)
        return Vault(key), f"the OS keyring, as {SERVICE} {name}"
    path = path or _file_of(name)
    _write(path, key)
    return Vault(key), str(path)


def find_vault(name: str, environ: Mapping[str, str] = os.environ) -> Vault:
    """Return the vault whose key has this name; raises CitynodeError that says where it looked.

    That is CITYNODE_KEY, CITYNODE_KEY_FILE, the file in citynode's folder, and the OS keyring.
    """
    others = []
    for where, read in _places(name, environ):
        key = read()
        if key is None:
            continue
        vault = Vault(key)
        if vault.key_id == name:
            return vault
        others.append(f"the key in {where} is {vault.key_id}")
    what = "; ".join(others) or f"it is neither in {_file_of(name)} nor in an OS keyring"
    raise CitynodeError(
        f"the fleet's key {name} is not there: {what}",
        f"set {VARIABLE} or {FILE_VARIABLE} to your copy of it",
    )


def _places(
    name: str, environ: Mapping[str, str]
) -> Iterator[tuple[str, Callable[[], bytes | None]]]:
    if text := environ.get(VARIABLE):
        yield VARIABLE, lambda: _parse(text, VARIABLE)
    if given := environ.get(FILE_VARIABLE):
        yield given, lambda: _read(Path(given))
    path = _file_of(name)
    if path.exists():
        yield str(path), lambda: _read(path)
    if _has_keyring():
        yield "the OS keyring", lambda: _from_keyring(name)


_HOW = "python3 -c 'import secrets; print(secrets.token_hex(32))'"


def _parse(text: str, where: str) -> bytes:
    """Read 32 bytes as hex or base64; the text itself is never told."""
    text = text.strip()
    try:
        key = (
            bytes.fromhex(text)
            if re.fullmatch(r"[0-9a-fA-F]{64}", text)
            else base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        )
        if len(key) != KEY_SIZE:
            raise ValueError
    except (binascii.Error, ValueError):
        raise CitynodeError(
            f"{where} holds no key: 64 hex digits, or 32 bytes as base64", f"'{_HOW}' makes one"
        ) from None
    return key


def _file_of(name: str) -> Path:
    return state_dir() / "keys" / f"{name}.key"


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_MAX_FILE)
    except OSError as error:
        raise CitynodeError(
            f"cannot read the fleet's key in {path}: {error.strerror}",
            f"give {FILE_VARIABLE} a readable file",
        ) from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CitynodeError(f"others can read {path}, which is a key", f"chmod 600 {path}")
    return _parse(raw.decode("latin-1"), str(path))


def _write(path: Path, key: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_secret(path, key.hex().encode() + b"\n")
    except OSError as error:
        raise CitynodeError(
            f"cannot write the fleet's key to {path}: {os.strerror(error.errno or 0)}",
            f"set {FILE_VARIABLE} to a file that can be written",
        ) from None


def _has_keyring() -> bool:
    import keyring  # takes a while: it looks at every installed package

    try:
        return bool(keyring.get_keyring().priority >= _TRUSTED)
    except Exception:  # a backend may raise anything; then it is none
        return False


def _to_keyring(name: str, key: bytes) -> None:
    import keyring
    from keyring.errors import KeyringError

    if not _has_keyring():
        raise CitynodeError("this machine has no OS keyring", "give --key file")
    try:
        keyring.set_password(SERVICE, name, key.hex())
        kept = keyring.get_password(SERVICE, name)
    except KeyringError:
        kept = None
    if kept != key.hex():
        raise CitynodeError("the OS keyring does not keep the key", "unlock it, or use --key file")


def _from_keyring(name: str) -> bytes | None:
    import keyring
    from keyring.errors import KeyringError

    try:
        kept = keyring.get_password(SERVICE, name)
    except KeyringError:
        raise CitynodeError(
            "the OS keyring is locked", f"unlock it, or set {VARIABLE} to the fleet's key"
        ) from None
    return None if kept is None else _parse(kept, "the OS keyring")

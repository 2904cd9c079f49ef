"""The devices that a network knows: of an import file that `citynode export` makes, or the store.

All three formats are read: The Things Stack's CSV and JSON, and ChirpStack's lines.
"""

import csv
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.fleet.events import EventError, documents
from citynode.fleet.export import Device
from citynode.identity import NO_JOIN_EUI

_MAX_BYTES = 16 << 20
_SIZES = {"dev_eui": 8, "join_eui": 8, "app_key": 16}


def from_file(path: Path) -> list[Device]:
    """Read an import file; raises CitynodeError, which never repeats a value."""
    text = _secret_text(path)
    rows = _json_rows(text, path) if text.lstrip()[:1] in ("{", "[") else _csv_rows(text)
    devices = [_device(row, f"{path}, device {number}") for number, row in enumerate(rows, 1)]
    if not devices:
        raise CitynodeError(f"{path} holds no device", "make one with 'citynode export'")
    return devices


def _secret_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CitynodeError(
            f"cannot read {path}: {error.strerror}", "give --devices a readable file"
        ) from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise CitynodeError(f"others can read {path}, which has keys", f"chmod 600 {path}")
    if len(raw) > _MAX_BYTES:
        raise CitynodeError(f"{path} is too large", "give --devices another file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CitynodeError(f"{path} is no text", "give --devices an import file") from None


def _csv_rows(text: str) -> Iterator[Mapping[str, object]]:
    for row in csv.DictReader(io.StringIO(text), delimiter=";"):
        yield {**row, "name": row.get("name") or row.get("id")}


def _json_rows(text: str, path: Path) -> Iterator[Mapping[str, object]]:
    try:
        for value in documents(text):
            yield _things_stack(value) if "ids" in _dict(value) else _chirpstack(value)
    except EventError:
        raise CitynodeError(f"{path} is not valid JSON", "make it anew") from None


def _things_stack(value: object) -> Mapping[str, object]:
    device = _dict(value)
    ids = _dict(device.get("ids"))
    key = _dict(_dict(device.get("root_keys")).get("app_key"))
    return {**ids, "name": device.get("name") or ids.get("device_id"), "app_key": key.get("key")}


def _chirpstack(value: object) -> Mapping[str, object]:
    both = _dict(value)
    device, keys = _dict(both.get("device")), _dict(both.get("deviceKeys"))
    return {
        "name": device.get("name"),
        "dev_eui": device.get("devEui"),
        "join_eui": device.get("joinEui"),
        "app_key": keys.get("nwkKey"),
    }


def _dict(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _device(row: Mapping[str, object], where: str) -> Device:
    found = {}
    for key, size in _SIZES.items():
        value = row.get(key)
        try:
            if value in (None, "") and key == "join_eui":
                value = NO_JOIN_EUI.hex()
            raw = bytes.fromhex(value) if isinstance(value, str) else b""
        except ValueError:
            raw = b""
        if len(raw) != size:
            raise CitynodeError(f"{where}: {key} is not {2 * size} hex digits", "correct it")
        found[key] = raw
    name = row.get("name")
    label = name if isinstance(name, str) and name else found["dev_eui"].hex()
    return Device(label, found["dev_eui"], found["join_eui"], found["app_key"])


def refuse_twins(devices: Iterable[Device]) -> None:
    """Raise CitynodeError where two devices have the same DevEUI."""
    seen: set[bytes] = set()
    for device in devices:
        if device.dev_eui in seen:
            raise CitynodeError(
                f"two devices have the DevEUI {device.dev_eui.hex()}", "leave one of them out"
            )
        seen.add(device.dev_eui)

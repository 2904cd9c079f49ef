"""What network servers tell of uplinks: JSON events of The Things Stack v3 and ChirpStack v4."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# Where The Things Stack wraps a message: the storage integration, and the events stream.
_WRAPPERS = ("result", "data")
_CHIRPSTACK = frozenset(("deviceInfo", "deduplicationId"))


class EventError(ValueError):
    """JSON that is no event of a known network server; the text says why."""


@dataclass(frozen=True)
class Uplink:
    """An application's uplink: `payload` is decrypted by the server; None where it did not say."""

    payload: bytes
    device: str | None
    dev_eui: str | None
    f_port: int | None
    f_cnt: int | None
    received_at: str | None

    def to_json(self) -> dict[str, object]:
        """Return where the payload is from."""
        return {
            "device": self.device,
            "dev_eui": self.dev_eui,
            "f_port": self.f_port,
            "f_cnt": self.f_cnt,
            "received_at": self.received_at,
        }


def documents(text: str) -> Iterator[object]:
    """Yield the JSON values of a text: one after the other, and the items of an array.

    Raises EventError at what is no JSON.
    """
    decoder = json.JSONDecoder()
    pos = 0
    while rest := text[pos : pos + 1]:
        if rest.isspace():
            pos += 1
            continue
        try:
            value, pos = decoder.raw_decode(text, pos)
        except (ValueError, RecursionError):
            raise EventError("not JSON") from None
        yield from value if isinstance(value, list) else [value]


def uplink(event: object) -> Uplink | None:
    """Return the uplink that an event tells of, None for an event of another kind.

    Raises EventError for what is no event.
    """
    if not isinstance(event, dict):
        raise EventError("no event of a network server")
    for wrapper in _WRAPPERS:
        inner = event.get(wrapper)
        if isinstance(inner, dict) and "end_device_ids" in inner:
            event = inner
    if "end_device_ids" in event:
        return _things_stack(event)
    if _CHIRPSTACK & event.keys():
        return _chirpstack(event)
    raise EventError("no event of The Things Stack v3 or ChirpStack v4")


def _things_stack(event: Mapping[str, object]) -> Uplink | None:
    """Read an ApplicationUp; what is empty or 0 is left out there."""
    if "uplink_message" not in event:
        return None
    message = _object(event, "uplink_message")
    ids = _object(event, "end_device_ids")
    payload = _bytes(message, "frm_payload")
    if payload is None:
        return None
    return Uplink(
        payload,
        _text(ids, "device_id"),
        _text(ids, "dev_eui", lower=True),
        _number(message, "f_port"),
        _number(message, "f_cnt") or 0,
        _text(message, "received_at") or _text(event, "received_at"),
    )


def _chirpstack(event: Mapping[str, object]) -> Uplink | None:
    payload = _bytes(event, "data")
    if payload is None:
        return None
    info = _object(event, "deviceInfo")
    return Uplink(
        payload,
        _text(info, "deviceName"),
        _text(info, "devEui", lower=True),
        _number(event, "fPort"),
        _number(event, "fCnt") or 0,
        _text(event, "time"),
    )


def _object(event: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = event.get(key, {})
    if not isinstance(value, dict):
        raise EventError(f"{key} is no object")
    return value


def _bytes(event: Mapping[str, object], key: str) -> bytes | None:
    value = event.get(key)
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, str):
            raise ValueError
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise EventError(f"{key} is not base64") from None


def _text(event: Mapping[str, object], key: str, *, lower: bool = False) -> str | None:
    value = event.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise EventError(f"{key} is no text")
    return value.lower() if lower else value


def _number(event: Mapping[str, object], key: str) -> int | None:
    value = event.get(key)
    if value is None:
        return None
    if type(value) is not int:
        raise EventError(f"{key} is no whole number")
    return value

"""Import files of LoRaWAN network servers, from the identities that were given out."""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from fnmatch import fnmatchcase
from uuid import UUID

from citynode.errors import CitynodeError
from citynode.identity import NO_JOIN_EUI, Identity

# What the firmware is: LoRaWAN 1.0.4 class A, RP002. The names are The Things Stack's.
LORAWAN_VERSION = "MAC_V1_0_4"
LORAWAN_PHY_VERSION = "RP002_V1_0_3"
FREQUENCY_PLAN = "EU_863_870_TTN"

_PLAN = re.compile(r"[A-Z0-9]+(_[A-Z0-9]+)*")
# IDs of The Things Stack: 3 to 36 characters, no two dashes in a row, none at the ends.
_TTS_ID = re.compile(r"[a-z0-9](-?[a-z0-9]){2,35}")
_TTS_ID_LENGTH = 36


class Format(StrEnum):
    """What the file is for."""

    TTS_CSV = "tts-csv"
    TTS_JSON = "tts-json"
    CHIRPSTACK = "chirpstack"

    @property
    def file_name(self) -> str:
        """The file that is written where no other name is given."""
        return _FILE_NAMES[self]


_FILE_NAMES = {
    Format.TTS_CSV: "citynode-tts.csv",
    Format.TTS_JSON: "citynode-tts.json",
    Format.CHIRPSTACK: "citynode-chirpstack.json",
}


@dataclass(frozen=True)
class Device:
    """A node that can join; its AppKey shows in no repr."""

    node_id: str
    dev_eui: bytes
    join_eui: bytes
    app_key: bytes = field(repr=False)

    @property
    def tts_id(self) -> str:
        """The node id where The Things Stack takes it, else what it would make of the DevEUI."""
        if len(self.node_id) <= _TTS_ID_LENGTH and _TTS_ID.fullmatch(self.node_id):
            return self.node_id
        return f"eui-{self.dev_eui.hex()}"


@dataclass(frozen=True)
class Server:
    """What is the same for all nodes: the frequency plan, or where ChirpStack keeps devices."""

    frequency_plan: str = FREQUENCY_PLAN
    application_id: str | None = None
    device_profile_id: str | None = None


def select(identities: Mapping[str, Identity], patterns: Sequence[str] = ()) -> dict[str, Identity]:
    """Return the identities, by MAC, that the patterns name: node ids or globs, MACs, DevEUIs.

    Raises CitynodeError when there is none at all, or none for a pattern.
    """
    if not identities:
        raise CitynodeError(
            "no node has an identity yet",
            "give one with 'citynode flash' or 'citynode provision', on this machine",
        )
    chosen: dict[str, Identity] = {}
    for pattern in patterns:
        found = {mac: each for mac, each in identities.items() if _matches(mac, each, pattern)}
        if not found:
            names = [each.node_id for each in identities.values()]
            near = get_close_matches(pattern, names, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise CitynodeError(f"no node is {pattern!r}", f"{hint}{len(names)} are known")
        chosen |= found
    return {mac: each for mac, each in identities.items() if mac in chosen or not patterns}


def _matches(mac: str, identity: Identity, pattern: str) -> bool:
    digits = re.sub(r"[:-]", "", pattern).lower()
    dev_eui = identity.dev_eui.hex() if identity.dev_eui is not None else None
    return digits in (mac, dev_eui) or fnmatchcase(identity.node_id, pattern)


def device(identity: Identity) -> Device | None:
    """Return what a network server needs, or None for a node without a radio."""
    if identity.dev_eui is None or identity.app_key is None:
        return None
    join_eui = identity.join_eui or NO_JOIN_EUI
    return Device(identity.node_id, identity.dev_eui, join_eui, identity.app_key)


def render(form: Format, devices: Iterable[Device], server: Server) -> bytes:
    """Return the import file; raises CitynodeError when the server's settings do not do."""
    if form is Format.CHIRPSTACK:
        return _chirpstack(devices, server)
    if not _PLAN.fullmatch(server.frequency_plan):
        raise CitynodeError(
            f"no frequency plan is named {server.frequency_plan!r}",
            f"give --frequency-plan an id of The Things Stack, as {FREQUENCY_PLAN}",
        )
    return (_tts_csv if form is Format.TTS_CSV else _tts_json)(devices, server)


def _tts_csv(devices: Iterable[Device], server: Server) -> bytes:
    """Write The Things Stack's CSV: semicolons, one header line, no empty field."""
    file = io.StringIO()
    rows = csv.writer(file, delimiter=";", lineterminator="\n")
    rows.writerow(
        (
            "id", "dev_eui", "join_eui", "name", "frequency_plan_id", "lorawan_version",
            "lorawan_phy_version", "app_key",
        )
    )  # fmt: skip
    for each in devices:
        rows.writerow(
            (
                each.tts_id,
                each.dev_eui.hex().upper(),
                each.join_eui.hex().upper(),
                each.node_id,
                server.frequency_plan,
                LORAWAN_VERSION,
                LORAWAN_PHY_VERSION,
                each.app_key.hex().upper(),
            )
        )
    return file.getvalue().encode()


def _tts_json(devices: Iterable[Device], server: Server) -> bytes:
    """Write The Things Stack's JSON: a stream of end devices, here one a line."""
    return b"".join(
        _line(
            {
                "ids": {
                    "device_id": each.tts_id,
                    "dev_eui": each.dev_eui.hex().upper(),
                    "join_eui": each.join_eui.hex().upper(),
                },
                "name": each.node_id,
                "lorawan_version": LORAWAN_VERSION,
                "lorawan_phy_version": LORAWAN_PHY_VERSION,
                "frequency_plan_id": server.frequency_plan,
                "supports_join": True,
                "root_keys": {"app_key": {"key": each.app_key.hex().upper()}},
            }
        )
        for each in devices
    )


def _chirpstack(devices: Iterable[Device], server: Server) -> bytes:
    """Write the bodies of ChirpStack's two calls for each device, one device a line.

    `{"device"}` is POSTed to /api/devices and `{"deviceKeys"}` to /api/devices/<devEui>/keys.
    The AppKey of LoRaWAN 1.0.x is in `nwkKey` there.
    """
    application = _uuid(server.application_id, "--application-id")
    profile = _uuid(server.device_profile_id, "--device-profile-id")
    return b"".join(
        _line(
            {
                "device": {
                    "devEui": each.dev_eui.hex(),
                    "joinEui": each.join_eui.hex(),
                    "name": each.node_id,
                    "applicationId": application,
                    "deviceProfileId": profile,
                },
                "deviceKeys": {"devEui": each.dev_eui.hex(), "nwkKey": each.app_key.hex()},
            }
        )
        for each in devices
    )


def _uuid(given: str | None, option: str) -> str:
    what = option.strip("-").replace("-", " ").removesuffix(" id")
    if given is None:
        raise CitynodeError(
            f"ChirpStack wants to know the {what} of a device",
            f"give {option} the id from the address bar of ChirpStack's page",
        )
    try:
        return str(UUID(given))
    except ValueError:
        raise CitynodeError(f"{option} is no UUID", "copy it from ChirpStack's page") from None


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"

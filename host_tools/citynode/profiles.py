"""Profiles as data: what a node measures, how often, and where it sends it. Never a secret."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field, model_validator

from citynode import resources
from citynode.boards import Board, Radio
from citynode.errors import CitynodeError
from citynode.tomlfile import Table, check, read

CONFIG_VERSION = 1
_MAX_CA_BYTES = 16 << 10
# Between health records where the profile says nothing: air time is dear.
_HEALTH_S = 3600
_HEALTH_SLOW_S = 43_200
_LORAWAN_SHORTEST_S = 10
_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"


class Sensor(Table):
    """One sensor on the board's I2C; `settle_ms` passes after it is switched on."""

    chip: Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", max_length=16)]
    address: Annotated[int, Field(ge=0x08, le=0x77)]
    settle_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    retries: Annotated[int, Field(ge=0, le=10)] = 2


class WifiUplink(Table):
    """Where records go: an MQTT broker, over WiFi."""

    kind: Literal["wifi", "lorawan"]  # who says "lorawan" gets the other table
    host: Annotated[str, Field(pattern=_HOST, max_length=128)]
    tls: bool = True
    port: Annotated[int, Field(ge=1, le=65535)]
    keepalive_s: Annotated[int, Field(ge=5, le=65535)] = 60

    @model_validator(mode="before")
    @classmethod
    def _usual_port(cls, data: object) -> object:
        if isinstance(data, dict) and "port" not in data:
            return {**data, "port": 1883 if data.get("tls") is False else 8883}
        return data


class LorawanUplink(Table):
    """Records go to a LoRaWAN network.

    `airtime_s_per_day` is what all uplinks of a day may take together; every `confirmed_every`-th
    one is confirmed (0: none), and with `link_check` others that have to be answered ask with a
    link check instead. `clock_error_ppm` widens the receive windows; `antenna_gain_dbi`, with
    cable loss, is taken off the region's power; `certification` is for test laboratories.
    """

    kind: Literal["lorawan"]
    region: Literal["EU868"] = "EU868"
    airtime_s_per_day: Annotated[int, Field(ge=5, le=864)] = 30
    confirmed_every: Annotated[int, Field(ge=0, le=64)] = 8
    link_check: bool = True
    adr: bool = True
    clock_error_ppm: Annotated[int, Field(ge=0, le=30_000)] = 10_000
    antenna_gain_dbi: Annotated[int, Field(ge=-10, le=16)] = 2
    certification: bool = False

    @model_validator(mode="after")
    def _is_answered(self) -> Self:
        if not self.confirmed_every and not self.link_check:
            raise ValueError("without confirmed uplinks and link checks no record is ever released")
        return self


class Profile(Table):
    """What a node does.

    `interval_s` between samples and `health_s` between health records, in seconds; `spool_kib` is
    the flash that undelivered records may fill; with `sleep` "deep" the node sleeps in between.
    """

    id: Annotated[str, Field(pattern=_NAME, max_length=32, repr=False)]
    description: Annotated[str, Field(min_length=1, max_length=200)]
    site: Annotated[str, Field(pattern=_NAME, max_length=16)]
    interval_s: Annotated[int, Field(ge=1, le=86_400)]
    health_s: Annotated[int, Field(ge=1, le=604_800)]
    sensors: Annotated[tuple[Sensor, ...], Field(min_length=1, max_length=8)]
    uplink: WifiUplink | LorawanUplink
    ntp: Annotated[str, Field(pattern=_HOST, max_length=128)] = "pool.ntp.org"
    sleep: Literal["none", "deep"] = "none"
    spool_kib: Annotated[int, Field(ge=8, le=8192)] = 256
    log: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        completed = {"health_s": _HEALTH_SLOW_S if _is_lorawan(data) else _HEALTH_S, **data}
        if isinstance(data.get("sensors"), list):
            completed["sensors"] = tuple(data["sensors"])
        return completed

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        places = [(sensor.address) for sensor in self.sensors]
        if len(places) != len(set(places)):
            raise ValueError("two sensors have the same address")
        if self.health_s < self.interval_s:
            raise ValueError("health_s is shorter than interval_s")
        if isinstance(self.uplink, LorawanUplink) and self.interval_s < _LORAWAN_SHORTEST_S:
            raise ValueError(
                f"interval_s is shorter than {_LORAWAN_SHORTEST_S}, too much for the air"
            )
        return self


class _WifiProfile(Profile):
    uplink: WifiUplink


class _LorawanProfile(Profile):
    uplink: LorawanUplink


def profile_ids() -> list[str]:
    """Return the ids of the profiles that come with citynode, in alphabetical order."""
    return sorted(path.stem for path in (resources.provisioning() / "profiles").glob("*.toml"))


def load_profile(name: str) -> Profile:
    """Return the profile of an id, or of a TOML file of one's own.

    Raises CitynodeError (unknown, or the file is wrong).
    """
    path = Path(name)
    if path.suffix == ".toml":
        return _load(path, path.stem.lower())
    known = profile_ids()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise CitynodeError(
            f"unknown profile {name!r}", f"{hint}known are {', '.join(known)}, or give a TOML file"
        )
    return _load(resources.provisioning() / "profiles" / f"{name}.toml", name)


def _load(path: Path, name: str) -> Profile:
    data = read(path)
    return check(path, data, _LorawanProfile if _is_lorawan(data) else _WifiProfile, id=name)


def _is_lorawan(data: Mapping[str, object]) -> bool:
    uplink = data.get("uplink")
    return isinstance(uplink, dict) and uplink.get("kind") == "lorawan"


def check_fits(board: Board, profile: Profile) -> None:
    """Raise CitynodeError if the board has not what the profile needs."""
    if isinstance(profile.uplink, LorawanUplink) and board.radio is None:
        raise CitynodeError(
            f"the profile {profile.id} sends over LoRaWAN, and the board {board.id} has no radio",
            "choose a board with a radio (see 'citynode boards'), or a profile that uses WiFi",
        )


def config_cbor(board: Board, profile: Profile) -> bytes:
    """Return the node's `/config.cbor`: deterministic CBOR, without any secret.

    Raises CitynodeError as `check_fits` does.
    """
    check_fits(board, profile)
    battery = board.battery
    # The node reads the pin and no more: behind a switched divider that would be a made-up value.
    measured = battery is not None and battery.enable is None
    described: dict[str, object] = {
        "id": board.id,
        "i2c": board.i2c.model_dump(),
        "led": board.led,
        "battery": {"pin": battery.pin, "ratio": battery.ratio}
        if battery is not None and measured
        else None,
    }
    config = {
        "v": CONFIG_VERSION,
        "board": described,
        "site": profile.site,
        "interval_s": profile.interval_s,
        "health_s": profile.health_s,
        "sensors": [sensor.model_dump() for sensor in profile.sensors],
        "uplink": profile.uplink.model_dump(),
        "ntp": profile.ntp,
        "sleep": profile.sleep,
        "spool_kib": profile.spool_kib,
        "log": profile.log,
    }
    if isinstance(profile.uplink, LorawanUplink) and board.radio is not None:
        described["radio"] = _radio(board.radio)
        del config["ntp"]  # the network tells the time
    return cbor2.dumps(config, canonical=True)


def _radio(radio: Radio) -> dict[str, object]:
    """Return what the node's driver needs: all is polled over SPI and BUSY."""
    return {
        "chip": radio.chip,
        **{pin: getattr(radio, pin) for pin in ("sck", "miso", "mosi", "cs", "reset")},
        "busy": radio.busy if radio.chip == "sx1262" else None,
        "tcxo_mv": round((radio.tcxo_v or 0) * 1000),
        "dio2_switch": radio.dio2_switch,
    }


def ca_der(path: Path) -> bytes:
    """Return a CA certificate (PEM or DER file) as the DER that the node checks servers against.

    Raises CitynodeError (cannot be read, no certificate, a private key in it).
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CA_BYTES + 1)
    except OSError as error:
        raise CitynodeError(
            f"cannot read {path}: {error.strerror}", "give --ca the broker's CA certificate"
        ) from None
    if b"PRIVATE KEY" in data:
        raise CitynodeError(
            f"{path} holds a private key", "give --ca the certificate alone; the key stays secret"
        )
    try:
        if len(data) > _MAX_CA_BYTES:
            raise ValueError("too large")
        pem = b"-----BEGIN" in data
        certificate = (x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate)(
            data
        )
    except ValueError:
        raise CitynodeError(
            f"{path} is no certificate", "give --ca a CA certificate as PEM or DER"
        ) from None
    return certificate.public_bytes(Encoding.DER)

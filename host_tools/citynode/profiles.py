"""Profiles as data: what a node measures, how often, and where it sends it. Never a secret."""

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from citynode import resources, traffic
from citynode.boards import CHIP_PINS, Board, Terminal
from citynode.errors import CitynodeError
from citynode.sensors import ADC, I2C, ONEWIRE, PIN, PULSES, UART, Driver, driver
from citynode.tomlfile import Table, check, read
from citynode.traffic import Traffic

# Between health records where the profile says nothing: air time is dear.
_HEALTH_S = 3600
_HEALTH_SLOW_S = 43_200
_LORAWAN_SHORTEST_S = 10
# Of its supply, the most that a sensor on an ADC gives: a wind vane's 120 kΩ over 10 kΩ.
_SHARE = 12 / 13
_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_HOST = r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$"
# An int of a TOML file is a number, too.
Number = Annotated[float, Field(ge=-1e6, le=1e6, strict=False)]


class Sensor(Table):
    """One sensor, by the name of its driver, and what it is connected to.

    On I2C `address` (and `bus`, 1 or 2), else `uart` (1 or 2) or `pin` (a terminal of the board);
    `switch` is the terminal that switches its supply. `settle_ms` passes after it is switched on.
    `interval_s` is how often it is read, with each record if None. A reading is multiplied with
    `factor` and `offset` is added, both by field; outside of `plausible` (lowest, highest) it is
    marked. `options` are those of its driver.
    """

    chip: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=16)]
    address: Annotated[int, Field(ge=0x08, le=0x77)] | None = None
    bus: Literal[1, 2] = 1
    uart: Literal[1, 2] | None = None
    pin: Terminal | None = None
    switch: Terminal | None = None
    settle_ms: Annotated[int, Field(ge=0, le=60_000)] = 0
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    interval_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    offset: dict[str, Number] = Field(default_factory=dict)
    factor: dict[str, Number] = Field(default_factory=dict)
    plausible: dict[str, tuple[Number, Number]] = Field(default_factory=dict)
    options: Annotated[dict[str, bool | int | float | str], Field(max_length=8)] = Field(
        default_factory=dict
    )

    @model_validator(mode="before")
    @classmethod
    def _pairs(cls, data: object) -> object:
        if isinstance(data, dict) and isinstance(data.get("plausible"), dict):
            pairs = {
                k: tuple(v) if isinstance(v, list) else v for k, v in data["plausible"].items()
            }
            return {**data, "plausible": pairs}
        return data

    @property
    def driver(self) -> Driver:
        """Return what its driver says of itself; raises CitynodeError if there is none."""
        return driver(self.chip)

    @model_validator(mode="after")
    def _fits_its_driver(self) -> Self:
        try:
            driver = self.driver
        except CitynodeError as error:
            raise ValueError(f"{error.what}; {error.cure}") from None
        wanted = {I2C: "address", UART: "uart"}.get(driver.bus, "pin")
        given = [key for key in ("address", "uart", "pin") if getattr(self, key) is not None]
        if given != [wanted]:
            raise ValueError(f"a {self.chip} needs {wanted!r} and no other place")
        if self.switch is not None and not driver.has_switch:
            raise ValueError(f"the supply of a {self.chip} is not switched by its driver")
        for key in ("offset", "factor", "plausible"):
            for field in getattr(self, key):
                if field not in driver.fields:
                    raise ValueError(
                        f"{key}: a {self.chip} does not measure {field!r}, "
                        f"but {', '.join(driver.fields)}"
                    )
        for option in self.options:
            if option not in driver.options:
                known = ", ".join(driver.options) or "none"
                raise ValueError(f"options: a {self.chip} has no {option!r}, but {known}")
        return self

    @property
    def place(self) -> tuple[object, ...]:
        """What no other sensor may have: its address, its port or its pin."""
        if self.address is not None:
            return "address", self.bus, self.address
        return ("uart", self.uart) if self.uart is not None else ("pin", self.pin)


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
    With `statistics` records have lowest and highest values and standard deviations as well.
    """

    id: Annotated[str, Field(pattern=_NAME, max_length=32, repr=False)]
    description: Annotated[str, Field(min_length=1, max_length=200)]
    site: Annotated[str, Field(pattern=_NAME, max_length=16)]
    interval_s: Annotated[int, Field(ge=1, le=86_400)]
    health_s: Annotated[int, Field(ge=1, le=604_800)]
    sensors: Annotated[tuple[Sensor, ...], Field(max_length=8)] = ()
    traffic: Traffic | None = None
    uplink: WifiUplink | LorawanUplink
    ntp: Annotated[str, Field(pattern=_HOST, max_length=128)] = "pool.ntp.org"
    sleep: Literal["none", "deep"] = "none"
    statistics: bool = False
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
        places = [each.place for each in self.sensors if each.driver.bus != ONEWIRE]
        if self.traffic is not None:
            traffic.check(self.traffic, self.interval_s, self.sleep)
            places += self.traffic.taken()
        elif not self.sensors:
            raise ValueError("there is nothing to measure: no sensors and no traffic")
        for place in places:
            if places.count(place) > 1:
                raise ValueError(f"two sensors have the same {place[0]}")
        for each in self.sensors:
            self._has_its_interval(each)
        if self.health_s < self.interval_s:
            raise ValueError("health_s is shorter than interval_s")
        if isinstance(self.uplink, LorawanUplink) and self.interval_s < _LORAWAN_SHORTEST_S:
            raise ValueError(
                f"interval_s is shorter than {_LORAWAN_SHORTEST_S}, too much for the air"
            )
        return self

    def _has_its_interval(self, sensor: Sensor) -> None:
        each, whole = sensor.interval_s or self.interval_s, self.interval_s
        if each % whole and whole % each:
            raise ValueError(
                f"interval_s of the {sensor.chip} is no part and no multiple of {whole}"
            )
        if self.sleep == "deep" and each < whole:
            raise ValueError(f"the {sensor.chip} cannot be read while the node is in deep sleep")
        if self.sleep == "deep" and sensor.driver.bus == PULSES:
            raise ValueError(f"a node in deep sleep does not count the pulses of the {sensor.chip}")


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
    check_wiring(board, profile)


def check_wiring(board: Board, profile: Profile) -> None:
    """Raise CitynodeError if the board has no place for one of the profile's sensors."""
    if profile.traffic is not None:
        traffic.check_fits(board, profile.traffic)
    for sensor in profile.sensors:
        if (lacks := _lacks(board, sensor)) is not None:
            raise CitynodeError(
                f"the {sensor.chip} of the profile {profile.id} needs {lacks}, "
                f"which the board {board.id} has not",
                "choose another board or place; 'citynode boards show' lists what a board has",
            )


def _lacks(board: Board, sensor: Sensor) -> str | None:
    """Return what of a sensor's wiring the board does not have."""
    if sensor.address is not None and sensor.bus == 2 and board.i2c2 is None:
        return "a second I2C"
    if sensor.uart is not None and sensor.uart > len(board.uarts):
        return f"the serial port {sensor.uart}"
    for terminal in (sensor.pin, sensor.switch):
        if terminal is not None and terminal not in board.terminals:
            return f"the terminal {terminal}"
    pins = CHIP_PINS[board.chip]
    if sensor.pin is not None:
        gpio = board.terminals[sensor.pin]
        if sensor.driver.bus == ADC and gpio not in pins.adc1:
            return f"a terminal on ADC1 (not {sensor.pin})"
        supply = sensor.options.get("supply_uv", sensor.driver.options.get("supply_uv"))
        if isinstance(supply, int) and supply * _SHARE > pins.adc_uv:
            most = pins.adc_uv / _SHARE / 1e6
            return f"a supply of at most {most:.1f} V (options.supply_uv)"
        if sensor.driver.bus in (PULSES, ONEWIRE, PIN) and gpio in pins.input_only:
            return f"a terminal with a pull-up (not {sensor.pin})"
    return None

"""A soak as data: which nodes, for how long, what is done to them, and what they have to meet."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from citynode import resources
from citynode.bench.power import Power
from citynode.errors import CitynodeError
from citynode.soak.times import seconds
from citynode.tomlfile import Table, load

_NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
_LONGEST_NAME = 24
_MOST_NODES = 10_000


def _duration(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("a duration is a text such as 90s, 10m, 24h or 7d")
    found = seconds(value)
    if found is None:
        raise ValueError("this is no duration; write 90s, 10m, 24h or 7d")
    return found


Seconds = Annotated[float, BeforeValidator(_duration)]


def _texts(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts)]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    It strikes one node or, if `cell`, all that hang on one gateway or access point; in one of its
    `ways`; for `for_s` seconds if the plan does not say. `size` is what the number of the plan's
    `size` is, and its default.
    """

    ways: tuple[str, ...]
    for_s: float
    cell: bool = False
    size: tuple[str, float] | None = None


KINDS: Mapping[str, Kind] = {
    "power": Kind(("cut",), 5),
    "brownout": Kind(("write",), 5),
    "flash": Kind(("errors",), 600, size=("share of operations that fail", 0.5)),
    "sensor": Kind(("unplugged", "stuck", "garbled"), 1800),
    "i2c": Kind(("sda", "scl"), 1800),
    "serial": Kind(("garbled", "dropped"), 1800, size=("share of bytes", 0.05)),
    "clock": Kind(("drift",), 86_400, size=("ppm", 2000.0)),
    "reset": Kind(("pin",), 1),
    "radio": Kind(("both", "up", "down"), 3600, size=("share of frames lost", 0.5)),
    "wifi": Kind(("away",), 1800, cell=True),
    "broker": Kind(("away", "silent", "deaf"), 1800, cell=True),
    "ntp": Kind(("away", "wrong"), 7200, cell=True, size=("seconds ahead", 3600.0)),
    "gateway": Kind(("away", "mute"), 3600, cell=True),
}


class Nodes(Table):
    """Nodes of one kind: virtual ones of a board and a profile, or those at real ports.

    They are called `name`-1, `name`-2 and so on. `interval` and `health` take the place of the
    profile's. `power` switches the supply of a real one (docs/bench.md).
    """

    name: Annotated[str, Field(pattern=_NAME, max_length=_LONGEST_NAME)]
    board: Annotated[str, Field(max_length=256)] = ""
    profile: Annotated[str, Field(max_length=256)] = ""
    count: Annotated[int, Field(ge=1, le=_MOST_NODES)] = 1
    interval: Seconds | None = None
    health: Seconds | None = None
    ports: Annotated[Texts, Field(max_length=256)] = ()
    power: Annotated[Power | None, Field(discriminator="kind")] = None

    @model_validator(mode="after")
    def _real_or_virtual(self) -> Self:
        if self.ports and (self.board or self.profile or self.interval or self.health):
            raise ValueError("nodes at ports are what they are: no board, profile, interval")
        if self.power is not None and len(self.ports) != 1:
            raise ValueError("power switches one node: give its port alone")
        if not self.ports and not (self.board and self.profile):
            raise ValueError("give board and profile, or ports")
        return self


class Fault(Table):
    """Something that is done to nodes: once, `at` a time, or again and again, on average `every`.

    `for` is how long, `way` how (each time another one if not given), `size` how much; `nodes` are
    ids or patterns of those that may be struck, each by itself.
    """

    kind: Literal[
        "power", "brownout", "flash", "sensor", "i2c", "serial", "clock", "reset", "radio", "wifi",
        "broker", "ntp", "gateway",
    ]  # fmt: skip
    at: Seconds | None = None
    every: Seconds | None = None
    for_s: Annotated[Seconds | None, Field(alias="for")] = None
    way: str | None = None
    size: Annotated[float, Field(gt=-1e6, lt=1e6)] | None = None
    nodes: Annotated[Texts, Field(min_length=1)] = ("*",)

    @model_validator(mode="before")
    @classmethod
    def _whole_number(cls, data: object) -> object:
        if isinstance(data, dict) and type(data.get("size")) is int:
            return {**data, "size": float(data["size"])}
        return data

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        kind = KINDS[self.kind]
        if (self.at is None) == (self.every is None):
            raise ValueError(f"{self.kind}: give either at or every")
        if self.way is not None and self.way not in kind.ways:
            raise ValueError(f"{self.kind}: way is one of {', '.join(kind.ways)}")
        if self.size is not None and kind.size is None:
            raise ValueError(f"{self.kind}: has no size")
        share = kind.size is not None and kind.size[0].startswith("share")
        if share and self.size is not None and not 0 < self.size <= 1:
            raise ValueError(f"{self.kind}: size is a {kind.size[0] if kind.size else ''}: 0 to 1")
        return self


class Pass(Table):
    """What every node has to meet; what is None is not asked for.

    Lost records, copies that are left when those of the same number are removed, restarts by cause
    beyond those that the faults bring about (0 for what is not named), bytes of heap lost in an
    hour, the longest time without a sign of life, the time that half of the records and 95 % of
    them may take, LoRaWAN joins, seconds on the air in any 24 hours, and what the node draws from
    its battery (mAh in a day, on average).
    """

    lost: Annotated[int, Field(ge=0)] = 0
    duplicates: Annotated[int, Field(ge=0)] = 0
    restarts: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    heap_loss: Annotated[float, Field(ge=0)] | None = 128.0
    silence: Seconds | None = None
    latency_half: Seconds | None = None
    latency_most: Seconds | None = None
    joins: Annotated[int, Field(ge=0)] | None = None
    air_time: Seconds | None = None
    energy: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _whole_numbers(cls, data: object) -> object:
        if not isinstance(data, dict):
            return data
        found = {name: data.get(name) for name in ("heap_loss", "energy")}
        return data | {name: float(n) for name, n in found.items() if type(n) is int}


class SoakPlan(Table):
    """A whole soak.

    `gateways` is the number of cells, each with a gateway, an access point and its share of the
    nodes, `radius_m` how far from it they stand. Virtual nodes are switched on within `spread`.
    When `duration` is over, what is on its way has `grace` to arrive. `firmware` is a folder to
    take the node's sources from, `seed` decides all chance.
    """

    id: Annotated[str, Field(repr=False)]
    description: Annotated[str, Field(min_length=1, max_length=200)]
    clock: Literal["virtual", "real"] = "virtual"
    duration: Seconds
    grace: Seconds = 3600.0
    spread: Seconds = 0.0
    seed: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] | None = None
    gateways: Annotated[int, Field(ge=1, le=1000)] = 1
    radius_m: Annotated[float, Field(gt=0, le=20_000)] | None = None
    firmware: str | None = None
    nodes: Annotated[tuple[Nodes, ...], BeforeValidator(_texts), Field(min_length=1)]
    faults: Annotated[tuple[Fault, ...], BeforeValidator(_texts)] = ()
    criteria: Annotated[Pass, Field(alias="pass")] = Field(default_factory=Pass)

    @model_validator(mode="before")
    @classmethod
    def _whole_number(cls, data: object) -> object:
        if isinstance(data, dict) and type(data.get("radius_m")) is int:
            return {**data, "radius_m": float(data["radius_m"])}
        return data

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        names = [group.name for group in self.nodes]
        if len(set(names)) < len(names):
            raise ValueError("nodes: two groups have the same name")
        if self.clock == "real" and self.gateways != 1:
            raise ValueError("gateways: a bench is one cell")
        if any(bool(group.ports) != (self.clock == "real") for group in self.nodes):
            raise ValueError('nodes: with clock = "real" they have ports, else board and profile')
        if sum(group.count for group in self.nodes) > _MOST_NODES:
            raise ValueError(f"nodes: more than {_MOST_NODES}")
        for fault in self.faults:
            if fault.at is not None and fault.at + length_of(fault) > self.duration:
                raise ValueError(f"faults: {fault.kind}: does not end before the soak does")
        return self


def length_of(fault: Fault) -> float:
    """Return how long a fault lasts (s)."""
    return KINDS[fault.kind].for_s if fault.for_s is None else fault.for_s


def plan_ids() -> list[str]:
    """Return the ids of the plans that come with citynode."""
    return sorted(path.stem for path in (resources.provisioning() / "soak").glob("*.toml"))


def load_plan(name: str) -> SoakPlan:
    """Return the plan of an id, or of a TOML file; raises CitynodeError.

    `firmware` of a file is taken from the file's own folder.
    """
    if name in plan_ids():
        return load(resources.provisioning() / "soak" / f"{name}.toml", SoakPlan, id=name)
    path = Path(name)
    if path.suffix != ".toml":
        raise CitynodeError(
            f"there is no plan {name!r}", f"give {', '.join(plan_ids())}, or a TOML file"
        )
    plan = load(path, SoakPlan, id=str(path))
    if plan.firmware is None:
        return plan
    return plan.model_copy(update={"firmware": str((path.parent / plan.firmware).resolve())})

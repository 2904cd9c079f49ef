"""The traffic sensors on a board's ports, beside a road that its profile's mounting describes."""

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from citynode.virtual.chips import I2CDevice, Range
from citynode.virtual.chips.a02yyuw import A02YYUW
from citynode.virtual.chips.jsnsr04t import JSNSR04T
from citynode.virtual.chips.ld2410 import LD2410
from citynode.virtual.chips.loop import Loop
from citynode.virtual.chips.mmc5983 import MMC5983
from citynode.virtual.chips.ops243 import OPS243
from citynode.virtual.chips.qmc5883l import QMC5883L
from citynode.virtual.chips.tf02pro import TF02Pro
from citynode.virtual.chips.tfluna import TFLuna
from citynode.virtual.chips.tfmini import TFMini
from citynode.virtual.chips.uart import SerialChip
from citynode.virtual.engine import Engine
from citynode.virtual.soc.peripherals.pins import Pins
from citynode.virtual.soc.peripherals.serial import UartLine
from citynode.virtual.soc.peripherals.wiring import Places, Wiring
from citynode.virtual.world.chance import Chance
from citynode.virtual.world.clock import NS
from citynode.virtual.world.road import DAY_S
from citynode.virtual.world.street import (
    AcrossSight,
    AlongSight,
    FieldSight,
    OverheadSight,
    PresenceSight,
    SoundSight,
    Street,
    TargetsSight,
    drive_over,
)

_TFS: dict[str, Callable[[Engine, Range], SerialChip]] = {
    "tf02pro": TF02Pro,
    "tfluna": TFLuna,
    "tfmini": TFMini,
}
_NOISE_NT = {"mmc5983": 40.0, "qmc5883l": 200.0}  # datasheets: 0.4 mG and 2 mG
_OVERHEAD_M = 5.5
_SOUND_OVERHEAD_M = 4.3
_BESIDE_M = 3.0  # where the lane is, if the profile does not say it
_TWO_WAYS = (1, -1, 1, -1)


class TrafficSpec(Protocol):
    """What of a profile decides which sensors there are, and where they look."""

    @property
    def sensor(self) -> str:
        """Its name."""
        ...

    @property
    def mount(self) -> str | None:
        """How a range finder looks: across, along."""
        ...

    @property
    def lane_m(self) -> float | None:
        """To the middle of its lane."""
        ...

    @property
    def lanes(self) -> int:
        """How many there are."""
        ...

    @property
    def spacing_m(self) -> float | None:
        """Between the two sensors of a pair."""
        ...

    @property
    def angle_deg(self) -> float | None:
        """Between the beam and the lane."""
        ...

    @property
    def overhead(self) -> bool:
        """Whether it looks down."""
        ...

    @property
    def far_m(self) -> float | None:
        """Where its beam ends."""
        ...

    def places(self) -> Sequence[tuple[str, int | str, int]]:
        """Return where the sensors are: ("i2c", bus, address), ("uart", number, 0), ("pin", …)."""
        ...


def join_road(
    spec: TrafficSpec,
    places: Places,
    wiring: Wiring,
    engine: Engine,
    pins: Pins,
    name: str,
    unix_s: float,
) -> Street:
    """Put a board's traffic sensors to its wires; return the road that they see.

    `unix_s` is the date. Beams along the road look to where the nearest lane comes from.
    """
    along = spec.mount == "along" or spec.sensor == "ops243"
    lanes = _TWO_WAYS[1:] + _TWO_WAYS[:1] if along else _TWO_WAYS
    street = Street(
        Chance(engine.rng(f"road {name}").getrandbits(64)),
        start_s=(unix_s - engine.clock.now_ns() / NS) % DAY_S,
        lane_m=spec.lane_m or _BESIDE_M,
        lanes=lanes[: spec.lanes],
    )
    for number, (kind, place, address) in enumerate(spec.places()):
        rng = engine.rng(f"road {name} {number}")
        at_m = number * (spec.spacing_m or 0.0)
        if kind == "pin":
            loop = Loop(engine, partial(pins.drive, places.terminals[str(place)]), rng)
            drive_over(street, engine.call_at, loop.passes)
            street.sensors.append(loop)
        elif kind == "i2c":
            field = FieldSight(street, rng, at_m, _NOISE_NT[spec.sensor])
            device: I2CDevice
            if spec.sensor == "mmc5983":
                device = MMC5983(engine.clock, field, rng, address)
            else:
                device = QMC5883L(engine.clock, field, address)
            wiring.buses[int(place) - 1].devices[address] = device
            street.sensors.append(device)
        else:
            port = places.uarts[int(place) - 1]
            line = UartLine(port.rx, port.tx)
            chip = _on_uart(spec, engine, street, rng, at_m)
            chip.plug(line)
            wiring.lines.append(line)
            street.sensors.append(chip)
    return street


def _on_uart(
    spec: TrafficSpec, engine: Engine, street: Street, rng: random.Random, at_m: float
) -> SerialChip:
    far_m = spec.far_m or 0.0
    angle = spec.angle_deg or 0.0
    if spec.sensor == "ops243":
        return OPS243(engine, TargetsSight(street, rng, angle))
    if spec.sensor == "ld2410":
        return LD2410(engine, PresenceSight(street, rng))
    if spec.sensor in _TFS:
        make = _TFS[spec.sensor]
        if spec.overhead:
            return make(engine, OverheadSight(street, rng, far_m or _OVERHEAD_M))
        if spec.mount == "along":
            return make(engine, AlongSight(street, rng, angle))
        return make(engine, AcrossSight(street, rng, at_m, far_m))
    sound = A02YYUW if spec.sensor == "a02yyuw" else JSNSR04T
    if spec.overhead:
        return sound(engine, OverheadSight(street, rng, far_m or _SOUND_OVERHEAD_M))
    return sound(engine, SoundSight(street, rng, far_m))

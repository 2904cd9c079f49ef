"""The chip's peripherals as the interpreter calls them, and the hardware on a board's pins."""

from collections.abc import Sequence
from typing import Protocol

from citynode.virtual.air import Air
from citynode.virtual.engine import Engine
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.peripherals.analog import Adc, Pwm
from citynode.virtual.soc.peripherals.counters import Counters
from citynode.virtual.soc.peripherals.i2c import I2C
from citynode.virtual.soc.peripherals.net import Net
from citynode.virtual.soc.peripherals.onewire import OneWire
from citynode.virtual.soc.peripherals.pins import Host, Pins
from citynode.virtual.soc.peripherals.radio import Radio, RadioSpec
from citynode.virtual.soc.peripherals.road import TrafficSpec, join_road
from citynode.virtual.soc.peripherals.serial import Spi, Uart
from citynode.virtual.soc.peripherals.system import System
from citynode.virtual.soc.peripherals.timers import Timers, Watchdog
from citynode.virtual.soc.peripherals.wiring import USUAL, Fitted, Places, Wiring
from citynode.virtual.soc.peripherals.wlan import Wlan
from citynode.virtual.world import World


class Peripheral(Protocol):
    """A part of the chip or on its pins."""

    def attach(self, app: Host, /) -> None:
        """Answer the calls of the program's modules."""

    def reset(self) -> None:
        """Go back to the state after a reset of the chip."""


class _Battery(Protocol):
    @property
    def pin(self) -> int: ...
    @property
    def ratio(self) -> float: ...


class BoardSpec(Places, Protocol):
    """What of a board's description decides its hardware."""

    @property
    def chip(self) -> str:
        """The id of its chip."""
        ...

    @property
    def battery(self) -> _Battery | None:
        """The pin behind the battery's divider, and the divider's ratio."""
        ...

    @property
    def radio(self) -> RadioSpec | None:
        """The LoRa radio and its pins."""
        ...


def hardware(
    spec: BoardSpec,
    engine: Engine,
    world: World,
    name: str = "",
    air: Air | None = None,
    sensors: Sequence[Fitted] = USUAL,
    traffic: TrafficSpec | None = None,
) -> list[Peripheral]:
    """Make the peripherals of one board with `sensors` on its pins, and a road before `traffic`.

    `name` tells the boards of one rack apart: what chance decides, it decides for each anew. A
    board's radio is alone on an air of its own if no `air` is given.
    """
    chip = CHIPS[spec.chip]
    pins = Pins(chip)
    wlan = Wlan(engine, world, engine.rng(f"wlan {name}"), world.network.lease())
    adc = Adc(pins, lambda: wlan.on)
    if (battery := spec.battery) is not None:
        adc.connect(battery.pin, lambda: world.battery_v / battery.ratio)
    wiring = Wiring(spec, sensors, pins, adc, engine, world, name)
    if traffic is not None:
        road = join_road(traffic, spec, wiring, engine, pins, name, world.unix_s)
        world.streets[name] = road
    radios = [Radio(spec.radio, pins, air or Air(engine), name)] if spec.radio else []
    return [
        pins,
        I2C(pins, wiring.buses),
        wlan,
        Net(world.network, wlan, name),
        Timers(engine, chip.id),
        Watchdog(engine),
        System(engine, pins),
        adc,
        Pwm(pins),
        Counters(pins),
        OneWire(pins, wiring.onewire),
        Uart(engine, chip.id, wiring.lines),
        Spi([radio.bus for radio in radios]),
        *radios,
    ]

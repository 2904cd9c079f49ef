"""The chip's peripherals as the interpreter calls them, and the hardware on a board's pins."""

from typing import Protocol

from citynode.virtual.air import Air
from citynode.virtual.chips.bme280 import BME280
from citynode.virtual.chips.sht4x import SHT4x
from citynode.virtual.engine import Engine
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.peripherals.analog import Adc, Pwm
from citynode.virtual.soc.peripherals.counters import Counters
from citynode.virtual.soc.peripherals.i2c import I2C, I2CBus
from citynode.virtual.soc.peripherals.net import Net
from citynode.virtual.soc.peripherals.onewire import OneWire
from citynode.virtual.soc.peripherals.pins import Host, Pins
from citynode.virtual.soc.peripherals.radio import Radio, RadioSpec
from citynode.virtual.soc.peripherals.serial import Spi, Uart
from citynode.virtual.soc.peripherals.system import System
from citynode.virtual.soc.peripherals.timers import Timers, Watchdog
from citynode.virtual.soc.peripherals.wlan import Wlan
from citynode.virtual.world import World


class Peripheral(Protocol):
    """A part of the chip or on its pins."""

    def attach(self, app: Host, /) -> None:
        """Answer the calls of the program's modules."""

    def reset(self) -> None:
        """Go back to the state after a reset of the chip."""


class _I2CPins(Protocol):
    @property
    def scl(self) -> int: ...
    @property
    def sda(self) -> int: ...


class _Battery(Protocol):
    @property
    def pin(self) -> int: ...
    @property
    def ratio(self) -> float: ...


class BoardSpec(Protocol):
    """What of a board's description decides its hardware."""

    @property
    def chip(self) -> str:
        """The id of its chip."""
        ...

    @property
    def i2c(self) -> _I2CPins:
        """The pins of its I2C."""
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
    spec: BoardSpec, engine: Engine, world: World, name: str = "", air: Air | None = None
) -> list[Peripheral]:
    """Make the peripherals of one board, with a BME280 (0x76) and an SHT4x (0x44) on its I2C.

    `name` tells the boards of one rack apart: what chance decides, it decides for each anew. A
    board's radio is alone on an air of its own if no `air` is given.
    """
    chip = CHIPS[spec.chip]
    pins = Pins(chip)
    bme280 = BME280(engine.clock, world.air, engine.rng(f"bme280 {name}"))
    sht4x = SHT4x(engine.clock, world.air, engine.rng(f"sht4x {name}"))
    bus = I2CBus(pins, spec.i2c.scl, spec.i2c.sda, (bme280, sht4x))
    wlan = Wlan(engine, world, engine.rng(f"wlan {name}"), world.network.lease())
    adc = Adc(pins, lambda: wlan.on)
    if (battery := spec.battery) is not None:
        adc.connect(battery.pin, lambda: world.battery_v / battery.ratio)
    radios = [Radio(spec.radio, pins, air or Air(engine), name)] if spec.radio else []
    return [
        pins,
        I2C(pins, (bus,)),
        wlan,
        Net(world.network, wlan),
        Timers(engine, chip.id),
        Watchdog(engine),
        System(engine, pins),
        adc,
        Pwm(pins),
        Counters(pins),
        OneWire(pins),
        Uart(engine, chip.id),
        Spi([radio.bus for radio in radios]),
        *radios,
    ]

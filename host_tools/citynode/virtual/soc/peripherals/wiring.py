"""The sensors that hang on a board: a model for each of a profile's, at the pins that it names."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from citynode.virtual.chips import I2CDevice
from citynode.virtual.chips.anemometer import Anemometer
from citynode.virtual.chips.bme280 import BME280
from citynode.virtual.chips.bme680 import BME680
from citynode.virtual.chips.ds18b20 import DS18B20
from citynode.virtual.chips.mlx90614 import MLX90614
from citynode.virtual.chips.pms5003 import PMS5003
from citynode.virtual.chips.raingauge import RainGauge
from citynode.virtual.chips.scd41 import SCD41
from citynode.virtual.chips.sds011 import SDS011
from citynode.virtual.chips.sht4x import SHT4x
from citynode.virtual.chips.sps30 import SPS30, SPS30Uart
from citynode.virtual.chips.uart import SerialChip
from citynode.virtual.chips.windvane import WindVane
from citynode.virtual.engine import Engine
from citynode.virtual.soc.peripherals.analog import Adc
from citynode.virtual.soc.peripherals.i2c import I2CBus
from citynode.virtual.soc.peripherals.onewire import OneWireBus
from citynode.virtual.soc.peripherals.pins import Pins
from citynode.virtual.soc.peripherals.serial import UartLine
from citynode.virtual.world import World


class I2CPins(Protocol):
    """The two lines of a bus."""

    @property
    def scl(self) -> int:
        """The clock line."""
        ...

    @property
    def sda(self) -> int:
        """The data line."""
        ...


class UartPins(Protocol):
    """The two lines of a serial port."""

    @property
    def rx(self) -> int:
        """The line in."""
        ...

    @property
    def tx(self) -> int:
        """The line out."""
        ...


class Places(Protocol):
    """Where sensors may be on a board."""

    @property
    def i2c(self) -> I2CPins:
        """The pins of its I2C."""
        ...

    @property
    def i2c2(self) -> I2CPins | None:
        """The pins of a second one."""
        ...

    @property
    def uarts(self) -> Sequence[UartPins]:
        """The pins of its serial ports."""
        ...

    @property
    def terminals(self) -> Mapping[str, int]:
        """The free pins by their names."""
        ...


class Fitted(Protocol):
    """A sensor as a profile has it."""

    @property
    def chip(self) -> str:
        """The name of its driver."""
        ...

    @property
    def address(self) -> int | None:
        """Its I2C address."""
        ...

    @property
    def bus(self) -> int:
        """Which I2C it is on."""
        ...

    @property
    def uart(self) -> int | None:
        """Which serial port it is on."""
        ...

    @property
    def pin(self) -> str | None:
        """Which terminal it is on."""
        ...

    @property
    def switch(self) -> str | None:
        """The terminal that switches its supply."""
        ...

    @property
    def options(self) -> Mapping[str, object]:
        """Its driver's options."""
        ...


@dataclass(frozen=True)
class _Usual:
    """A sensor on the first I2C."""

    chip: str
    address: int | None
    bus: int = 1
    uart: int | None = None
    pin: str | None = None
    switch: str | None = None
    options: Mapping[str, object] = field(default_factory=dict)


# What is on a board that nobody has said anything of.
USUAL: tuple[Fitted, ...] = (_Usual("bme280", 0x76), _Usual("sht4x", 0x44))


class Wiring:
    """The models of `sensors` on the pins of a board; `chips` has them in that order.

    `name` tells the boards of one rack apart: what chance decides, it decides for each anew. A
    sensor without a model is not there: nothing answers at its place.
    """

    def __init__(
        self,
        spec: Places,
        sensors: Sequence[Fitted],
        pins: Pins,
        adc: Adc,
        engine: Engine,
        world: World,
        name: str,
    ) -> None:
        self.chips: list[object | None] = []
        self.lines: list[UartLine] = []
        self.onewire: list[OneWireBus] = []
        self._spec = spec
        self._pins = pins
        self._adc = adc
        self._engine = engine
        self._world = world
        on_bus: tuple[list[I2CDevice], list[I2CDevice]] = ([], [])
        on_wire: dict[int, list[DS18B20]] = {}
        for number, sensor in enumerate(sensors):
            # The first of a kind has the name that boards without a profile know.
            first = all(each.chip != sensor.chip for each in sensors[:number])
            rng = engine.rng(f"{sensor.chip} {name}" + ("" if first else f" {number}"))
            chip: object | None = None
            if sensor.address is not None:
                if (device := self._i2c(sensor, rng)) is not None:
                    on_bus[sensor.bus - 1].append(device)
                chip = device
            elif sensor.uart is not None:
                chip = self._serial(sensor, rng)
            elif sensor.pin is not None:
                gpio = spec.terminals[sensor.pin]
                if sensor.chip == "ds18b20":
                    chip = probe = DS18B20(engine.clock, world.air, rng)
                    on_wire.setdefault(gpio, []).append(probe)
                else:
                    chip = self._pin(sensor, gpio, rng)
            self.chips.append(chip)
        self.buses = [I2CBus(pins, spec.i2c.scl, spec.i2c.sda, on_bus[0])]
        if spec.i2c2 is not None:
            self.buses.append(I2CBus(pins, spec.i2c2.scl, spec.i2c2.sda, on_bus[1]))
        self.onewire = [OneWireBus(pins, gpio, probes) for gpio, probes in on_wire.items()]

    def _i2c(self, sensor: Fitted, rng: random.Random) -> I2CDevice | None:
        clock, world = self._engine.clock, self._world
        address = sensor.address or 0
        makers: dict[str, Callable[[], I2CDevice]] = {
            "bme280": lambda: BME280(clock, world.air, rng, address),
            "bme680": lambda: BME680(clock, world.air, world.around, rng, address),
            "sht4x": lambda: SHT4x(clock, world.air, rng, address),
            "scd41": lambda: SCD41(clock, world.air, world.around, rng, address),
            "sps30": lambda: SPS30(clock, world.around, rng, address),
            "mlx90614": lambda: MLX90614(clock, world.air, world.around, rng, address),
        }
        maker = makers.get(sensor.chip)
        return None if maker is None else maker()

    def _serial(self, sensor: Fitted, rng: random.Random) -> SerialChip | None:
        engine, around = self._engine, self._world.around
        makers: dict[str, Callable[[], SerialChip]] = {
            "sps30_uart": lambda: SPS30Uart(engine, around, rng),
            "pms5003": lambda: PMS5003(engine, around),
            "pms7003": lambda: PMS5003(engine, around),
            "sds011": lambda: SDS011(engine, around, rng),
        }
        maker = makers.get(sensor.chip)
        if maker is None:
            return None
        chip = maker()
        port = self._spec.uarts[(sensor.uart or 1) - 1]
        line = UartLine(port.rx, port.tx)
        chip.plug(line)
        self.lines.append(line)
        if sensor.switch is not None:
            self._pins.watch(self._spec.terminals[sensor.switch], chip.supply)
        return chip

    def _pin(self, sensor: Fitted, gpio: int, rng: random.Random) -> object | None:
        engine, world = self._engine, self._world

        def drive(level: int) -> None:
            self._pins.drive(gpio, level)

        if sensor.chip == "raingauge":
            return RainGauge(engine, world.rain_mm, drive, rng)
        if sensor.chip == "anemometer":
            return Anemometer(engine, world.wind_ms, drive, rng)
        if sensor.chip == "windvane":
            turned = _number(sensor.options, "north_deg", 0.0)

            def direction(ns: int) -> float | None:
                true = world.wind_from_deg(ns)
                return None if true is None else (true + turned) % 360

            vane = WindVane(
                engine.clock.now_ns,
                direction,
                pull_up_kohm=_number(sensor.options, "pull_up_ohm", 10_000.0) / 1000,
                supply_v=_number(sensor.options, "supply_uv", 3_300_000.0) / 1e6,
            )
            self._adc.connect(gpio, vane.volts)
            return vane
        return None


def _number(options: Mapping[str, object], name: str, usual: float) -> float:
    value = options.get(name, usual)
    return float(value) if isinstance(value, (int, float)) else usual

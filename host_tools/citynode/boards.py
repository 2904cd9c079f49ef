"""Boards as data: one TOML file each, checked against what the chip has."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from citynode import resources
from citynode.errors import CitynodeError
from citynode.tomlfile import Table, load

Gpio = Annotated[int, Field(ge=0, le=48)]

Terminal = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]{0,7}$")]

_ESP32_FLASH = frozenset(range(6, 12))


class ChipPins(Table):
    """Which pins of a chip a board file may name (datasheets, "Pin Definitions")."""

    gpios: frozenset[int]
    input_only: frozenset[int] = frozenset()
    strapping: frozenset[int] = frozenset()
    adc1: frozenset[int]  # the converter that works beside WiFi
    flash: frozenset[int]  # wired to the flash or inside the package
    adc_uv: int = 3_100_000  # what the converter ends at, at 11 dB
    uarts: int = 2  # beside the console's
    second_i2c: bool = True


CHIP_PINS = {
    "esp32": ChipPins(
        gpios=frozenset((*range(24), *range(25, 28), *range(32, 40))) - {20},
        input_only=frozenset(range(34, 40)),
        strapping=frozenset((0, 2, 5, 12, 15)),
        adc1=frozenset(range(32, 40)),
        flash=_ESP32_FLASH,
    ),
    "esp32s3": ChipPins(
        gpios=frozenset((*range(22), *range(26, 49))),
        strapping=frozenset((0, 3, 45, 46)),
        adc1=frozenset(range(1, 11)),
        flash=frozenset(range(26, 33)),
    ),
    "esp32c3": ChipPins(
        gpios=frozenset(range(22)),
        strapping=frozenset((2, 8, 9)),
        adc1=frozenset(range(5)),
        flash=frozenset(range(11, 18)),
        adc_uv=2_500_000,
        uarts=1,
        second_i2c=False,
    ),
}


class I2C(Table):
    """The pins that sensors are connected to; `freq` in hertz."""

    scl: Gpio
    sda: Gpio
    freq: Annotated[int, Field(ge=10_000, le=1_000_000)] = 100_000


class Uart(Table):
    """The pins of a serial port for sensors."""

    rx: Gpio
    tx: Gpio


class Enable(Table):
    """A pin that switches something on, and the level that does."""

    pin: Gpio
    level: Literal[0, 1]


class Battery(Table):
    """The pin behind the divider of a battery or solar panel: its volts = `ratio` × pin volts.

    `enable` connects the divider, if it is not always.
    """

    pin: Gpio
    ratio: Annotated[float, Field(gt=0, le=100)]
    enable: Enable | None = None


class Radio(Table):
    """The LoRa chip and its pins; `dio0` is an SX127x's, `busy` an SX126x's."""

    chip: Literal["sx1276", "sx1262"]
    sck: Gpio
    miso: Gpio
    mosi: Gpio
    cs: Gpio
    reset: Gpio
    dio1: Gpio
    dio0: Gpio | None = None
    dio2: Gpio | None = None
    busy: Gpio | None = None
    tcxo_v: Annotated[float, Field(ge=1.6, le=3.3)] | None = None
    dio2_switch: bool = False

    @model_validator(mode="after")
    def _has_its_lines(self) -> Self:
        if self.chip == "sx1276" and self.dio0 is None:
            raise ValueError("an sx1276 needs dio0")
        if self.chip == "sx1262" and self.busy is None:
            raise ValueError("an sx1262 needs busy")
        return self


class Board(Table):
    """One kind of board.

    `flash_mib` and `psram_mib` are what it carries, `micropython` is the name of the builds for
    it, `power` a pin that feeds the sensor connector, `sources` say where the pins were looked up.
    `i2c` and `i2c2` are the two buses that sensors may be on, `uarts` the serial ports beside the
    console's, and `terminals` the free pins by the names that profiles use for them.
    """

    id: Annotated[str, Field(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$", max_length=32, repr=False)]
    name: Annotated[str, Field(min_length=1, max_length=64)]
    chip: Literal["esp32", "esp32s3", "esp32c3"]
    flash_mib: Literal[2, 4, 8, 16]
    psram_mib: Annotated[int, Field(ge=0, le=16)] = 0
    micropython: Annotated[str, Field(pattern=r"^[A-Z0-9_]+(-[A-Z0-9_]+)?$")]
    i2c: I2C
    i2c2: I2C | None = None
    uarts: Annotated[tuple[Uart, ...], Field(max_length=2)] = ()
    terminals: dict[Terminal, Gpio] = Field(default_factory=dict)
    led: Gpio | None = None
    battery: Battery | None = None
    solar: Battery | None = None
    power: Enable | None = None
    radio: Radio | None = None
    notes: tuple[str, ...] = ()
    sources: Annotated[tuple[str, ...], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _arrays(cls, data: object) -> object:
        """TOML arrays come as lists; strict tuples do not take them."""
        if isinstance(data, dict):
            return {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return data

    @model_validator(mode="after")
    def _fits_the_chip(self) -> Self:
        pins = CHIP_PINS[self.chip]
        used: dict[int, str] = {}
        for role, gpio, output in self.pins():
            if gpio not in pins.gpios or gpio in pins.flash:
                raise ValueError(f"{role}: GPIO{gpio} cannot be used on an {self.chip}")
            if output and gpio in pins.input_only:
                raise ValueError(f"{role}: GPIO{gpio} of an {self.chip} is an input only")
            if gpio in used:
                raise ValueError(f"{role}: GPIO{gpio} is {used[gpio]} already")
            used[gpio] = role
        for role, divider in (("battery", self.battery), ("solar", self.solar)):
            if divider is not None and divider.pin not in pins.adc1:
                raise ValueError(f"{role}.pin: GPIO{divider.pin} is not on ADC1")
        if self.i2c2 is not None and not pins.second_i2c:
            raise ValueError(f"i2c2: an {self.chip} has one I2C")
        if len(self.uarts) > pins.uarts:
            raise ValueError(f"uarts: an {self.chip} has {pins.uarts} beside the console's")
        return self

    def pins(self) -> Iterator[tuple[str, int, bool]]:
        """Yield (key in the file, GPIO, whether the chip drives it)."""
        yield "i2c.scl", self.i2c.scl, True
        yield "i2c.sda", self.i2c.sda, True
        if self.i2c2 is not None:
            yield "i2c2.scl", self.i2c2.scl, True
            yield "i2c2.sda", self.i2c2.sda, True
        for number, uart in enumerate(self.uarts, 1):
            yield f"uarts[{number}].rx", uart.rx, False
            yield f"uarts[{number}].tx", uart.tx, True
        for name, gpio in self.terminals.items():
            yield f"terminals.{name}", gpio, False  # a profile says what it is
        if self.led is not None:
            yield "led", self.led, True
        for role, divider in (("battery", self.battery), ("solar", self.solar)):
            if divider is not None:
                yield f"{role}.pin", divider.pin, False
                if divider.enable is not None:
                    yield f"{role}.enable.pin", divider.enable.pin, True
        if self.power is not None:
            yield "power.pin", self.power.pin, True
        if self.radio is not None:
            for line, output in _RADIO_LINES:
                gpio = getattr(self.radio, line)
                if gpio is not None:
                    yield f"radio.{line}", gpio, output

    def traps(self) -> list[str]:
        """Return what is allowed but worth knowing: strapping pins in use."""
        strapping = CHIP_PINS[self.chip].strapping
        return [
            f"{role} is GPIO{gpio}, a strapping pin: what hangs on it must not pull it at reset"
            for role, gpio, _ in self.pins()
            if gpio in strapping
        ]


_RADIO_LINES = (
    ("sck", True),
    ("miso", False),
    ("mosi", True),
    ("cs", True),
    ("reset", True),
    ("dio0", False),
    ("dio1", False),
    ("dio2", False),
    ("busy", False),
)


def board_ids() -> list[str]:
    """Return the ids of the boards that come with citynode, in alphabetical order."""
    return sorted(path.stem for path in resources.board_configs().glob("*.toml"))


def load_board(name: str) -> Board:
    """Return the board of an id, or of a TOML file of one's own.

    Raises CitynodeError (unknown, or the file is wrong).
    """
    path = Path(name)
    if path.suffix == ".toml":
        return load(path, Board, id=path.stem.lower())
    known = board_ids()
    if name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise CitynodeError(
            f"unknown board {name!r}", f"{hint}see 'citynode boards', or give a TOML file"
        )
    return load(resources.board_configs() / f"{name}.toml", Board, id=name)

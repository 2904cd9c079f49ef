"""The traffic sensor of a profile: which one, where it is connected, how it is mounted."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from citynode.boards import CHIP_PINS, Board
from citynode.errors import CitynodeError
from citynode.tomlfile import Table

Bus = Annotated[int, Field(ge=1, le=2)]
Address = Annotated[int, Field(ge=0x08, le=0x77)]

# Where each kind of sensor is connected: I2C with its fixed address, a serial port, or one pin.
ADDRESSES = {"mmc5983": 0x30, "qmc5883l": 0x0D}
LIDARS = ("tf02pro", "tfluna", "tfmini")
ULTRASONIC = ("a02yyuw", "jsnsr04t")
RANGES = (*LIDARS, *ULTRASONIC)
# Sensors of which two a known distance apart tell the speed.
PAIRS = (*ADDRESSES, *LIDARS)
# Those of which one alone tells the speed, if the angle is known.
ANGLED = ("ops243",)
_MM = 1000
_WHOLE_S = 60  # the traffic record counts its interval in minutes


class Second(Table):
    """Where the second one of two is connected."""

    bus: Bus | None = None
    address: Address | None = None
    uart: Bus | None = None


class Traffic(Table):
    """What counts vehicles, and where it is mounted.

    `lane_m`: from the sensor to the middle of its lane; `lane_width_m`, `lanes`: of the road that
    it looks at (a magnetometer counts the first lane and must know that there is a next one);
    `spacing_m`: of two sensors along the lane; `angle_deg`: between beam and lane; `overhead`: it
    looks down; `far_m`: what the beam ends at, if it was measured; `park_s`: after how long what
    stands still is parked. Distances in metres.
    """

    sensor: Literal[
        "mmc5983", "qmc5883l", "tf02pro", "tfluna", "tfmini", "a02yyuw", "jsnsr04t", "ops243",
        "ld2410", "loop",
    ]  # fmt: skip
    mount: Literal["across", "along"] | None = None
    bus: Bus | None = None
    address: Address | None = None
    uart: Bus | None = None
    pin: str | None = None
    second: Second | None = None
    lane_m: Annotated[float, Field(ge=0.2, le=30)] | None = None
    lane_width_m: Annotated[float, Field(ge=2, le=6)] = 3.5
    lanes: Annotated[int, Field(ge=1, le=4)] = 1
    spacing_m: Annotated[float, Field(ge=0.3, le=10)] | None = None
    angle_deg: Annotated[float, Field(ge=0, lt=90)] | None = None
    overhead: bool = False
    far_m: Annotated[float, Field(gt=0.2, le=40)] | None = None
    park_s: Annotated[int, Field(ge=10, le=3600)] = 120

    @model_validator(mode="before")
    @classmethod
    def _whole_metres(cls, data: object) -> object:
        """A whole number is a distance, too."""
        if not isinstance(data, dict):
            return data
        lengths = ("lane_m", "lane_width_m", "spacing_m", "angle_deg", "far_m")
        return {
            key: float(value) if key in lengths and type(value) is int else value
            for key, value in data.items()
        }

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        for wrong, text in self._wrongs():
            if wrong:
                raise ValueError(text)
        return self

    def _wrongs(self) -> list[tuple[bool, str]]:
        sensor = self.sensor
        on_bus, on_pin = sensor in ADDRESSES, sensor == "loop"
        on_uart = not on_bus and not on_pin
        second = self.second or Second()
        return [
            (self.bus is not None and not on_bus, f"bus: a {sensor} is not on I2C"),
            (self.address is not None and not on_bus, f"address: a {sensor} is not on I2C"),
            (self.uart is not None and not on_uart, f"uart: a {sensor} has no serial port"),
            (self.pin is not None and not on_pin, f"pin: a {sensor} is not on a pin of its own"),
            (on_pin and self.pin is None, "pin is missing: name the terminal of the loop detector"),
            (sensor in RANGES and self.mount is None, "mount is missing: across or along"),
            (
                self.mount is not None and sensor not in RANGES,
                f"mount: a {sensor} is no range finder",
            ),
            (
                self.mount == "along" and sensor in ULTRASONIC,
                f"mount: a {sensor} is too slow to look along the lane",
            ),
            (
                (sensor in ANGLED or self.mount == "along") and self.angle_deg is None,
                "angle_deg is missing: between the beam and the lane",
            ),
            (
                self.angle_deg is not None and sensor not in ANGLED and self.mount != "along",
                "angle_deg is of sensors that look along the lane",
            ),
            (
                self.lane_m is None and not on_pin and sensor not in ANGLED and not self.overhead
                and self.mount != "along",
                "lane_m is missing: from the sensor to the middle of its lane",
            ),
            (
                self.spacing_m is not None and sensor not in PAIRS,
                f"spacing_m: two {sensor} are not used as a pair",
            ),
            (
                self.spacing_m is not None and self.mount == "along",
                "spacing_m: one sensor along the lane tells the speed by itself",
            ),
            (
                self.spacing_m is not None and self.lanes > 1 and sensor in RANGES,
                "spacing_m: two beams are for one lane",
            ),
            (
                self.second is not None and self.spacing_m is None,
                "second: tell with spacing_m how far apart the two sensors are",
            ),
            (second.uart is not None and not on_uart, f"second.uart: a {sensor} has none"),
            (second.bus is not None and not on_bus, f"second.bus: a {sensor} is not on I2C"),
            (
                second.address is not None and not on_bus,
                f"second.address: a {sensor} is not on I2C",
            ),
            (
                self.overhead and self.mount != "across",
                "overhead is of range finders across the lane",
            ),
            (self.far_m is not None and self.mount != "across", "far_m is of a beam across"),
            (len(set(self.places())) < len(self.places()), "both sensors are at one place"),
        ]  # fmt: skip

    def places(self) -> list[tuple[str, int | str, int]]:
        """Return where the sensors are: ("i2c", bus, address), ("uart", number, 0), ("pin", …)."""
        first, second = self, self.second or Second()
        if self.sensor == "loop":
            return [("pin", self.pin or "", 0)]
        if self.sensor in ADDRESSES:
            usual = ADDRESSES[self.sensor]
            rows: list[tuple[str, int | str, int]] = [
                ("i2c", first.bus or 1, first.address or usual)
            ]
            if self.spacing_m is not None:
                rows.append(("i2c", second.bus or 2, second.address or usual))
            return rows
        rows = [("uart", first.uart or 1, 0)]
        if self.spacing_m is not None:
            rows.append(("uart", second.uart or 2, 0))
        return rows

    def taken(self) -> list[tuple[object, ...]]:
        """Return what no other sensor may have, as `Sensor.place` tells it."""
        names = {"i2c": "address"}
        return [
            (names.get(kind, kind), number, *([address] if address else []))
            for kind, number, address in self.places()
        ]


def check(traffic: Traffic, interval_s: int, sleep: str) -> None:
    """Raise ValueError if the rest of the profile does not go with it."""
    if sleep != "none":
        raise ValueError("a node that sleeps does not see what passes: sleep must be none")
    if interval_s % _WHOLE_S:
        raise ValueError("interval_s of a traffic node must be whole minutes")


def check_fits(board: Board, traffic: Traffic) -> None:
    """Raise CitynodeError if the board has not the port that the sensor needs."""
    for kind, number, _ in traffic.places():
        if kind == "i2c" and number == 2 and board.i2c2 is None:
            _refuse(board, traffic, "no second I2C bus")
        elif kind == "uart" and isinstance(number, int) and number > len(board.uarts):
            _refuse(board, traffic, f"no serial port {number}")
        elif kind == "pin" and number not in board.terminals:
            _refuse(board, traffic, f"no terminal {number!r}")
        elif kind == "pin" and board.terminals[str(number)] in CHIP_PINS[board.chip].input_only:
            _refuse(board, traffic, f"no pull-up at its terminal {number}")


def _refuse(board: Board, traffic: Traffic, what: str) -> None:
    raise CitynodeError(
        f"the board {board.id} has {what}, which the traffic sensor {traffic.sensor} needs",
        "choose another board (see 'citynode boards'), or another place in the profile",
    )


def config(board: Board, traffic: Traffic) -> dict[str, object]:
    """Return the part of the node's configuration: places as the node has them, lengths in mm."""
    ports: list[dict[str, object]] = []
    for kind, number, address in traffic.places():
        if kind == "i2c":
            ports.append({"bus": number, "address": address})
        elif kind == "uart":
            ports.append({"uart": number})
        else:
            ports.append({"pin": board.terminals[str(number)]})
    return {
        "sensor": traffic.sensor,
        "mount": traffic.mount or "",
        "ports": ports,
        "lane": _mm(traffic.lane_m),
        "lane_width": _mm(traffic.lane_width_m),
        "lanes": traffic.lanes,
        "spacing": _mm(traffic.spacing_m),
        "angle": traffic.angle_deg or 0.0,
        "overhead": traffic.overhead,
        "far": _mm(traffic.far_m),
        "park_s": traffic.park_s,
    }


def _mm(metres: float | None) -> int:
    return round((metres or 0) * _MM)

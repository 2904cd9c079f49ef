"""What the faults of a soak do to virtual boards and to what they hang on."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from citynode.soak.schedule import Due
from citynode.virtual.air import Air, Frame, Gateway
from citynode.virtual.air.network import Network
from citynode.virtual.site.console import Console
from citynode.virtual.site.sensors import Sensors
from citynode.virtual.site.wear import Wear
from citynode.virtual.soc.board import Board
from citynode.virtual.soc.lockstep import LockstepApp
from citynode.virtual.soc.peripherals.i2c import I2CBus
from citynode.virtual.world import World
from citynode.virtual.world.clock import NS

Undo = Callable[[], object]

_ALL = 1 << 60


@dataclass
class Holds:
    """Counts who holds something, so that it is let go by the last."""

    _count: Counter[str] = field(default_factory=Counter)

    def hold(self, what: str, take: Callable[[], object], give: Callable[[], object]) -> Undo:
        """Take something, if nobody has; what is returned gives it back, if nobody else has it."""
        self._count[what] += 1
        if self._count[what] == 1:
            take()

        def undo() -> None:
            self._count[what] -= 1
            if not self._count[what]:
                give()

        return undo


@dataclass
class Cell:
    """What all nodes of a cell hang on."""

    air: Air
    gateway: Gateway
    network: Network
    world: World
    holds: Holds = field(default_factory=Holds)


@dataclass
class Place:
    """One node: its board, and what is on it."""

    board: Board
    app: LockstepApp
    buses: Sequence[I2CBus]
    sensors: Sensors
    console: Console
    wear: Wear
    air: Air
    holds: Holds = field(default_factory=Holds)


# -- one node ------------------------------------------------------------------------------------


def power(place: Place, due: Due) -> Undo:
    """Cut the supply."""

    def off() -> None:
        place.board.power_off()
        place.wear.settle()

    return place.holds.hold("power", off, place.board.power_on)


def reset(place: Place, due: Due) -> Undo:
    """Pull EN low."""
    lines = place.board.set_lines
    return place.holds.hold(
        "reset", lambda: lines(dtr=False, rts=True), lambda: lines(dtr=False, rts=False)
    )


def flash(place: Place, due: Due) -> Undo:
    """Have programs and erases fail."""
    return place.wear.fail(due.size, due.seed)


def i2c(place: Place, due: Due) -> Undo:
    """Short a line of each bus to ground."""

    def short() -> None:
        for bus in place.buses:
            bus.hold_low(due.way)

    def release() -> None:
        for bus in place.buses:
            bus.release()

    return place.holds.hold("i2c", short, release)


def sensor(place: Place, due: Due) -> Undo:
    """Unplug all sensors, or have them tell nonsense."""
    return place.sensors.strike(due.way, due.seed)


def serial(place: Place, due: Due) -> Undo:
    """Have bytes changed or lost on the way from the port."""
    return place.console.spoil(due.way, due.size, due.seed)


def clock(place: Place, due: Due) -> Undo:
    """Let the crystal run too fast (too slow below 0)."""

    def run(ppm: float) -> None:
        place.app.clock_ppm = round(ppm)

    run(due.size)
    return lambda: run(0)


def radio(place: Place, due: Due) -> Undo:
    """Lose frames on the way from the node, to it, or both."""
    rng = random.Random(due.seed)
    on = True

    def is_lost(frame: Frame) -> bool:
        return on and rng.random() < due.size

    def is_sent_and_lost(frame: Frame) -> bool:
        return frame.sender == place.board.id and is_lost(frame)

    if due.way != "down":
        place.air.lose(is_sent_and_lost, _ALL)
    if due.way != "up":
        place.air.lose(is_lost, _ALL, at=place.board.id)

    def undo() -> None:
        nonlocal on
        on = False

    return undo


# -- a cell --------------------------------------------------------------------------------------


def gateway(cell: Cell, due: Due) -> Undo:
    """Switch the gateway off, or have the network send nothing."""
    if due.way == "mute":
        cell.network.mute(due.for_s)
        return lambda: None
    air, station = cell.air, cell.gateway
    return cell.holds.hold(
        "gateway", station.close, lambda: air.listen(station, air.engine.clock.now_ns())
    )


def wifi(cell: Cell, due: Due) -> Undo:
    """Switch the access points off."""
    air = cell.world.wifi

    def switch(on: bool) -> None:
        for point in air.access_points:
            air.change(point, on=on)

    return cell.holds.hold("wifi", lambda: switch(False), lambda: switch(True))


def broker(cell: Cell, due: Due) -> Undo:
    """Kill the MQTT broker, cut it off, or have it take messages and acknowledge none."""
    server = cell.world.broker

    def deafen(deaf: bool) -> None:
        server.deaf = deaf

    def cut_off(silent: bool) -> None:
        server.host.silent = silent

    if due.way == "deaf":
        return cell.holds.hold("deaf", lambda: deafen(True), lambda: deafen(False))
    if due.way == "silent":
        return cell.holds.hold("silent", lambda: cut_off(True), lambda: cut_off(False))
    return cell.holds.hold("broker", server.stop, server.start)


def ntp(cell: Cell, due: Due) -> Undo:
    """Have the time server answer nothing, or a time that is ahead of the true one."""
    server = cell.world.ntp

    def silence(silent: bool) -> None:
        server.silent = silent

    def put_ahead(seconds: float) -> None:
        server.offset_ns = round(seconds * NS)

    if due.way == "away":
        return cell.holds.hold("ntp", lambda: silence(True), lambda: silence(False))
    put_ahead(due.size)
    return lambda: put_ahead(0)


ON_NODES: Mapping[str, Callable[[Place, Due], Undo]] = {
    "power": power,
    "reset": reset,
    "flash": flash,
    "i2c": i2c,
    "sensor": sensor,
    "serial": serial,
    "clock": clock,
    "radio": radio,
}
ON_CELLS: Mapping[str, Callable[[Cell, Due], Undo]] = {
    "gateway": gateway,
    "wifi": wifi,
    "broker": broker,
    "ntp": ntp,
}
# An end of the supply in the middle of a write comes when the node next writes.
IN_WRITES = "brownout"
KINDS = frozenset((*ON_NODES, *ON_CELLS, IN_WRITES))

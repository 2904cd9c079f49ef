"""The traffic sensor of the configuration: its ports, its drivers, its detector."""

import machine

from node.core.traffic import Traffic
from node.hal.bus import Bus
from node.traffic import kinds
from node.traffic.aggregate import Aggregate
from node.traffic.ring import FAST, SLOW, Ring
from node.wire.const import const

# What magnetometers at 100 Hz want of a bus that is theirs alone.
_FAST_HZ = const(400000)
_TIMER = const(0)
_BAUDS = {"a02yyuw": 9600, "jsnsr04t": 9600, "ops243": 19200, "ld2410": 256000}
_LIDAR_BAUD = const(115200)
_LIDAR_MS = const(10)
_ULTRASONIC_MS = const(100)
# In events: the place of what is in no list of sensors.
PLACE = const(-1)


class _Tick:
    """A timer of the chip, whose interrupts come between two bytecodes of whatever runs."""

    def __init__(self) -> None:
        self._timer = machine.Timer(_TIMER)

    def start(self, ms: int, call) -> None:
        """Call every `ms` milliseconds."""
        self._timer.init(mode=machine.Timer.PERIODIC, period=ms, callback=call)

    def stop(self) -> None:
        """End that."""
        self._timer.deinit()


class Site:
    """What the configuration says of the traffic sensor, with its ports open.

    Raises ImportError, AttributeError (no such driver), ValueError, OSError, IndexError (the board
    has no such port).
    """

    def __init__(self, config, clock, wiring) -> None:
        self.config = config.traffic
        self.kind = kinds.SENSORS[self.config.sensor][0]
        self._clock = clock
        name = "node.sensors." + self.config.sensor
        self._driver = __import__(name, None, None, ("DRIVER",)).DRIVER
        self.ring = Ring(FAST if self.kind in (kinds.FIELD, kinds.RANGE) else SLOW)
        self._buses: list = []
        self._ports = [self._open(config, port, wiring) for port in self.config.ports]
        self._timer = _Tick() if self.kind == kinds.FIELD else None

    def _open(self, config, port, wiring) -> tuple:
        number, address = port
        if self.kind == kinds.FIELD:
            shared = any([each.bus == number and each.address for each in config.sensors])
            pins = config.i2c2 if number == 2 else config.i2c
            if shared or pins is None:
                bus = wiring.bus(number)
            else:
                bus = Bus(number - 1, pins[0], pins[1], max(pins[2], _FAST_HZ))
            self._buses.append(bus)
            return (bus, address)
        if self.kind == kinds.PULSE:
            return (machine.Pin(number, machine.Pin.IN, machine.Pin.PULL_UP),)
        return (wiring.uart(number, _BAUDS.get(self.config.sensor, _LIDAR_BAUD)),)

    def sight(self):
        """Make the drivers; blocks for up to a second, and raises what they do."""
        clock, ring = self._clock, self.ring
        chips = [self._driver(*(port + (clock,))) for port in self._ports]
        # What is not needed is not loaded.
        if self.kind == kinds.FIELD:
            from node.core.fields import Fields

            return Fields(ring, chips, self._timer)
        from node.core import sights

        if self.kind == kinds.RANGE:
            slow = self.config.sensor in _BAUDS
            return sights.Ranges(ring, chips, clock, _ULTRASONIC_MS if slow else _LIDAR_MS)
        if self.kind == kinds.SPEED:
            return sights.Reports(ring, chips)
        if self.kind == kinds.PRESENCE:
            return sights.Presence(ring, chips)
        return sights.Pulses(ring, chips)

    def recover(self) -> bool:
        """Free the buses; False if one is still held low."""
        return all([bus.recover() for bus in self._buses])

    def detector(self):
        """Make the detector that belongs to the mounting."""
        return kinds.make(self.config.sensor, self.config.mount, self.config.geometry)


def traffic_of(node, wiring, quiet):
    """Return the node's Traffic; None, and a fault, where its sensor cannot be."""
    config, clock = node.config, node.clock
    try:
        site = Site(config, clock, wiring)
    except (ImportError, AttributeError):
        config.faults.append("traffic.sensor")
        return None
    except (ValueError, OSError, IndexError):
        config.faults.append("traffic.ports")
        return None
    place = config.traffic
    return Traffic(
        place.sensor,
        PLACE,
        site.ring,
        site.sight,
        site.recover,
        site.detector(),
        Aggregate(kinds.lanes_of(place.sensor, place.mount, place.geometry)),
        node.battery,
        quiet,
        node.recorder,
        clock,
        node.counters,
        node.log,
    )

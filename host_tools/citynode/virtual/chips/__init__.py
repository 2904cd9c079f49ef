"""Chips on the boards' buses, modelled from their datasheets at the level of registers."""

from collections.abc import Callable, Sequence
from typing import Protocol

from citynode.virtual.world.climate import Surroundings
from citynode.virtual.world.weather import Conditions

# What is around a chip at a time of the engine's clock (ns); None where nobody knows.
Air = Callable[[int], Conditions | None]
Around = Callable[[int], Surroundings | None]
# What is on the road before a sensor at a time of the engine's clock (ns); None where nobody knows:
# the magnetic field (x, y, z in nT);
Field = Callable[[int], tuple[float, float, float] | None]
# distance (mm, 0 where nothing is seen) and strength of the echo;
Range = Callable[[int], tuple[float, int] | None]
# radial speed (mm/s, positive when it comes nearer) and magnitude of each target.
Targets = Callable[[int], Sequence[tuple[float, int]] | None]


class Clock(Protocol):
    """The engine's clock, as far as a chip needs it."""

    def now_ns(self) -> int:
        """Return the nanoseconds since the engine was made."""
        ...


class Timer(Protocol):
    """A call that is still to come."""

    def cancel(self) -> None:
        """Take it back."""
        ...


class Timeline(Protocol):
    """The engine, for chips that do something without being asked."""

    @property
    def clock(self) -> Clock:
        """Its clock."""
        ...

    def call_at(self, due_ns: int, fn: Callable[[], object], /) -> Timer:
        """Call at a time of the clock."""
        ...


class SerialLine(Protocol):
    """The two wires between a chip and a board's UART."""

    baud: int
    on_data: Callable[[bytes, int], None]

    def send(self, data: bytes) -> None:
        """Give the board bytes, whose last bit is over now."""
        ...


class OneWireDevice(Protocol):
    """A chip on a 1-Wire bus, slot by slot."""

    def reset(self) -> bool:
        """Hear a reset pulse; return whether the chip tells its presence."""
        ...

    def write(self, bit: int) -> None:
        """Take the bit of a write slot."""
        ...

    def read(self) -> int:
        """Give the bit of a read slot; 1 lets the wire be."""
        ...


class I2CDevice(Protocol):
    """A target on an I2C bus, byte by byte."""

    @property
    def address(self) -> int:
        """The 7-bit address."""
        ...

    def begin(self, read: bool) -> bool:
        """Take a START with this chip's address; return whether it acknowledges."""
        ...

    def write(self, byte: int) -> bool:
        """Take a byte; return whether it acknowledges."""
        ...

    def read(self) -> int:
        """Give a byte."""
        ...

    def end(self) -> None:
        """Take a STOP."""
        ...

    def power_up(self) -> None:
        """Start as after the supply came back."""
        ...

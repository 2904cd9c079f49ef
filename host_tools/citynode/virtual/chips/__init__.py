"""Chips on the boards' buses, modelled from their datasheets at the level of registers."""

from collections.abc import Callable
from typing import Protocol

from citynode.virtual.world.weather import Conditions

# What is around a chip at a time of the engine's clock (ns); None where nobody knows.
Air = Callable[[int], Conditions | None]


class Clock(Protocol):
    """The engine's clock, as far as a chip needs it."""

    def now_ns(self) -> int:
        """Return the nanoseconds since the engine was made."""
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

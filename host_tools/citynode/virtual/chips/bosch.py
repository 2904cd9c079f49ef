"""What Bosch's environmental sensors have in common: the bus, and the way back to a raw value."""

from abc import ABC, abstractmethod
from collections.abc import Callable


class PairTarget(ABC):
    """A chip on I2C that is written in pairs of register and value, and read on from a register.

    The chip has `_store(register, value)` and `_load(register)`; `_shadow` are the results that a
    burst reads, frozen from its start to its stop.
    """

    _pointer = 0
    _expects_register = True
    _shadow = b""

    def write(self, byte: int) -> bool:
        """Take a register's number or value, in pairs (BME280 datasheet, section 6.2.1)."""
        if self._expects_register:
            self._pointer = byte
        else:
            self._store(self._pointer, byte)
        self._expects_register = not self._expects_register
        return True

    def read(self) -> int:
        """Give the register and go on to the next (section 6.2.2)."""
        register = self._pointer
        self._pointer = register + 1 & 0xFF
        return self._load(register)

    def end(self) -> None:
        """Let the results go."""
        self._shadow = b""

    @abstractmethod
    def _store(self, register: int, value: int) -> None: ...

    @abstractmethod
    def _load(self, register: int) -> int: ...


def nearest(rising: Callable[[int], float], wanted: float, limit: int, step: int) -> int:
    """Return the multiple of `step` from 0 to `limit` whose value comes closest to `wanted`."""
    low, high = 0, limit // step
    while high - low > 1:
        middle = (low + high) // 2
        if rising(middle * step) <= wanted:
            low = middle
        else:
            high = middle
    below, above = low * step, high * step
    return below if wanted - rising(below) <= rising(above) - wanted else above

"""PCNT: counts edges on a pin by itself, while the program does something else."""

from citynode.virtual.soc.peripherals.pins import Host, Pins
from citynode.virtual.soc.rpc import HardwareError

_UNITS = {"esp32": 8, "esp32s3": 4, "esp32c3": 0}
RISING, FALLING = 1, 2


class _Unit:
    """One counter; bound to a pin for as long as it counts."""

    def __init__(self, pins: Pins, pin: int, edges: int, step: int) -> None:
        self.value = 0
        self._pins = pins
        self._pin = pin
        self._edges = edges
        self._step = step
        pins.watch(pin, self._on_edge)

    def close(self) -> None:
        """Stop counting."""
        self._pins.unwatch(self._pin, self._on_edge)

    def _on_edge(self, level: int) -> None:
        if self._edges & (RISING if level else FALLING):
            self.value += self._step


class Counters:
    """`machine.Counter`, as many as the chip has units."""

    def __init__(self, pins: Pins) -> None:
        self._pins = pins
        self._units: dict[int, _Unit] = {}

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.Counter`; a soft reset ends counting."""
        app.at_soft_reset(self.reset)
        app.expose("counter.units", lambda: _UNITS[self._pins.chip.id])
        app.expose("counter.init", self._init)
        app.expose("counter.value", self._value)
        app.expose("counter.deinit", self._deinit)

    def reset(self) -> None:
        """Release all units."""
        for number in list(self._units):
            self._deinit(number)

    def _init(self, number: int, pin: int, edges: int, step: int) -> None:
        self._deinit(number)
        self._units[number] = _Unit(self._pins, pin, edges, step)

    def _value(self, number: int, value: int | None) -> int:
        """Return the count and set it if a value is given, without losing an edge between."""
        unit = self._units.get(number)
        if unit is None:
            raise HardwareError("RuntimeError", "not initialised")
        before = unit.value
        if value is not None:
            unit.value = value
        return before

    def _deinit(self, number: int) -> None:
        unit = self._units.pop(number, None)
        if unit is not None:
            unit.close()

"""1-Wire: what the chip bit-bangs on a pin, and the chips on the wire.

A slot is whole on the host; what happens in it is: a wire that anyone holds low is low.
"""

from collections.abc import Sequence

from citynode.virtual.chips import OneWireDevice
from citynode.virtual.soc.peripherals.pins import Host, Pins


class OneWireBus:
    """One wire with a pull-up and chips on it."""

    def __init__(self, pins: Pins, pin: int, devices: Sequence[OneWireDevice] = ()) -> None:
        self.pin = pin
        self.devices = list(devices)
        self._pins = pins
        self._held = False
        pins.connect(pin, lambda: 0 if self._held else 1)

    def hold_low(self) -> None:
        """Short the wire to ground until `release`."""
        self._held = True
        self._pins.changed(self.pin)

    def release(self) -> None:
        """Take the short off."""
        self._held = False
        self._pins.changed(self.pin)

    def reset(self) -> bool:
        """Give a reset pulse; return whether the wire is low where a chip tells its presence."""
        # Each chip hears it, and not only as many as are needed for an answer.
        present = [device.reset() for device in self.devices]
        return self._held or any(present)

    def write(self, bit: int) -> None:
        """Give a write slot."""
        for device in self.devices:
            device.write(0 if self._held else bit)

    def read(self) -> int:
        """Give a read slot and return the level in it."""
        bits = [device.read() for device in self.devices]
        return int(not self._held and all(bits))


class OneWire:
    """The module `_onewire` over the wires of the board; a pin without one reads its level."""

    def __init__(self, pins: Pins, buses: Sequence[OneWireBus] = ()) -> None:
        self.buses = tuple(buses)
        self._pins = pins
        self._buses = {bus.pin: bus for bus in buses}

    def attach(self, app: Host) -> None:
        """Answer the calls of `_onewire`."""
        app.expose("onewire.reset", self._reset)
        app.expose("onewire.read", self._read)
        app.expose("onewire.write", self._write)

    def reset(self) -> None:
        """Nothing stays: the chips are not on the reset line."""

    def _reset(self, pin: int) -> bool:
        bus = self._buses.get(pin)
        return not self._pins.level(pin) if bus is None else bus.reset()

    def _read(self, pin: int, count: int) -> int:
        """Read bits, the lowest first."""
        bus = self._buses.get(pin)
        if bus is None:
            return (1 << count) - 1 if self._pins.level(pin) else 0
        return sum(bus.read() << place for place in range(count))

    def _write(self, pin: int, value: int, count: int) -> None:
        """Write bits, the lowest first."""
        bus = self._buses.get(pin)
        if bus is not None:
            for place in range(count):
                bus.write(value >> place & 1)

"""The sensors of one node as a soak breaks them: no answer, the same for ever, wrong bits."""

import random
from collections.abc import Callable, Sequence
from functools import partial

from citynode.virtual.site.spoilt import Flipped, Garbled, Stuck, flip
from citynode.virtual.soc.peripherals.i2c import I2CBus
from citynode.virtual.soc.peripherals.onewire import OneWireBus
from citynode.virtual.soc.peripherals.serial import UartLine

_UNPLUGGED, _STUCK = "unplugged", "stuck"


class Sensors:
    """What is on the buses, serial ports and 1-Wire of a board.

    Of faults at a time an unplugged sensor comes first, then the one that began last.
    """

    def __init__(
        self, buses: Sequence[I2CBus], lines: Sequence[UartLine], wires: Sequence[OneWireBus]
    ) -> None:
        self._buses = [(bus, dict(bus.devices)) for bus in buses]
        self._lines = lines
        self._wires = [(wire, list(wire.devices)) for wire in wires]
        self._faults: list[tuple[str, int]] = []
        self._way = ""

    def strike(self, way: str, seed: int) -> Callable[[], None]:
        """Break them all in one way; what is returned is the end of that.

        A chip on I2C that is plugged in again has lost its state. What is on a serial port or on
        1-Wire falls silent where one on I2C is unplugged or stuck.
        """
        fault = (way, seed)
        self._faults.append(fault)
        self._become()

        def over() -> None:
            self._faults.remove(fault)
            self._become()

        return over

    def _become(self) -> None:
        before = self._way
        unplugged = [fault for fault in self._faults if fault[0] == _UNPLUGGED]
        self._way, seed = (unplugged or self._faults or [("", 0)])[-1]
        for bus, chips in self._buses:
            bus.devices.clear()
            if self._way == _UNPLUGGED:
                continue
            for at, chip in chips.items():
                if before == _UNPLUGGED:
                    chip.power_up()
                if self._way == _STUCK:
                    bus.devices[at] = Stuck(chip)
                else:
                    bus.devices[at] = Garbled(chip, seed + at) if self._way else chip
        silent = self._way in (_UNPLUGGED, _STUCK)
        for line in self._lines:
            line.cut = silent
            noise = partial(flip, rng=random.Random(seed + line.rx))
            line.spoil = noise if self._way and not silent else bytes
        for wire, probes in self._wires:
            sick_probes = [Flipped(probe, seed) if self._way else probe for probe in probes]
            wire.devices[:] = [] if silent else sick_probes

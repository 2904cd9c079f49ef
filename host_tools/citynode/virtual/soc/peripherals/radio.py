"""The LoRa radio of a board: the chip, and the pads that its lines go to."""

from functools import partial
from typing import Protocol

from citynode.virtual.air import Air
from citynode.virtual.chips.sx1262 import SX1262
from citynode.virtual.chips.sx1276 import SX1276
from citynode.virtual.soc.peripherals.pins import Host, Pins
from citynode.virtual.soc.peripherals.serial import SpiBus

_OUTPUTS = ("busy", "dio0", "dio1", "dio2")


class RadioSpec(Protocol):
    """What of a board's description says how its radio is wired."""

    @property
    def chip(self) -> str:
        """Its type: "sx1276" or "sx1262"."""
        ...

    @property
    def sck(self) -> int:
        """The clock's pad."""
        ...

    @property
    def mosi(self) -> int:
        """The pad of what goes to the chip."""
        ...

    @property
    def miso(self) -> int:
        """The pad of what comes from it."""
        ...

    @property
    def cs(self) -> int:
        """The pad that selects it."""
        ...

    @property
    def reset(self) -> int:
        """The pad that resets it."""
        ...

    @property
    def tcxo_v(self) -> float | None:
        """What its oscillator wants on DIO3; None: a crystal."""
        ...

    @property
    def dio2_switch(self) -> bool:
        """Whether DIO2 moves the antenna switch."""
        ...


class Radio:
    """A radio on its SPI bus. It is on no reset line of the chip, and keeps its state over them."""

    def __init__(self, spec: RadioSpec, pins: Pins, air: Air, name: str) -> None:
        self.chip: SX1262 | SX1276
        if spec.chip == "sx1262":
            self.chip = SX1262(air, name, tcxo_v=spec.tcxo_v, rf_switch=spec.dio2_switch)
        else:
            self.chip = SX1276(air, name)
        self.bus = SpiBus(pins, spec.sck, spec.mosi, spec.miso, {spec.cs: self.chip})
        self._pins = pins
        self._pads: dict[str, int] = {}
        for line in _OUTPUTS:
            pad = getattr(spec, line)
            if pad is not None:
                self._pads[line] = pad
                pins.connect(pad, partial(self.chip.line, line))
        # The chip pulls NRESET up itself.
        pins.connect(spec.reset, lambda: 1, self.chip.reset_line)
        self.chip.on_line = self._on_line

    def _on_line(self, line: str) -> None:
        pad = self._pads.get(line)
        if pad is not None:
            self._pins.changed(pad)

    def attach(self, app: Host) -> None:
        """Nothing: the program reaches it over SPI and pins."""

    def reset(self) -> None:
        """Nothing stays or goes with a reset of the board's chip."""

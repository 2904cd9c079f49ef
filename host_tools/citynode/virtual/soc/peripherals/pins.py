"""GPIO: pads with a mode, a pull and an output latch, what hangs on them, and edge interrupts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.rpc import Handler, HardwareError, Value

if TYPE_CHECKING:
    from citynode.virtual.soc.app import ExitKind

IN, OUT, OPEN_DRAIN = 1, 3, 7
_INPUT, _OUTPUT, _DRAIN = 1, 2, 4
PULL_DOWN, PULL_UP = 1, 2
RISING, FALLING = 1, 2
LOW, HIGH = 4, 5  # level triggers (ESP-IDF's gpio_int_type_t)

# Channels of the soft interrupts: this plus the number of the pin.
CHANNEL = 100


class Host(Protocol):
    """What peripherals need of the program that the chip runs."""

    def expose(self, name: str, fn: Handler, /) -> None:
        """Answer the interpreter's calls of `name` with `fn`."""
        ...

    def post_irq(self, channel: int, value: int, /) -> None:
        """Interrupt the interpreter."""
        ...

    def exit(self, kind: "ExitKind", sleep_ms: int | None = None, /) -> None:
        """End the program from inside the chip."""
        ...

    def at_soft_reset(self, hook: Callable[[], None], /) -> None:
        """Call `hook` when the program starts anew without a reset of the chip."""
        ...


@dataclass(slots=True)
class _Pad:
    mode: int = 0
    pull: int = 0
    latch: int = 0
    hold: bool = False
    trigger: int = 0
    level: int = 0  # as it was when it was last looked at, for edges
    outside: Callable[[], int | None] | None = None
    watchers: list[Callable[[int], None]] = field(default_factory=list)


class Pins:
    """The pads of one chip.

    What is outside drives a pad with `drive` (a level, None: lets go) or `connect` (a function
    that is asked, and a watcher that is told of each change).
    """

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self._pads = {number: _Pad() for number in sorted(chip.gpios)}
        self._host: Host | None = None
        self._triggered: set[int] = set()

    def interrupts(self) -> bool:
        """Tell whether the level of a pin may interrupt the program."""
        return bool(self._triggered)

    # -- from outside ---------------------------------------------------------------------------

    def drive(self, number: int, level: int | None) -> None:
        """Hold a pad at a level from outside; None lets it go."""
        self._pads[number].outside = None if level is None else lambda: level
        self.changed(number)

    def connect(
        self,
        number: int,
        outside: Callable[[], int | None],
        watcher: Callable[[int], None] | None = None,
    ) -> None:
        """Put something on a pad: `outside()` is its level there, `watcher(level)` hears edges."""
        pad = self._pads[number]
        pad.outside = outside
        if watcher is not None:
            pad.watchers.append(watcher)
        pad.level = self.level(number)

    def watch(self, number: int, watcher: Callable[[int], None]) -> None:
        """Have `watcher(level)` hear each edge on a pad, whoever makes it."""
        self._pads[number].watchers.append(watcher)

    def unwatch(self, number: int, watcher: Callable[[int], None]) -> None:
        """Stop telling `watcher`; nothing happens if it was not told."""
        watchers = self._pads[number].watchers
        if watcher in watchers:
            watchers.remove(watcher)

    def pulse(self, number: int, count: int = 1) -> None:
        """Pull a pad low and let it go, `count` times, as a reed contact does."""
        for _ in range(count):
            self.drive(number, 0)
            self.drive(number, 1)

    def level(self, number: int) -> int:
        """Return the voltage on a pad as 0 or 1; one that floats reads 0."""
        pad = self._pads[number]
        if pad.mode & _OUTPUT and not (pad.mode & _DRAIN and pad.latch):
            return pad.latch
        outside = pad.outside() if pad.outside is not None else None
        if outside is not None:
            return outside
        return int(bool(pad.pull & PULL_UP))

    def changed(self, number: int) -> None:
        """Look at a pad again: an edge goes to who watches it and, if asked for, to the program."""
        pad = self._pads[number]
        level = self.level(number)
        if level == pad.level:
            return
        pad.level = level
        edge = RISING if level else FALLING
        if self._host is not None and (
            pad.trigger & edge if pad.trigger < LOW else level == int(pad.trigger == HIGH)
        ):
            self._host.post_irq(CHANNEL + number, level)
        for watcher in pad.watchers:
            watcher(level)

    def is_output(self, number: int) -> bool:
        """Return whether the chip drives the pad."""
        return bool(self._pads[number].mode & _OUTPUT)

    # -- from the program -----------------------------------------------------------------------

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine.Pin`."""
        self._host = app
        app.at_soft_reset(self._forget_irqs)
        app.expose("pin.map", self._map)
        app.expose("pin.init", self._init)
        app.expose("pin.get", self._get)
        app.expose("pin.set", self._set)
        app.expose("pin.toggle", self._toggle)
        app.expose("pin.irq", self._irq)

    def reset(self) -> None:
        """Make inputs of all pads that are not held, with nothing pulling."""
        self._triggered.clear()
        for number, pad in self._pads.items():
            pad.trigger = 0
            if not pad.hold:
                pad.mode = pad.pull = pad.latch = 0
            self.changed(number)

    def _forget_irqs(self) -> None:
        # A soft reset takes the handlers away and leaves the levels (machine_pins_deinit).
        self._triggered.clear()
        for pad in self._pads.values():
            pad.trigger = 0

    def claim(self, number: int, mode: int, pull: int = 0, latch: int = 1) -> None:
        """Give a pad to a peripheral of the chip."""
        pad = self._pads[number]
        pad.mode, pad.pull, pad.latch = mode, pull, latch
        self.changed(number)

    def _map(self) -> Value:
        return tuple(self._pads), tuple(sorted(self.chip.input_only))

    def _init(
        self, number: int, mode: int | None, pull: int, value: int | None, hold: bool | None
    ) -> None:
        """Apply what is given: mode None, pull -1, value None and hold None leave it as it is."""
        pad = self._pads[number]
        if mode is not None and mode & _OUTPUT and number in self.chip.input_only:
            raise HardwareError("ValueError", "pin can only be input")
        if hold is not None:
            pad.hold = False
        if value is not None:
            pad.latch = int(bool(value))
        if mode is not None:
            pad.mode = mode
        # Pads that are only inputs have no pull resistors (ESP32 datasheet, 2.2): it is ignored.
        if pull >= 0 and number not in self.chip.input_only:
            pad.pull = pull
        if hold:
            pad.hold = True
        self.changed(number)

    def _get(self, number: int) -> int:
        # The input stage reads 0 while it is off.
        return self.level(number) if self._pads[number].mode & _INPUT else 0

    def _set(self, number: int, value: int) -> None:
        pad = self._pads[number]
        if not pad.hold:
            pad.latch = value
            self.changed(number)

    def _toggle(self, number: int) -> None:
        self._set(number, 1 - self._pads[number].latch)

    def _irq(self, number: int, trigger: int) -> None:
        pad = self._pads[number]
        pad.level = self.level(number)
        pad.trigger = trigger
        if trigger:
            self._triggered.add(number)
        else:
            self._triggered.discard(number)

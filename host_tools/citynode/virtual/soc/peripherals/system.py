"""What the chip keeps beside its program: soft resets, and the pins that end a deep sleep."""

from collections.abc import Callable
from functools import partial

from citynode.virtual.soc.peripherals.pins import Host, Pins
from citynode.virtual.soc.rpc import Value


class System:
    """Facts for `machine`, and wake-up by pins.

    `on_wake(source)` is called when a pin reaches the level that is to wake the chip; who owns
    the chip's sleep decides whether it sleeps.
    """

    def __init__(self, pins: Pins) -> None:
        self.on_wake: Callable[[str], None] = lambda source: None
        self._pins = pins
        self._soft = False
        self._watched: dict[str, list[tuple[int, Callable[[int], None]]]] = {}

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine`'s functions and of `esp32.wake_on_…`."""
        app.at_soft_reset(self._soft_reset)
        app.expose("system.facts", self._facts)
        app.expose("wake.ext0", self._ext0)
        app.expose("wake.ext1", partial(self._group, "ext1"))
        app.expose("wake.gpio", partial(self._group, "gpio"))

    def reset(self) -> None:
        """Forget soft resets and what was to wake the chip."""
        self._soft = False
        for source in list(self._watched):
            self._watch(source, (), 0)

    def _soft_reset(self) -> None:
        self._soft = True

    def _facts(self) -> Value:
        return self._pins.chip.id, self._soft

    def _ext0(self, pin: int | None, level: bool | None) -> None:
        self._watch("ext0", () if pin is None else (pin,), int(bool(level)))

    def _group(self, source: str, pins: list[int] | None, level: bool | None) -> None:
        self._watch(source, tuple(pins or ()), int(bool(level)))

    def _watch(self, source: str, pins: tuple[int, ...], level: int) -> None:
        for pin, watcher in self._watched.pop(source, []):
            self._pins.unwatch(pin, watcher)
        for pin in pins:
            watcher = partial(self._edge, source, level)
            self._pins.watch(pin, watcher)
            self._watched.setdefault(source, []).append((pin, watcher))

    def _edge(self, source: str, wanted: int, level: int) -> None:
        if level == wanted:
            self.on_wake(source)

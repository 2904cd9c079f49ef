"""What the chip keeps beside its program: soft resets, and the pins that end a deep sleep."""

from collections.abc import Callable, Sequence
from functools import partial

from citynode.virtual.engine import Engine
from citynode.virtual.soc.peripherals.pins import Host, Pins
from citynode.virtual.soc.rpc import Value

# Pins that the RTC domain reads in deep sleep (datasheets, pin tables).
_RTC_PINS = {
    "esp32": (0, 2, 4, 12, 13, 14, 15, 25, 26, 27, *range(32, 40)),
    "esp32s3": tuple(range(22)),
    "esp32c3": tuple(range(6)),
}
_SOURCES = {
    "esp32": ("ext0", "ext1"),
    "esp32s3": ("ext0", "ext1"),
    "esp32c3": ("gpio",),
}
# When a sleep that was asked for has begun is the board's business; it is looked at until then (s).
_LOOKS_S = (0.02, 0.1, 0.5, 2.0)


class System:
    """Facts for `machine`, and wake-up by pins.

    `on_wake(source)` is called when a pin is at the level that is to wake the chip; who owns the
    chip's sleep decides whether it sleeps.
    """

    def __init__(self, engine: Engine, pins: Pins) -> None:
        self.on_wake: Callable[[str], None] = lambda source: None
        self._engine = engine
        self._pins = pins
        self._soft = False
        self._watched: dict[str, tuple[tuple[int, ...], int, Callable[[int], None]]] = {}

    def attach(self, app: Host) -> None:
        """Answer the calls of `machine`'s functions and of `esp32.wake_on_…`."""
        app.at_soft_reset(self._soft_reset)
        app.expose("system.facts", self._facts)
        app.expose("wake.pins", lambda: _RTC_PINS[self._pins.chip.id])
        app.expose("wake.ext0", self._ext0)
        app.expose("wake.ext1", partial(self._watch, "ext1"))
        app.expose("wake.gpio", partial(self._watch, "gpio"))
        app.expose("wake.sleeping", self._sleeping)

    def reset(self) -> None:
        """Forget soft resets and what was to wake the chip."""
        self._soft = False
        for source in list(self._watched):
            self._watch(source, (), False)

    def _soft_reset(self) -> None:
        self._soft = True

    def _facts(self) -> Value:
        return self._pins.chip.id, self._soft

    def _ext0(self, pin: int | None, high: bool) -> None:
        self._watch("ext0", () if pin is None else (pin,), high)

    def _watch(self, source: str, pins: Sequence[int], high: bool) -> None:
        old = self._watched.pop(source, None)
        if old is not None:
            for pin in old[0]:
                self._pins.unwatch(pin, old[2])
        if not pins or source not in _SOURCES[self._pins.chip.id]:
            return

        def on_edge(level: int) -> None:
            if level == int(high):
                self._look(source)

        self._watched[source] = tuple(pins), int(high), on_edge
        for pin in pins:
            self._pins.watch(pin, on_edge)

    def _look(self, source: str) -> None:
        """Wake the chip if the pins are as the source wants them: ext1 at 0 wants all of them."""
        pins, wanted, _ = self._watched[source]
        reached = [self._pins.level(pin) == wanted for pin in pins]
        if all(reached) if source == "ext1" and not wanted else any(reached):
            self.on_wake(source)

    def _sleeping(self) -> None:
        """Look at the levels that are there already when the chip falls asleep."""

        def look() -> None:
            for source in list(self._watched):
                self._look(source)

        for delay_s in _LOOKS_S:
            self._engine.call_later(delay_s, look)

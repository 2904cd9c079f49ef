"""The auto-reset circuit of a development board: DTR and RTS drive EN and IO0.

Two transistors cross-couple the lines (Espressif's ESP32-DevKitC schematic): EN is pulled low iff
RTS is asserted and DTR is not, IO0 is pulled low iff DTR is asserted and RTS is not; both asserted
or none leave both pins to their pull-ups. A capacitor holds EN down for a moment after its
transistor lets go.
"""

from collections.abc import Callable

from citynode.virtual.engine import Engine, Timer

_RISE_S = 0.002  # 10 kΩ and 100 nF up to three quarters of the supply, roughly
# esptool's classic sequence passes through "both asserted" between "EN low" and "IO0 low", in
# microseconds on a cable: the capacitor hides it. Over RFC 2217 each step waits for its answer
# (pyserial looks every 50 ms), so the capacitor is given that much more when both are asserted;
# no tool rests there.
_RISE_BOTH_ASSERTED_S = 1.0


class AutoReset:
    """EN and IO0 as functions of DTR and RTS, and of time.

    `on_reset(held)` is called when EN goes low (True) and when it has risen (False); `io0_low` is
    IO0 at that moment, which is what the chip's strapping latch takes.

    With `usb_serial` the lines also do what they do to a chip's own USB port, where DTR alone asks
    for download mode and a reset without a rest between them grants it.
    """

    def __init__(
        self, engine: Engine, on_reset: Callable[[bool], object], *, usb_serial: bool = False
    ) -> None:
        self._engine = engine
        self._on_reset = on_reset
        self._usb_serial = usb_serial
        self._asked = self._granted = False
        self._rising: Timer | None = None
        self.dtr = False
        self.rts = False
        self.held = False

    @property
    def io0_low(self) -> bool:
        """Whether a chip that looks now finds IO0 low (or what its USB port has put there)."""
        return (self.dtr and not self.rts) or self._granted

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Apply the levels of both lines at once; True is asserted."""
        before = self.dtr, self.rts
        self.dtr, self.rts = dtr, rts
        if before == (dtr, rts):
            # Said twice, it is meant; a port that is being opened passes through this state.
            self._asked = self._asked or (self._usb_serial and dtr and not rts)
            return
        if not dtr and not rts:
            self._asked = False
        if self._rising is not None:
            self._rising.cancel()
            self._rising = None
        if rts and not dtr:
            if not self.held:
                self.held = True
                self._granted = self._asked
                self._on_reset(True)
        elif self.held:
            if dtr and not rts:
                # The wait would change nothing but for a late engine, which would then see IO0
                # let go before EN had risen.
                self._release()
            else:
                delay = _RISE_BOTH_ASSERTED_S if rts else _RISE_S
                self._rising = self._engine.call_later(delay, self._release)

    def _release(self) -> None:
        self._rising = None
        self.held = False
        self._on_reset(False)
        self._granted = False

"""What a virtual node draws from its battery: what its parts do, by the currents of datasheets."""

from citynode.energy import Draw
from citynode.virtual.chips.lora import Activity, LoRaRadio
from citynode.virtual.soc.board import Board, State
from citynode.virtual.soc.peripherals.wlan import Wlan
from citynode.virtual.world.clock import NS, Clock

_WITHOUT_SUPPLY = (State.OFF, State.HELD)


class Meter:
    """Adds up the charge of one board."""

    def __init__(
        self, clock: Clock, board: Board, wlan: Wlan, radio: LoRaRadio | None, draw: Draw
    ) -> None:
        self._clock = clock
        self._board = board
        self._wlan = wlan
        self._radio = radio
        self._draw = draw
        self._since_ns = clock.now_ns()
        self._ma = self._now_ma()
        self._mas = 0.0
        board.on_state = wlan.on_radio = self._changed
        if radio is not None:
            radio.on_activity = self._changed

    @property
    def mah(self) -> float:
        """What was drawn up to now, at the cell (mAh)."""
        self._changed()
        return self._mas / 3600

    def _changed(self) -> None:
        now = self._clock.now_ns()
        self._mas += self._ma * (now - self._since_ns) / NS
        self._since_ns = now
        self._ma = self._now_ma()

    def _now_ma(self) -> float:
        draw, state = self._draw, self._board.state
        if state in _WITHOUT_SUPPLY:
            return 0.0
        if state is State.ASLEEP:
            chip = draw.deep_sleep
        elif self._wlan.joining:
            chip = draw.wifi_join
        else:
            chip = draw.wifi if self._wlan.on else draw.awake
        antenna = draw.radio_sleep
        if self._radio is not None and self._radio.activity is not Activity.NONE:
            sends = self._radio.activity is Activity.SENDING
            antenna = draw.send if sends else draw.receive
        return chip + antenna + draw.sensors

"""Inductive loop detector with a contact or transistor output: low while a vehicle is there.

The detector's electronics has its own thresholds; what comes here are edges, by interrupts. An
output that stays closed for minutes is a parked car or a detector that hangs, an output that
flickers a loose contact.
"""

from array import array

from node.sensors import SensorError
from node.wire.const import const

_DEAD_MS = const(20)  # what is shorter is a bounce; vehicles are at least 0.3 s apart
_SHORTEST_MS = const(40)  # loop and vehicle, 4 m together, take 0.1 s at 40 m/s
_EDGES = const(64)
_STUCK_MS = const(600000)


class Loop:
    """The output on `pin` (pull-up), which has `irq(handler, trigger)`, `value()` and IRQ_…

    After a `read` that was True a vehicle has gone: `t_ms` (ticks at its middle), `occupied_ms`.
    `short` counts what was too short for a vehicle, `lost` edges for which there was no room.
    """

    def __init__(self, pin, clock) -> None:
        self._pin = pin
        self._clock = clock
        # Written by the interrupt alone, read by `read` alone.
        self._times = array("i", [0] * _EDGES)
        self._levels = bytearray(_EDGES)
        self._put = self._got = 0
        self.t_ms = self.occupied_ms = 0
        self.lost = self.short = 0
        self._since_ms = self._start_ms = self._end_ms = clock.ticks_ms()
        self._busy = self._waits = False
        pin.irq(self._edge, pin.IRQ_FALLING | pin.IRQ_RISING)

    def read(self) -> bool:
        """Take the next vehicle that has gone; to be called until it is False, every second or so.

        Raises SensorError "skipped", once for each 10 minutes in which one and the same is there.
        """
        clock = self._clock
        while self._got != self._put:
            place = self._got % _EDGES
            self._got = (self._got + 1) & 0xFFFF
            if self._step(self._times[place], self._levels[place]):
                return True
        # Interrupts are late, and lost where their queue is full: what is there now counts.
        now = clock.ticks_ms()
        level = self._pin.value()
        if self._got == self._put and self._step(now, level):
            return True
        if self._busy and clock.ticks_diff(now, self._since_ms) > _STUCK_MS:
            self._since_ms = now
            raise SensorError("skipped")
        return False

    def _edge(self, pin) -> None:
        if (self._put - self._got) & 0xFFFF >= _EDGES:
            self.lost += 1
            return
        place = self._put % _EDGES
        self._times[place] = self._clock.ticks_ms()
        self._levels[place] = pin.value()
        self._put = (self._put + 1) & 0xFFFF

    def _step(self, now: int, level: int) -> bool:
        """Take the level at a time; return whether a vehicle has gone by then."""
        gone = False
        if self._waits and self._clock.ticks_diff(now, self._end_ms) >= _DEAD_MS:
            self._busy = self._waits = False
            occupied = self._clock.ticks_diff(self._end_ms, self._start_ms)
            if occupied < _SHORTEST_MS:
                self.short += 1
            else:
                self.occupied_ms = occupied
                self.t_ms = self._clock.ticks_add(self._start_ms, occupied >> 1)
                gone = True
        if level:
            if self._busy and not self._waits:
                self._waits = True
                self._end_ms = now
        elif self._waits:
            self._waits = False  # it has bounced
        elif not self._busy:
            self._busy = True
            self._start_ms = self._since_ms = now
        return gone


DRIVER = Loop

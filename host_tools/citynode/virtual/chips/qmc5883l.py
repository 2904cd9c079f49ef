"""QST QMC5883L: magnetometer (datasheet 1.0 of 2016), on I2C.

Where nobody knows the field it does not answer: it has nothing true to say.
"""

from citynode.virtual.chips import Clock, Field
from citynode.virtual.chips.registers import MS, RegisterChip

_STATUS, _CONTROL_1, _CONTROL_2, _PERIOD, _ID = 0x06, 0x09, 0x0A, 0x0B, 0x0D
_READY, _OVERFLOW, _SKIPPED = 0x01, 0x02, 0x04
_PERIOD_NS = (100 * MS, 20 * MS, 10 * MS, 5 * MS)
_COUNTS_PER_G = (12000, 3000)
_LARGEST = 32767
_START_NS = MS // 2
_TEMPERATURE = 2500


class QMC5883L(RegisterChip):
    """The chip at `address` (0x0D).

    `faults` beside those of `RegisterChip`: "stopped" (it fell back to standby), "other-id".
    """

    def __init__(self, clock: Clock, field: Field, address: int = 0x0D) -> None:
        self._field = field
        super().__init__(clock, address)

    def power_up(self) -> None:
        """Start in standby."""
        self._ready_ns = self.clock.now_ns() + _START_NS
        self._control = {_CONTROL_1: 0, _CONTROL_2: 0, _PERIOD: 0}
        self._out = bytes(6)
        self._status = 0
        self._locked = False
        self._number = 0
        self._since_ns = self._ready_ns

    def answers(self) -> bool:
        """Return whether it acknowledges: not where it has nothing true to say."""
        return super().answers() and self._field(self.clock.now_ns()) is not None

    def store(self, place: int, value: int) -> None:
        """Take a control register."""
        now = self.clock.now_ns()
        if now < self._ready_ns or place not in self._control:
            return
        if place == _CONTROL_2 and value & 0x80:
            self.power_up()
            return
        self._control[place] = value
        if place == _CONTROL_1:
            self._since_ns, self._number = now, 0

    def load(self, place: int) -> int:
        """Return a register; what is read of a sample locks it until its last byte was read."""
        self._catch_up()
        if place < 6:
            self._locked = place != 5
            self._status &= ~_READY
            if place == 5:
                self._status &= ~_SKIPPED
            return self._out[place]
        if place == _STATUS:
            return self._status
        if place in (7, 8):
            return _TEMPERATURE.to_bytes(2, "little")[place - 7]
        if place == _ID:
            return 0x3C if "other-id" in self.faults else 0xFF
        return self._control.get(place, 0)

    def after(self, place: int) -> int:
        """Return where a read goes on: with ROL_PNT round and round 0x00 to 0x06."""
        rolls = self._control[_CONTROL_2] & 0x40
        return 0 if rolls and place == _STATUS else super().after(place)

    def _catch_up(self) -> None:
        """Make the sample that is due by now."""
        if "stopped" in self.faults:
            self.faults.discard("stopped")
            self._control[_CONTROL_1] = 0
        control = self._control[_CONTROL_1]
        period = _PERIOD_NS[control >> 2 & 0x03]
        number = (self.clock.now_ns() - self._since_ns) // period
        if not control & 0x01 or number <= self._number or self._locked:
            return
        if self._status & _READY or number > self._number + 1:
            self._status |= _SKIPPED
        self._number = number
        field = self._field(self._since_ns + number * period - period // 2)
        if field is None:
            return
        per_g = _COUNTS_PER_G[control >> 4 & 0x01]
        counts = [round(nt * per_g / 100_000) for nt in field]
        over = max(map(abs, counts)) > _LARGEST
        self._out = b"".join(
            min(_LARGEST, max(-_LARGEST - 1, value)).to_bytes(2, "little", signed=True)
            for value in counts
        )
        self._status = self._status & ~_OVERFLOW | _READY | over << 1

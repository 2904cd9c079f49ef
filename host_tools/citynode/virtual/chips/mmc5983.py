"""Memsic MMC5983MA: magnetometer (datasheet rev. A of 2019), on I2C.

Its bridge has an offset of its own, and counts the field positive after SET and negative after
RESET. Where nobody knows the field it does not answer: it has nothing true to say.
"""

import random

from citynode.virtual.chips import Clock, Field
from citynode.virtual.chips.registers import MS, RegisterChip

_STATUS, _CONTROL_0, _CONTROL_1, _CONTROL_2, _ID = 0x08, 0x09, 0x0A, 0x0B, 0x2F
_START_NS = 10 * MS
# Time of a measurement by bandwidth (table of internal control 1), samples a second by CM_Freq.
_MEASURE_NS = (8 * MS, 4 * MS, 2 * MS, MS // 2)
_RATES = (0, 1, 10, 20, 50, 100, 200, 1000)
_NT_PER_COUNT = 100_000 / 16384
_ZERO, _LARGEST = 0x20000, 0x3FFFF
_OFFSET_NT = 15_000.0
_TEMPERATURE = round((25.0 + 75.0) / 0.8)
_UPSET_GAIN, _UPSET_NT = 0.6, 30_000.0


class MMC5983(RegisterChip):
    """The chip at `address` (0x30); `rng` draws the offsets of its bridge, `offset_nt`.

    `faults` beside those of `RegisterChip`: "never-done" (measurements do not end), "other-id".
    `upset` is what a strong magnet does, until the next SET or RESET.
    """

    def __init__(self, clock: Clock, field: Field, rng: random.Random, address: int = 0x30) -> None:
        self.offset_nt = [rng.uniform(-_OFFSET_NT, _OFFSET_NT) for _ in range(3)]
        self._field = field
        self._sign = 1
        self._gain, self._extra_nt = 1.0, 0.0
        super().__init__(clock, address)

    def power_up(self) -> None:
        """Start idle; the film keeps how it was magnetised."""
        self._ready_ns = self.clock.now_ns() + _START_NS
        self._control = {_CONTROL_0: 0, _CONTROL_1: 0, _CONTROL_2: 0}
        self._out = bytes(7)
        self._done = self._temperature_done = False
        self._due_ns: int | None = None

    def upset(self) -> None:
        """Bring a strong magnet near, and take it away."""
        self._gain, self._extra_nt = _UPSET_GAIN, _UPSET_NT

    def answers(self) -> bool:
        """Return whether it acknowledges: not where it has nothing true to say."""
        return super().answers() and self._field(self.clock.now_ns()) is not None

    def store(self, place: int, value: int) -> None:
        """Take a control register; those are for writing only."""
        self._catch_up()
        now = self.clock.now_ns()
        if place == _STATUS:
            self._done = self._done and not value & 0x01
        elif now < self._ready_ns or place not in self._control:
            return
        elif place == _CONTROL_1 and value & 0x80:
            self.power_up()
        else:
            self._control[place] = value
            if place == _CONTROL_0:
                self._do(value, now)
            elif place == _CONTROL_2 and value & 0x08 and _RATES[value & 0x07]:
                self._due_ns = now + 1000 * MS // _RATES[value & 0x07]

    def _do(self, value: int, now: int) -> None:
        if value & 0x18:
            self._sign = 1 if value & 0x08 else -1
            self._gain, self._extra_nt = 1.0, 0.0
        if value & 0x01:
            self._done = False
            self._due_ns = now + self._duration()
        elif value & 0x02:
            self._temperature_done = True

    def _duration(self) -> int:
        return _MEASURE_NS[self._control[_CONTROL_1] & 0x03]

    def load(self, place: int) -> int:
        """Return a register; what is for writing only reads as zeros."""
        self._catch_up()
        if place < 7:
            return self._out[place]
        if place == 7:
            return _TEMPERATURE
        if place == _STATUS:
            read = self.clock.now_ns() >= self._ready_ns
            return self._done | self._temperature_done << 1 | read << 4
        if place == _ID:
            return 0x11 if "other-id" in self.faults else 0x30
        return 0

    def _catch_up(self) -> None:
        """Let the measurements end that have ended by now."""
        now = self.clock.now_ns()
        if self._due_ns is None or now < self._due_ns or "never-done" in self.faults:
            return
        control = self._control[_CONTROL_2]
        every = 1000 * MS // _RATES[control & 0x07] if control & 0x08 and control & 0x07 else 0
        last = self._due_ns + (now - self._due_ns) // every * every if every else self._due_ns
        self._due_ns = last + every if every else None
        field = self._field(last - self._duration() // 2)
        if field is not None:
            self._out = self._packed(field)
            self._done = True

    def _packed(self, field: tuple[float, float, float]) -> bytes:
        counts = []
        for nt, offset in zip(field, self.offset_nt, strict=True):
            seen = self._sign * self._gain * nt + offset + self._extra_nt
            counts.append(min(_LARGEST, max(0, _ZERO + round(seen / _NT_PER_COUNT))))
        x, y, z = counts
        high = b"".join((value >> 2).to_bytes(2, "big") for value in counts)
        return high + bytes(((x & 3) << 6 | (y & 3) << 4 | (z & 3) << 2,))

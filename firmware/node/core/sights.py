"""What traffic sensors on a serial port or a pin see, as samples in a Ring.

`collect()` puts what has come into `ring` and returns whether the sensor works, `feed(detector)`
gives the detector the sample that was taken last. Both raise nothing; `collect` and `start` raise
OSError (the bus) and SensorError (the chip).
"""

from node.sensors import SensorError
from node.wire.const import const

_MOST = const(8)  # samples of one sensor at a time: others want to go on, too
_BEAM_GAP_MS = const(1000)


class _Polled:
    """A sensor that keeps what it sees until it is asked."""

    pause_ms = 100
    gap_ms = 0  # where samples do not come at a rate, none is missed
    nulls = False

    def __init__(self, ring, chips) -> None:
        self._ring = ring
        self._chip = chips[0]

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""

    def collect(self) -> bool:
        """Take what has come."""
        chip = self._chip
        new = False
        for _ in range(_MOST):
            if not chip.read():
                break
            new = True
            self._keep(chip)
        return new

    def _keep(self, chip) -> None:
        self._ring.put(chip.t_ms, chip.distance_mm)


class _Rhythm:
    """When frames came that were found later: they come at a rate, and none before it is read."""

    def __init__(self, period_ms: int) -> None:
        self._step = period_ms << 8
        self._at = 0  # 1/256 ms
        self._seen = 0

    def time(self, t: int, diff) -> int:
        """Return when the frame came that was seen at `t` (ticks)."""
        passed = diff(t, self._seen)
        self._seen = t
        # How much later than foreseen: a little is followed slowly, the rest is how late we are.
        late = self._at + (passed << 8) - self._step
        if late <= 0 or late > _BEAM_GAP_MS << 8 or passed > _BEAM_GAP_MS:
            self._at = 0
            return t
        self._at = late - (late >> 6)
        return t - (self._at >> 8)


class Ranges(_Polled):
    """One or two range finders; where there are two, each has its own times."""

    gap_ms = 500

    def __init__(self, ring, chips, clock, period_ms: int) -> None:
        _Polled.__init__(self, ring, chips)
        self._chips = chips
        self._pair = len(chips) > 1
        self._rhythms = [_Rhythm(period_ms) for _ in chips]
        self._heard = [clock.ticks_ms() for _ in chips]
        self._clock = clock
        self._strengths = hasattr(chips[0], "strength")
        self.pause_ms = 20 if period_ms < 50 else 100

    def collect(self) -> bool:
        """Take what has come."""
        clock, ring = self._clock, self._ring
        for beam in range(len(self._chips)):
            chip = self._chips[beam]
            for _ in range(_MOST):
                if not chip.read():
                    break
                strength = chip.strength if self._strengths else -1
                t = chip.t_ms
                self._heard[beam] = t
                if self._pair:
                    t = self._rhythms[beam].time(t, clock.ticks_diff)
                ring.put(t, chip.distance_mm if chip.valid else 0, strength, beam)
        now = clock.ticks_ms()
        silent = 0
        for t in self._heard:
            silent = max(silent, clock.ticks_diff(now, t))
        return silent <= _BEAM_GAP_MS

    def feed(self, detector):
        """Give the detector the sample."""
        rows, at = self._ring.rows, self._ring.at
        if self._pair:
            return detector.feed_one(rows[at + 3], rows[at], rows[at + 1], rows[at + 2])
        return detector.feed(rows[at], rows[at + 1], rows[at + 2])


class Reports(_Polled):
    """A radar that tells speeds."""

    gap_ms = 1000

    def _keep(self, chip) -> None:
        found = chip.targets
        if len(found) > 1:
            self._ring.put(chip.t_ms, found[0][0], found[0][1], found[1][0], found[1][1])
        elif found:
            self._ring.put(chip.t_ms, found[0][0], found[0][1])
        else:
            self._ring.put(chip.t_ms)

    def feed(self, detector):
        """Give the detector the report."""
        rows, at = self._ring.rows, self._ring.at
        if rows[at + 3]:
            found = ((rows[at + 1], rows[at + 2]), (rows[at + 3], rows[at + 4]))
        elif rows[at + 1]:
            found = ((rows[at + 1], rows[at + 2]),)
        else:
            found = ()
        return detector.feed(rows[at], found)


class Presence(_Polled):
    """A radar that tells how far the nearest thing is, 0 where there is none."""

    gap_ms = 1000

    def feed(self, detector):
        """Give the detector the sample."""
        rows, at = self._ring.rows, self._ring.at
        return detector.feed(rows[at], rows[at + 1], -1)


class Pulses(_Polled):
    """A loop detector: silent while nothing passes."""

    pause_ms = 500

    def __init__(self, ring, chips) -> None:
        _Polled.__init__(self, ring, chips)
        self._works = True

    def collect(self) -> bool:
        """Take what has passed."""
        chip = self._chip
        try:
            for _ in range(_MOST):
                if not chip.read():
                    break
                self._works = True
                self._ring.put(chip.t_ms, chip.occupied_ms)
        except SensorError:
            # One and the same vehicle for minutes: until it has gone nobody knows what passes.
            self._works = False
        return self._works

    def feed(self, detector):
        """Give the detector the pulse."""
        rows, at = self._ring.rows, self._ring.at
        return detector.feed(rows[at], rows[at + 1])

"""What a sensor sees of an empty lane, found out after mounting: samples in, a verdict out.

Both keep their memory bounded however long they are fed, and bear traffic while they listen: the
far side is what is seen most often, the field is that of the quietest seconds.
"""

from array import array

from node.traffic.across import is_valid
from node.wire.const import const

OK = "ok"
TOO_FEW = "too_few"  # not enough samples: wait longer, or look at the wiring
NOISY = "noisy"  # a loose mount, power lines, rain on the lens
NO_FAR_SIDE = "no_far_side"  # nothing is seen: good along the lane, bad across it
UNSTEADY = "unsteady"  # no distance stands out: something moves in the beam
SATURATED = "saturated"  # at the end of the sensor's range: iron too near

_FEWEST = const(200)
_BIN_MM = const(100)
_BINS = const(512)
_QUIET = const(8)
_SECOND_MS = const(1000)
_LEAST_BLOCK = const(8)  # samples
_NOISE_NT = const(2000)


class RangeCalibration:
    """Distance to the far side, noise and share of valid readings of a lidar or ultrasonic."""

    def __init__(self, reach_mm: int = 40000) -> None:
        self._reach = reach_mm
        self._seen = array("H", [0] * _BINS)
        self._sum = array("i", [0] * _BINS)  # mm within the bin
        self._square = array("i", [0] * _BINS)
        self._n = self._valid = 0
        self._first = self._last = 0

    def feed(self, t: int, distance_mm: int, strength: int = -1) -> None:
        """Take a reading (ms, mm)."""
        if not self._n:
            self._first = t
        self._last = t
        self._n += 1
        if not is_valid(distance_mm, strength, self._reach):
            return
        self._valid += 1
        place = min(distance_mm // _BIN_MM, _BINS - 1)
        if self._seen[place] < 0xFFFF:
            within = min(distance_mm - place * _BIN_MM, _BIN_MM)
            self._seen[place] += 1
            self._sum[place] += within
            self._square[place] += within * within

    def result(self) -> tuple:
        """Return verdict, far side (mm, 0 if none), noise (mm), valid (%), period (ms)."""
        n = self._n
        if n < _FEWEST:
            return TOO_FEW, 0, 0, 0, 0
        period = (self._last - self._first) // (n - 1)
        valid = 100 * self._valid // n
        seen = self._seen
        best = most = 0
        for place in range(_BINS - 2):
            here = seen[place] + seen[place + 1] + seen[place + 2]
            # Of equals the one with its middle in the middle.
            if here > most or (here == most and seen[place + 1] > seen[best + 1]):
                best, most = place, here
        if most * 5 < n:
            # Traffic alone is no far side; nor are a few echoes of rain.
            return UNSTEADY if valid > 60 else NO_FAR_SIDE, 0, 0, valid, period
        total = square = 0.0
        for number in range(3):
            at, count = number * _BIN_MM, seen[best + number]
            part = self._sum[best + number]
            total += part + at * count
            square += self._square[best + number] + 2 * at * part + at * at * count
        mean = total / most
        noise = int(max(square / most - mean * mean, 0) ** 0.5 + 0.5)
        far = best * _BIN_MM + int(mean + 0.5)
        return UNSTEADY if most * 2 < self._valid else OK, far, noise, valid, period


class FieldCalibration:
    """Baseline (nT, per axis) and noise (nT, standard deviation of an axis) of a magnetometer.

    `limit_nt`: the end of the sensor's range.
    """

    def __init__(self, limit_nt: int = 200000) -> None:
        self._limit = limit_nt
        self._quiet = []  # (noise, x, y, z) of the quietest seconds
        self._n = self._all = self._saturated = 0
        self._start = self._t = 0
        self._at = [0, 0, 0]
        self._sum = [0, 0, 0]
        self._square = 0
        self._first = 0

    def feed(self, t: int, x: int, y: int, z: int) -> None:
        """Take a sample (ms, nT)."""
        if not self._all:
            self._first = t
        self._all += 1
        if max(abs(x), abs(y), abs(z)) >= self._limit:
            self._saturated += 1
            return
        if self._n and not 0 <= t - self._start < _SECOND_MS:
            self._keep()
        if not self._n:
            self._start = t
            self._at[0], self._at[1], self._at[2] = x, y, z
            self._sum[0] = self._sum[1] = self._sum[2] = self._square = 0
        self._n += 1
        self._t = t
        for i, value in enumerate((x, y, z)):
            off = value - self._at[i]
            self._sum[i] += off
            self._square += off * off

    def _keep(self) -> None:
        n, self._n = self._n, 0
        if n < _LEAST_BLOCK:
            return
        total = self._sum
        variance = self._square / n
        for part in total:
            variance -= (part / n) ** 2
        noise = int((max(variance, 0) / 3) ** 0.5 + 0.5)
        at = self._at
        row = (noise, at[0] + total[0] // n, at[1] + total[1] // n, at[2] + total[2] // n)
        self._quiet.append(row)
        self._quiet.sort()
        if len(self._quiet) > _QUIET:
            self._quiet.pop()

    def result(self) -> tuple:
        """Return verdict, baseline (x, y, z), noise and period (ms)."""
        quiet = self._quiet
        if self._saturated * 10 > self._all:
            return SATURATED, (0, 0, 0), 0, 0
        if self._all < _FEWEST or len(quiet) < _QUIET // 2:
            return TOO_FEW, (0, 0, 0), 0, 0
        # The median of each axis: a car that stood still was quiet, too.
        base = []
        for axis in range(1, 4):
            base.append(sorted([row[axis] for row in quiet])[len(quiet) // 2])
        noise = sorted([row[0] for row in quiet])[len(quiet) // 2]
        period = (self._t - self._first) // (self._all - 1)
        return NOISY if noise > _NOISE_NT else OK, tuple(base), noise, period

"""Vehicles by one magnetometer, or by two a known distance apart along the lane.

One tells that something passed. Two tell its speed: the lag between their signatures, first from
the centres of mass, then from the correlation over a few lags about that (Taghvaeeyan and Rajamani
2014 have the correlation over all lags). The length comes from the time above a fifth of the peak:
the field of a dipole falls to a fifth at 1.39 times its distance (1/r³).
"""

from array import array

from node.traffic.field import ENDED, PARKED, Field
from node.traffic.passage import BIKE, CAR, FASTEST_MMS, UNKNOWN, Passage, kind_of_length
from node.wire.const import const

_RING = const(512)  # samples: 5 s at 100 Hz
_BEFORE = const(12)  # samples kept from before the threshold was passed
_POINTS = const(128)  # of a signature that go into the correlation
_CLIMB = const(12)  # lags that the correlation may move
_LARGEST = const(32767)
_SLOWEST_MMS = const(600)
# The outermost dipoles (engine, axles) are about this far from the bumpers, both ends together.
_OVERHANG_MM = const(1000)
_REACH = const(278)  # hundredths of the distance: 1.39 on both sides
# A car's magnetic moment is of the order of 10² A·m².
_CAR_AM2 = const(200)


class Lane:
    """Tells the vehicles of the own lane from those of the neighbour lane by their peak.

    `lane_mm`: from the sensor to the middle of its lane, 0 if not known (then all are taken);
    `neighbour_mm`: from there to the middle of the next lane, 0 if there is none.
    """

    def __init__(self, lane_mm: int, neighbour_mm: int) -> None:
        self._permille = 0
        self.usual = 0  # nT
        if lane_mm > 0 and neighbour_mm > 0:
            # Fields go with 1/r³: half-way, in the logarithm, between own and neighbour lane.
            ratio = lane_mm / (lane_mm + neighbour_mm)
            self._permille = int(1000 * ratio * ratio**0.5)
            distance = max(lane_mm, 500) / 1000
            self.usual = min(int(150 * _CAR_AM2 / (distance * distance * distance)), 60000)

    def takes(self, peak: int) -> bool:
        """Return whether a peak (nT) is of the own lane; learn what is usual there."""
        usual = self.usual or peak
        if peak * 1000 < usual * self._permille:
            # Should the usual be far too high, it comes down all the same.
            self.usual = usual - usual // 400
            return False
        # The upper quartile of the peaks: one up weighs as three down.
        self.usual = usual + (3 * usual // 60 if peak > usual else -(usual // 60))
        return True

    def kind(self, length_mm: int, peak: int) -> int:
        """Return the class by length; what has the iron of a car is none below it."""
        kind = kind_of_length(length_mm)
        return CAR if kind == BIKE and peak * 4 > self.usual else kind


class Magnet:
    """One magnetometer; `direction` is that of its lane, for it cannot tell."""

    def __init__(
        self,
        lane_mm: int = 0,
        neighbour_mm: int = 0,
        direction: int = 1,
        floor_nt: int = 150,
        park_ms: int = 120000,
    ) -> None:
        self.field = Field(floor_nt, smoothing_ms(lane_mm), park_ms)
        self._lane = Lane(lane_mm, neighbour_mm)
        self._direction = direction

    @property
    def still(self) -> bool:
        """Whether the lane is free, and has been for a second."""
        return self.field.still

    def move(self) -> None:
        """Take note that the sensor's own offset has changed."""
        self.field.move()

    def feed(self, t: int, x: int, y: int, z: int) -> "Passage | None":
        """Take a sample (ms, nT); return the vehicle that has just gone, if any."""
        field = self.field
        state = field.feed(t, x, y, z)
        if (state != ENDED and state != PARKED) or not self._lane.takes(field.peak):
            return None
        confidence = min(99, 100 - 50 * field.on // max(field.peak, 1))
        return Passage(
            (field.start_ms + field.last_ms) // 2,
            self._direction,
            0,
            0,
            UNKNOWN,
            confidence if state == ENDED else confidence // 2,
            field.last_ms - field.start_ms,
        )


def smoothing_ms(lane_mm: int) -> int:
    """Return a time constant that spares a signature as wide as the lane is far, at 40 m/s."""
    return min(max(lane_mm // 80, 10), 40)


class _Seen:
    """What one of two sensors has seen last: from sample to sample, and how much."""

    def __init__(self) -> None:
        self.waits = False
        self.begun = 0  # number of the sample
        self.first = self.last = self.peak = self.start_ms = self.end_ms = 0

    def keep(self, field: Field, first: int, now: int) -> None:
        self.waits = True
        self.first = first
        self.last = now
        self.peak = field.peak
        self.start_ms = field.start_ms
        self.end_ms = field.last_ms


class MagnetPair:
    """Two magnetometers along the lane, `spacing_mm` apart, with axes alike.

    Both are sampled at the same time. Direction 1 passes the first one first.
    """

    def __init__(
        self,
        spacing_mm: int,
        lane_mm: int = 0,
        neighbour_mm: int = 0,
        floor_nt: int = 150,
        park_ms: int = 120000,
    ) -> None:
        smooth = smoothing_ms(lane_mm)
        self.first = Field(floor_nt, smooth, park_ms)
        self.second = Field(floor_nt, smooth, park_ms)
        self._lane = Lane(lane_mm, neighbour_mm)
        self._spacing = spacing_mm
        self._reach = lane_mm * _REACH // 100
        self._wait = spacing_mm * 1000 // _SLOWEST_MMS
        zeros = bytes(2 * _RING)
        self._a = [array("h", zeros) for _ in range(3)]
        self._b = [array("h", zeros) for _ in range(3)]
        self._dt = array("h", zeros)
        self._one = _Seen()
        self._two = _Seen()
        self._number = 0  # of samples since the last silence
        self._t = 0
        self._ended_ms = 0

    @property
    def still(self) -> bool:
        """Whether the lane is free, and has been for a second."""
        return self.first.still and self.second.still

    def move(self) -> None:
        """Take note that the sensors' own offsets have changed."""
        self.first.move()
        self.second.move()

    def feed(
        self, t: int, x1: int, y1: int, z1: int, x2: int, y2: int, z2: int
    ) -> "Passage | None":
        """Take a sample of both (ms, nT); return the vehicle that has just gone, if any."""
        first, second = self.first, self.second
        one, two = self._one, self._two
        was_one, was_two = first.busy, second.busy
        state_one = first.feed(t, x1, y1, z1)
        state_two = second.feed(t, x2, y2, z2)
        dt = t - self._t
        self._t = t
        number = self._number
        if dt < 0 or dt > 1000:
            number = 0
            one.waits = two.waits = False
        self._number = number + 1
        at = number % _RING
        self._dt[at] = dt if number else 0
        self._keep(self._a, at, first)
        self._keep(self._b, at, second)
        lost = None
        if first.busy and not was_one:
            one.begun = number
        elif number and state_one in (ENDED, PARKED):
            lost = self._alone(one)
            one.keep(first, one.begun, number)
            self._ended_ms = t
        if second.busy and not was_two:
            two.begun = number
        elif number and state_two in (ENDED, PARKED):
            lost = lost or self._alone(two)
            two.keep(second, two.begun, number)
            self._ended_ms = t
        if one.waits and two.waits:
            one.waits = two.waits = False
            return self._judge(number) if self._lane.takes(max(one.peak, two.peak)) else None
        waits = (one.waits or two.waits) and not (first.busy or second.busy)
        if waits and not 0 <= t - self._ended_ms <= self._wait:
            return self._alone(one) or self._alone(two)
        return lost

    def _keep(self, rows, at: int, field: Field) -> None:
        off = field.off
        if field.level > _LARGEST:
            for axis in range(3):
                rows[axis][at] = min(max(off[axis], -_LARGEST), _LARGEST)
        else:
            rows[0][at], rows[1][at], rows[2][at] = off

    def _alone(self, seen: _Seen) -> "Passage | None":
        """Return what only one of the two has seen, if it waits."""
        if not seen.waits:
            return None
        seen.waits = False
        if not self._lane.takes(seen.peak):
            return None
        span = seen.end_ms - seen.start_ms
        return Passage((seen.start_ms + seen.end_ms) // 2, 0, 0, 0, UNKNOWN, 20, span)

    def _judge(self, now: int) -> Passage:
        one, two = self._one, self._two
        start = max(min(one.first, two.first) - _BEFORE, 0)
        n = max(one.last, two.last) + 1 - start
        whole = now - start < _RING
        if whole:
            lag_us, likeness = self._lag_us(start, n)
        else:
            # It took longer than the ring holds: by the thresholds.
            lag_us = (two.start_ms - one.start_ms + two.end_ms - one.end_ms) * 500
            likeness = 50
        speed = self._spacing * 1000000 // abs(lag_us) if lag_us else 0
        if not _SLOWEST_MMS <= speed <= FASTEST_MMS:
            speed = 0
        direction = 0 if not speed else 1 if lag_us > 0 else 2
        length = self._length_mm(start, n, speed) if speed and whole else 0
        return Passage(
            (min(one.start_ms, two.start_ms) + max(one.end_ms, two.end_ms)) // 2,
            direction,
            speed,
            length,
            self._lane.kind(length, max(one.peak, two.peak)),
            max(likeness, 20) if speed else 20,
            max(one.end_ms - one.start_ms, 0),
        )

    def _level(self, rows, k: int) -> int:
        return abs(rows[0][k]) + abs(rows[1][k]) + abs(rows[2][k])

    def _lag_us(self, start: int, n: int) -> tuple:
        """Return the lag of the second signature (µs) and how alike the two are (0…100)."""
        sum_a = sum_b = moment_a = moment_b = 0
        span = 0
        # What is below the noise, over a long time, would pull the centres together.
        floor_a, floor_b = self.first.on, self.second.on
        for i in range(n):
            k = (start + i) % _RING
            p = max(self._level(self._a, k) - floor_a, 0)
            q = max(self._level(self._b, k) - floor_b, 0)
            sum_a += p
            sum_b += q
            moment_a += p * i
            moment_b += q * i
            if i:
                span += self._dt[k]
        if not sum_a or not sum_b or not span:
            return 0, 0
        lag = int(moment_b / sum_b - moment_a / sum_a + 1000.5) - 1000
        here = self._match(start, n, lag)
        up = self._match(start, n, lag + 1)
        down = self._match(start, n, lag - 1)
        for _ in range(_CLIMB):
            if up > here and up >= down:
                lag += 1
                down, here, up = here, up, self._match(start, n, lag + 1)
            elif down > here:
                lag -= 1
                up, here, down = here, down, self._match(start, n, lag - 1)
            else:
                break
        bend = down - 2 * here + up
        between = (down - up) / (2 * bend) if bend < 0 else 0
        return int((lag + between) * span * 1000 / (n - 1)), int(100 * max(here, 0))

    def _match(self, start: int, n: int, lag: int) -> float:
        """Return the correlation coefficient of the two at a lag (samples)."""
        step = n // _POINTS + 1
        product = square_a = square_b = 0.0
        for axis in range(3):
            a, b = self._a[axis], self._b[axis]
            for i in range(max(0, -lag), min(n, n - lag), step):
                p = a[(start + i) % _RING]
                q = b[(start + i + lag) % _RING]
                product += p * q
                square_a += p * p
                square_b += q * q
        return product / (square_a * square_b) ** 0.5 if square_a and square_b else 0.0

    def _length_mm(self, start: int, n: int, speed: int) -> int:
        """Return the vehicle's length by the time that the signature is above a fifth."""
        total = 0
        for rows, seen in ((self._a, self._one), (self._b, self._two)):
            bound = seen.peak // 5
            first = last = -1
            t = 0
            for i in range(n):
                k = (start + i) % _RING
                t += self._dt[k]
                if self._level(rows, k) > bound:
                    last = t
                    if first < 0:
                        first = t
            total += last - first
        return max(total * speed // 2000 - self._reach + _OVERHANG_MM, 1000)

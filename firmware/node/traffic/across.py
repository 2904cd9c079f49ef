"""Vehicles by a beam across the lane (lidar or ultrasonic): it is cut, or it is not.

The distance to the far side is learnt (an EMA while the lane is free). Evidence for something
nearer is summed up (CUSUM), so that one clear reading is enough, and noise and drizzle are not. A
beam from above gives the height; two beams give direction, speed and length.
"""

from node.traffic.passage import (
    BIKE,
    CAR,
    FASTEST_MMS,
    HEAVY,
    UNKNOWN,
    Passage,
    kind_of_length,
)
from node.wire.const import const

_WEAKEST = const(100)  # Benewake TF series: below this, and at 65535, a distance is not valid
_OVERFLOW = const(65535)

_EMA = const(64)  # readings
_NOISE_FACTOR = const(6)
_LEAST_MARGIN_MM = const(150)
# A gap inside a vehicle (behind the tractor) is shorter than a quarter of what is before it; two
# vehicles are at least half a second apart.
_SHORTEST_HOLD_MS = const(150)
_LONGEST_HOLD_MS = const(1000)
_SHORTEST_MS = const(24)  # 1.7 m at 250 km/h
_SILENCE_MS = const(1500)
_STEADY_MM = const(60)
_SETTLE_MS = const(3000)
_LEARNT = const(16)  # readings that make a far side
_SURE = const(3000)
_TALL_MM = const(2500)
_LOW_MM = const(1000)
_SLOWEST_MMS = const(600)


def is_valid(distance_mm: int, strength: int, reach_mm: int) -> bool:
    """Return whether a reading is one; strength -1 is that of a sensor that tells none."""
    if distance_mm <= 0 or distance_mm >= reach_mm:
        return False
    return strength == -1 or _WEAKEST <= strength < _OVERFLOW


class _Cut:
    """A vehicle in one lane, from the first reading to the last."""

    def __init__(self) -> None:
        self.busy = False
        self.start_ms = self.end_ms = 0
        self.before_ms = self.behind_ms = 0  # the readings around it
        self.nearest = self.evidence = self.n = 0
        self.hidden_ms = 0  # how long something nearer was before it since it was last seen
        self.steady_mm = self.steady_ms = 0

    def has_gone(self, t: int, period_ms: int) -> bool:
        hold = max((self.end_ms - self.start_ms) >> 2, _SHORTEST_HOLD_MS, period_ms * 5 >> 1)
        hold = min(hold, _LONGEST_HOLD_MS)
        return t - self.end_ms - self.hidden_ms > hold


class Across:
    """One beam across the road.

    `reach_mm`: what the sensor can see; `lanes_mm`: far edges of the lanes from the sensor, near
    lane first (() if not known: one lane); `directions`: one for each lane; `overhead`: the beam
    looks down, and what it sees is height; `park_ms`: after how long a standing vehicle is the new
    far side. `far_mm` is the far side, 0 if there is none within reach.
    """

    def __init__(
        self,
        reach_mm: int = 40000,
        lanes_mm: tuple = (),
        directions: tuple = (1,),
        overhead: bool = False,
        park_ms: int = 120000,
    ) -> None:
        self._reach = reach_mm
        self._lanes = lanes_mm
        self._directions = directions
        self._overhead = overhead
        self._park = park_ms
        self.far_mm = 0
        self.noise_mm = 20
        self.cuts = [_Cut() for _ in range(max(len(lanes_mm), 1))]
        self._out = []  # ended, to be told one at a time; never more than lanes
        self._t = self._free_ms = 0
        self._started = False
        self._learnt = self._unseen = self._period = 0
        self._edge = lanes_mm[len(lanes_mm) - 1] if lanes_mm else reach_mm
        self._limit = self._edge

    @property
    def busy(self) -> bool:
        """Whether there is a vehicle in any lane."""
        return any([cut.busy for cut in self.cuts])

    def know(self, far_mm: int) -> None:
        """Take the distance to the far side from who has measured it."""
        self._learnt = _LEARNT
        self.far_mm = far_mm
        self._limit = min(self._edge, far_mm - self._margin())

    def feed(self, t: int, distance_mm: int, strength: int = -1) -> "Passage | None":
        """Take a reading (ms, mm); return a vehicle that has gone, if any."""
        silence = t - self._t
        self._t = t
        if not self._started or silence < 0 or silence > _SILENCE_MS:
            self._started = True
            self._free_ms = t
            for lane, cut in enumerate(self.cuts):
                self._end(lane, cut)
                cut.evidence = cut.n = 0
                cut.steady_ms = t
            silence = 0
        self._period += silence - (self._period >> 4)  # sixteen times the mean
        valid = is_valid(distance_mm, strength, self._reach)
        here = -1
        if valid and distance_mm < self._limit:
            here = self._lane(distance_mm)
        for lane, cut in enumerate(self.cuts):
            if lane > here >= 0 and cut.busy:
                cut.hidden_ms += silence
            elif lane != here:
                cut.evidence = cut.n = 0
                if cut.busy and not cut.behind_ms:
                    cut.behind_ms = t
            # A recording may leave out what was not seen: even the lane of this reading may be
            # over.
            if cut.busy and cut.has_gone(t, self._period >> 4):
                self._end(lane, cut)
        if here >= 0:
            self._nearer(t, distance_mm, here, self.cuts[here])
        else:
            self._free_ms = t
            self._see_far(distance_mm if valid else 0)
        return self._out.pop(0) if self._out else None

    def _lane(self, distance_mm: int) -> int:
        lane = 0
        while lane < len(self._lanes) - 1 and distance_mm > self._lanes[lane]:
            lane += 1
        return lane

    def _see_far(self, distance_mm: int) -> None:
        if distance_mm:
            self._learn(distance_mm)
            self._unseen = 0
        elif self.far_mm:
            self._unseen += 1
            if self._unseen > 2 * self._learnt + 100:
                self.far_mm = self._learnt = 0
                self._limit = self._edge

    def _nearer(self, t: int, distance_mm: int, lane: int, cut: _Cut) -> None:
        fresh = not cut.busy and not cut.n
        if fresh or abs(distance_mm - cut.steady_mm) > _STEADY_MM:
            cut.steady_mm = distance_mm
            cut.steady_ms = t
        else:
            steady = t - cut.steady_ms
            if steady > self._park or (self._learnt < _LEARNT and steady > _SETTLE_MS):
                self._take_as_far(distance_mm)
                return
        if not cut.busy:
            if not cut.n:
                cut.start_ms = t
                cut.before_ms = self._free_ms
                cut.nearest = distance_mm
            cut.n += 1
            cut.evidence += (self.far_mm or self._edge) - distance_mm
            if cut.evidence < 2 * self._margin():
                return
            cut.busy = True
            cut.evidence = cut.n = 0
        cut.end_ms = t
        cut.behind_ms = cut.hidden_ms = 0
        if distance_mm < cut.nearest:
            cut.nearest = distance_mm

    def _take_as_far(self, distance_mm: int) -> None:
        """What has not moved for long is what the beam ends at from now on."""
        known = self._learnt >= _LEARNT
        for lane, cut in enumerate(self.cuts):
            cut.busy = cut.busy and known
            self._end(lane, cut)
            cut.evidence = cut.n = 0
        self._learnt = 0
        self.far_mm = distance_mm
        self._learn(distance_mm)

    def _margin(self) -> int:
        return max(_LEAST_MARGIN_MM, _NOISE_FACTOR * self.noise_mm)

    def _learn(self, distance_mm: int) -> None:
        off = distance_mm - self.far_mm
        if off > self._margin():
            # Farther than the far side: that was none, or a parked car has left.
            self.far_mm = distance_mm
            self._learnt = 1
        else:
            self._learnt = min(self._learnt + 1, _SURE)
            share = min(self._learnt, _EMA)
            half = share >> 1
            self.far_mm += (off + half) // share
            self.noise_mm += (abs(off) - self.noise_mm + half) // share
        self._limit = min(self._edge, self.far_mm - self._margin())

    def _end(self, lane: int, cut: _Cut) -> None:
        """End a lane's vehicle, if there is one."""
        if not cut.busy:
            return
        cut.busy = False
        if cut.behind_ms and cut.behind_ms - cut.before_ms < _SHORTEST_MS:
            return  # a drop of rain, an insect
        kind = UNKNOWN
        if self._overhead and self.far_mm:
            height = self.far_mm - cut.nearest
            kind = HEAVY if height > _TALL_MM else CAR if height > _LOW_MM else BIKE
        self._out.append(
            Passage(
                (cut.start_ms + cut.end_ms) // 2,
                self._directions[min(lane, len(self._directions) - 1)],
                0,
                0,
                kind,
                90 if cut.end_ms > cut.start_ms else 60,
                cut.end_ms - cut.start_ms,
            )
        )


class AcrossPair:
    """Two parallel beams across the road, `spacing_mm` apart along the lane.

    What cut both in turn has a direction (1: the first beam first), a speed and a length.
    `far_edge_mm`: where the lane ends, 0 if not known.
    """

    def __init__(self, spacing_mm: int, reach_mm: int = 40000, far_edge_mm: int = 0) -> None:
        lanes = (far_edge_mm,) if far_edge_mm else ()
        self.first = Across(reach_mm, lanes, (0,))
        self.second = Across(reach_mm, lanes, (0,))
        self._spacing = spacing_mm
        self._wait = spacing_mm * 1000 // _SLOWEST_MMS
        self._one = self._two = None
        self._edges = [0, 0, 0, 0]  # twice the times of going in and out, of both beams
        self._ended_ms = 0

    @property
    def busy(self) -> bool:
        """Whether there is a vehicle in one of the beams."""
        return self.first.busy or self.second.busy

    def feed(
        self, t: int, first_mm: int, strength_1: int, second_mm: int, strength_2: int
    ) -> "Passage | None":
        """Take a reading of both (ms, mm); return the vehicle that has just gone, if any."""
        one = self.first.feed(t, first_mm, strength_1)
        return self._told(t, one, self.second.feed(t, second_mm, strength_2))

    def feed_one(self, beam: int, t: int, distance_mm: int, strength: int) -> "Passage | None":
        """Take a reading of beam 0 or 1 alone, for two sensors that are not in step."""
        if beam:
            return self._told(t, None, self.second.feed(t, distance_mm, strength))
        return self._told(t, self.first.feed(t, distance_mm, strength), None)

    def _told(self, t: int, one: "Passage | None", two: "Passage | None") -> "Passage | None":
        lost = None
        if one is not None:
            lost = self._one
            self._one = one
            self._note(self.first, 0, t)
        if two is not None:
            lost = lost or self._two
            self._two = two
            self._note(self.second, 2, t)
        if self._one is not None and self._two is not None:
            one, two = self._one, self._two
            self._one = self._two = None
            return self._judge(one, two)
        waits = self._one or self._two
        if lost is None and waits is not None and not (self.first.busy or self.second.busy):
            gone = t - self._ended_ms
            if gone < 0 or gone > self._wait:
                self._one = self._two = None
                lost = waits
        if lost is not None:
            lost.confidence //= 3
        return lost

    def _note(self, beam: Across, at: int, t: int) -> None:
        cut = beam.cuts[0]
        self._edges[at] = cut.before_ms + cut.start_ms
        self._edges[at + 1] = cut.end_ms + (cut.behind_ms or cut.end_ms)
        self._ended_ms = t

    def _judge(self, one: Passage, two: Passage) -> Passage:
        in_1, out_1, in_2, out_2 = self._edges
        lag = in_2 - in_1 + out_2 - out_1  # four times, ms
        speed = self._spacing * 4000 // abs(lag) if lag else 0
        if not _SLOWEST_MMS <= speed <= FASTEST_MMS:
            one.confidence = 40
            return one
        one.direction = 1 if lag > 0 else 2
        one.speed_mms = speed
        one.length_mm = (out_1 - in_1 + out_2 - in_2) * speed // 4000
        one.kind = kind_of_length(one.length_mm)
        # The two edges should tell the same lag.
        odd = abs((in_2 - in_1) - (out_2 - out_1)) * 100 // abs(lag)
        one.confidence = max(95 - odd, 30)
        one.t_ms = (one.t_ms + two.t_ms) // 2
        return one

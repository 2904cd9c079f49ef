"""Vehicles by a lidar that looks along the lane at a small angle: distance over time is a slope.

A vehicle's front (or tail) crosses the beam on a straight line of distance over time: a flat face
at right angles to the lane is at x/cos(angle), so its slope is speed/cos(angle). Then (or before)
the beam lies on the vehicle's side, whose distance hardly changes. Readings go to one of a few
tracks: the one that foresees them best; so two vehicles in one view stay two. When a track ends,
its slope is fitted where it is steepest and steady, weighted by what the strength says of the
noise.
"""

from array import array
from math import cos, radians, tan

from node.traffic.across import is_valid
from node.traffic.passage import FASTEST_MMS, UNKNOWN, Passage, kind_of_length
from node.traffic.slope import FEWEST, fit
from node.wire.const import const

_TRACKS = const(3)
_POINTS = const(96)
_GAP_MS = const(260)  # longest silence inside a track: two and a half periods at 10 Hz
_JUMP_MM = const(450)  # from face to face of one vehicle, and noise
_UNSURE_MMS = const(15000)
_SETTLE_MS = const(5000)
_BRIEFLY_MS = const(400)
_STILL_MM = const(80)
_BACKGROUND_MM = const(200)
_APART_MM = const(2500)
_LONG_MM = const(8000)  # between surfaces of one vehicle that are seen at the same time
_MERGE_MS = const(600)
# What is this many times slower than what moves at the same place is the side of that.
_SIDE = const(3)
# A side that is seen alone is followed by an end of its vehicle: 18.75 m (StVZO § 32), or as long.
_LONGEST_MM = const(18750)
_SIDE_MS = const(2000)
_FOLLOWS_MS = const(500)
_LONGEST_MS = const(10000)
_WIDTH_MM = const(1800)
_LEAST_DEG = const(10)


class Track:
    """The readings of what may be one vehicle, thinned by two whenever the room is used up."""

    def __init__(self) -> None:
        self.t = array("i", [0] * _POINTS)
        self.d = array("i", [0] * _POINTS)
        self.s = array("i", [0] * _POINTS)
        self.open = False
        self.n = 0
        self.every = 1
        self.skipped = 0
        self.hits = 0
        self.last_t = self.last_d = self.rate = 0

    def start(self, t: int, d: int, s: int) -> None:
        """Begin with a first reading."""
        self.open = True
        self.n = self.skipped = self.hits = self.rate = 0
        self.every = 1
        self.last_t, self.last_d = t, d
        self._keep(t, d, s)

    def add(self, t: int, d: int, s: int) -> None:
        """Add a reading."""
        dt = t - self.last_t
        if dt > 0:
            # Millimetres per second, followed slowly enough for centimetre steps.
            self.rate += (min(max((d - self.last_d) * 1000 // dt, -70000), 70000) - self.rate) >> 2
            self.last_t = t
        self.last_d = d
        self.skipped += 1
        if self.skipped >= self.every:
            self._keep(t, d, s)

    def _keep(self, t: int, d: int, s: int) -> None:
        if self.n == _POINTS:
            for values in (self.t, self.d, self.s):
                for i in range(_POINTS // 2):
                    values[i] = values[2 * i]
            self.n = _POINTS // 2
            self.every *= 2
        n = self.n
        self.t[n], self.d[n], self.s[n] = t, d, s
        self.n = n + 1
        self.skipped = 0
        self.hits += 1

    def off(self, t: int, d: int) -> int:
        """Return how far (mm) a reading is from what the track foresees, -1 if out of reach."""
        dt = t - self.last_t
        change = d - self.last_d
        # It goes on as before, or stays; how fast it is, is known after a few readings.
        off = min(abs(change - self.rate * dt // 1000), abs(change))
        unsure = FASTEST_MMS if self.hits < FEWEST else _UNSURE_MMS
        return off if off <= _JUMP_MM + unsure * dt // 1000 else -1


class _Waiting:
    """A vehicle that has gone out of sight, and may come into it once more."""

    def __init__(self, passage: Passage, start: int, end: int, mm: int, rate: int) -> None:
        self.passage = passage
        self.start = start
        self.end = end
        self.mm = mm  # where it was last
        self.rate = rate

    @property
    def patience_ms(self) -> int:
        """How long its rest may be out of sight."""
        return _MERGE_MS if self.passage.speed_mms else _SIDE_MS

    def is_joined_by(self, track: Track, rate: int, speed: int) -> bool:
        """Return whether a track is of this vehicle."""
        first, last = track.d[0], track.d[track.n - 1]
        mine = self.passage.speed_mms
        known = speed > 0 and mine > 0
        gap = track.t[0] - self.end
        if known:
            slow, fast = min(speed, mine), max(speed, mine)
            if (rate < 0) != (self.passage.direction == 1):
                return False
            if slow * _SIDE < fast:
                known = False  # nobody drives through another one: the slow one is a side
            elif (fast - slow) * 3 > fast:
                return False
        if gap < 0:
            # Seen at the same time: two surfaces of one vehicle? Who follows keeps more than half
            # a second behind.
            room = _APART_MM + speed * _FOLLOWS_MS // 1000 if known else _LONG_MM
            return min(first, last) - room < self.mm < max(first, last) + room
        if not mine and rate > 0 and _MERGE_MS <= gap < self.patience_ms:
            # Of what goes away the side is seen at first, and of what is long its end much later.
            length = gap * speed // 1000
            return _LONG_MM <= length < _LONGEST_MM and abs(first - self.mm) < _LONG_MM
        # It may have gone on as before, or stayed (the beam on its side).
        on = self.rate * gap // 1000
        stayed = first - self.mm
        return gap < _MERGE_MS and min(0, on) - _APART_MM < stayed < max(0, on) + _APART_MM

    def join(self, track: Track, rate: int, speed: int, confidence: int) -> None:
        """Add a track to it."""
        passage = self.passage
        mine = passage.speed_mms
        # A side may be sure of itself, and is slower than the vehicle all the same.
        if speed * _SIDE < mine:
            confidence = 0
        if speed and (confidence > passage.confidence or mine * _SIDE < speed):
            passage.speed_mms = speed
            passage.direction = 1 if rate < 0 else 2
            passage.confidence = confidence
            self.rate = rate
        self.start = min(self.start, track.t[0])
        if track.t[track.n - 1] > self.end:
            self.end = track.t[track.n - 1]
            self.mm = track.d[track.n - 1]
        passage.occupied_ms = self.end - self.start
        passage.t_ms = self.start + passage.occupied_ms // 2


class Along:
    """A lidar along the lane. Direction 1 comes nearer, direction 2 goes away.

    `angle_deg`: between beam and lane; `reach_mm`: what the sensor can see.
    """

    def __init__(self, angle_deg: float = 0, reach_mm: int = 40000) -> None:
        self._cos = int(1000 * cos(radians(angle_deg)))
        # How far the lane runs while the beam crosses a car's width. In flatter beams that is
        # so much longer than the car that its length is lost in it.
        self._face = int(_WIDTH_MM / tan(radians(angle_deg))) if angle_deg >= _LEAST_DEG else 0
        self._reach = reach_mm
        self.background_mm = 0
        self._still_mm = self._still = self._seen_ms = 0
        self._tracks = [Track() for _ in range(_TRACKS)]
        self._out = []  # settled, to be told one at a time; never more than tracks
        self._waiting = []  # never more than tracks
        self._left = [0, 0, 0]  # of what moved last: when and where it was last seen, its rate
        self._t = 0
        self._started = False

    def feed(self, t: int, distance_mm: int, strength: int = -1) -> "Passage | None":
        """Take a reading (ms, mm); return a vehicle that has gone, if any."""
        if not self._started or t < self._t:
            self._started = True
            self._seen_ms = t
            for track in self._tracks:
                track.open = False
        self._t = t
        for track in self._tracks:
            if track.open and t - track.last_t > _GAP_MS:
                track.open = False
                self._close(track)
        seen = distance_mm if is_valid(distance_mm, strength, self._reach) else 0
        if not self._is_background(t, seen) and seen:
            self._assign(t, distance_mm, strength)
        self._settle(t)
        return self._out.pop(0) if self._out else None

    def _settle(self, t: int) -> None:
        """What has waited long enough is complete."""
        for waiting in list(self._waiting):
            gone = t - waiting.end
            patience = waiting.patience_ms
            if gone < 0 or (gone > patience + _GAP_MS and not self._may_go_on(waiting, gone)):
                self._waiting.remove(waiting)
                self._out.append(waiting.passage)

    def _may_go_on(self, waiting: _Waiting, gone: int) -> bool:
        """Return whether what is seen now may be the rest of what went out of sight then."""
        if gone < _LONGEST_MS:
            for track in self._tracks:
                if track.open and track.t[0] - waiting.end < waiting.patience_ms:
                    return True
        return False

    def _is_background(self, t: int, d: int) -> bool:
        """Learn what is seen most of the time, and return whether a reading (0: none) is that."""
        passed = min(max(t - self._seen_ms, 0), _GAP_MS)
        self._seen_ms = t
        if not d:
            # Nothing seen is a background, too, but for readings that fail now and then.
            self._still = max(self._still - (passed >> 2), 0)
            return False
        if abs(d - self._still_mm) <= _STILL_MM:
            self._still = min(self._still + passed, 2 * _SETTLE_MS)
            if self._still >= _SETTLE_MS:
                self.background_mm = self._still_mm
        else:
            self._still -= passed
            if self._still < 0:
                self._still_mm = d
                self._still = 0
        return self.background_mm > 0 and abs(d - self.background_mm) < _BACKGROUND_MM

    def _is_wall(self, d: int) -> bool:
        """Return whether something that did not move is, or becomes, the background."""
        return abs(d - self.background_mm) < _BACKGROUND_MM or (
            self._still >= _BRIEFLY_MS and abs(d - self._still_mm) < _BACKGROUND_MM
        )

    def _assign(self, t: int, d: int, s: int) -> None:
        best = free = None
        least = -1
        for track in self._tracks:
            if not track.open:
                free = track
                continue
            off = track.off(t, d)
            if off >= 0 and (best is None or off < least):
                best, least = track, off
        if best is not None:
            best.add(t, d, s)
        else:
            if free is None:
                free = self._tracks[0]
                for track in self._tracks:
                    if track.hits < free.hits:
                        free = track
            free.start(t, d, s)

    def _close(self, track: Track) -> None:
        """A track has ended: it is a vehicle, or a part of the one that waits, or nothing."""
        if track.n < FEWEST:
            return
        start, end = track.t[0], track.t[track.n - 1]
        rate, confidence = fit(track.t, track.d, track.s, track.n)
        speed = abs(rate) * self._cos // 1000
        if not speed and track.n < 2 * FEWEST:
            return
        if not speed and self._is_wall(track.last_d):
            return  # what had never moved has become the background
        for waiting in self._waiting:
            if waiting.is_joined_by(track, rate, speed):
                waiting.join(track, rate, speed, confidence)
                self._remember(end, track.last_d, rate)
                return
        if not speed and self._is_rest(start, track.d[0]):
            return
        self._remember(end, track.last_d, rate)
        if len(self._waiting) == _TRACKS:
            self._out.append(self._waiting.pop(0).passage)
        length = 0
        if speed and self._face:
            length = max((end - start) * speed // 1000 - self._face, 0)
        passage = Passage(
            (start + end) // 2,
            0 if not rate else 1 if rate < 0 else 2,
            speed,
            length,
            kind_of_length(length) if length else UNKNOWN,
            confidence,
            end - start,
        )
        self._waiting.append(_Waiting(passage, start, end, track.d[track.n - 1], rate))

    def _remember(self, end: int, mm: int, rate: int) -> None:
        if rate:
            self._left[0], self._left[1], self._left[2] = end, mm, rate

    def _is_rest(self, start: int, mm: int) -> bool:
        """Return whether what did not move is the side of what came nearer before it."""
        end, where, rate = self._left
        gap = start - end
        return rate < 0 and 0 <= -rate * gap < 1000 * _LONGEST_MM and abs(mm - where) < _APART_MM

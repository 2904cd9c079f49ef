"""Vehicles by a Doppler radar that tells speeds and magnitudes (as the OPS243 does).

A track starts with two hits and ends after four misses. What is told of one vehicle twice is
merged: a track that goes on where another has stopped, at its speed. Two vehicles that follow at
one speed are told apart by the magnitude, which falls and rises again. A radar beside the road
sees the speed times the cosine of the angle: never more than the speed, so the upper readings
count.
"""

from array import array

from node.traffic.passage import FASTEST_MMS, UNKNOWN, Passage
from node.wire.const import const

_TRACKS = const(4)
_SPEEDS = const(48)
_HITS = const(2)
_MISSES = const(4)
_MERGE_MS = const(600)
_LOST_MS = const(2500)
_LONGEST_MS = const(10000)
_ACCELERATION_MMS2 = const(4000)
_LEAST_MMS = const(300)  # tolerance between reports
_DIP = const(3)  # a magnitude this many times below its peak is a vehicle that leaves
_RISE = const(2)  # and this many times above what was left of it, another one that comes


class _Track:
    def __init__(self) -> None:
        self.speeds = array("i", [0] * _SPEEDS)
        self.open = False
        self.clear(0)

    def clear(self, t: int) -> None:
        self.hits = self.n = self.speed = self.peak = self.valley = 0
        self.level = self.latest = 0
        self.way = 0
        self.every = 1
        self.gone = False  # another one has come behind it
        self.start_ms = self.last_ms = t

    def add(self, t: int, speed: int, magnitude: int) -> None:
        if not self.hits:
            self.way = 1 if speed > 0 else 2
        self.hits += 1
        self.speed = speed
        self.last_ms = t
        # Echoes flicker: what counts is their mean over a few reports.
        first = self.hits == 1
        self.latest = magnitude
        level = self.level = magnitude if first else self.level + (magnitude - self.level) // 3
        if level > self.peak:
            self.peak = self.valley = level
        elif level < self.valley:
            self.valley = level
        if self.hits % self.every:
            return
        if self.n == _SPEEDS:
            for i in range(_SPEEDS // 2):
                self.speeds[i] = self.speeds[2 * i]
            self.n = _SPEEDS // 2
            self.every *= 2
        self.speeds[self.n] = abs(speed)
        self.n += 1

    def upper(self) -> int:
        """Return the upper fifth of the speeds: few are above the true one, by noise alone."""
        ranked = [self.speeds[i] for i in range(self.n)]
        ranked.sort()
        return ranked[self.n - 1 - self.n // 5]


class Radar:
    """Tracks in the reports of one radar. Direction 1 comes nearer, direction 2 goes away.

    `cos_permille`: cosine of the least angle between a ray of the beam and the lane (1000 for a
    radar that looks along it); `period_ms`: time between reports; `sign`: 1 if speeds of what
    comes nearer are positive (as the OPS243 tells them by default), else -1.
    """

    def __init__(self, cos_permille: int = 1000, period_ms: int = 100, sign: int = 1) -> None:
        self._cos = cos_permille
        self._period = period_ms
        self._sign = sign
        self._tracks = [_Track() for _ in range(_TRACKS)]
        self._out = []  # settled, to be told one at a time; never more than tracks
        self._pending = None
        self._pending_ms = self._pending_peak = 0
        self._t = 0

    def feed(self, t: int, targets) -> "Passage | None":
        """Take a report: (speed in mm/s, magnitude) of each target, () if there was none.

        Returns a vehicle that has gone, if any.
        """
        if t < self._t:
            for track in self._tracks:
                track.open = False
        self._t = t
        for track in self._tracks:
            if track.open and (track.gone or t - track.last_ms >= self._patience_ms(track)):
                track.open = False
                if track.hits >= _HITS:
                    self._close(track)
        for speed, magnitude in targets:
            if 0 < abs(speed) <= FASTEST_MMS:
                self._assign(t, speed * self._sign, max(magnitude, 0))
        if self._pending is not None:
            gone = t - self._pending_ms
            if gone < 0 or (gone > self._room_ms() and not self._may_go_on()):
                self._settle()
        return self._out.pop(0) if self._out else None

    def _settle(self) -> None:
        """What waits is complete."""
        if self._pending is not None:
            self._out.append(self._pending)
            self._pending = None

    def _assign(self, t: int, speed: int, magnitude: int) -> None:
        best = free = None
        least = 0
        for track in self._tracks:
            if not track.open:
                free = track
                continue
            if track.gone or (track.speed > 0) != (speed > 0):
                continue
            off = abs(speed - track.speed)
            dt = t - track.last_ms
            room = _LEAST_MMS + abs(speed) // 32 + _ACCELERATION_MMS2 * min(dt, 250) // 1000
            if off <= room and (best is None or off < least):
                best, least = track, off
        if best is not None:
            # Behind the dip it is another one at the same speed.
            best.add(t, speed, magnitude)
            if best.valley * _DIP > best.peak or best.level < best.valley * _RISE or free is None:
                return
            best.gone = True
            best.latest = 0
        if free is not None:
            free.clear(t)
            free.open = True
            free.add(t, speed, magnitude)

    def _patience_ms(self, track: _Track) -> int:
        """Return how long a track waits: what has not faded is hidden, and has not gone."""
        if track.hits >= _HITS and min(track.level, track.latest) * _DIP > track.peak:
            return max(_MISSES * self._period, _LOST_MS)
        return _MISSES * self._period

    def _room_ms(self) -> int:
        return max(2 * _MISSES * self._period, _MERGE_MS)

    def _may_go_on(self) -> bool:
        """Return whether a track that is open now may be the rest of the vehicle that waits."""
        for track in self._tracks:
            gap = track.start_ms - self._pending_ms
            if track.open and gap <= self._room_ms() and self._t - track.start_ms < _LONGEST_MS:
                return True
        return False

    def _close(self, track: _Track) -> None:
        """A track has ended: it is a vehicle, or the rest of the one that waits."""
        speed = track.upper() * 1000 // self._cos
        before = self._pending
        way = track.way
        if before is not None and before.direction == way:
            gap = track.start_ms - self._pending_ms
            if (
                0 <= gap <= self._room_ms()
                and abs(speed - before.speed_mms) * 20 < speed
                and track.peak * _DIP < self._pending_peak
            ):
                self._pending_ms = track.last_ms
                before.occupied_ms += gap + track.last_ms - track.start_ms
                return
        self._settle()
        self._pending = Passage(
            (track.start_ms + track.last_ms) // 2,
            way,
            min(speed, FASTEST_MMS),
            0,
            UNKNOWN,
            min(40 + 6 * track.hits, 99),
            track.last_ms - track.start_ms,
        )
        self._pending_ms = track.last_ms
        self._pending_peak = track.peak

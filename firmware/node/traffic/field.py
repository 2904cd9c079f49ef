"""The field at one magnetometer: smoothed, less an adaptive baseline, against a threshold.

The baseline of each axis follows block means with a forgetting factor while the lane is free and
is frozen while a vehicle is there. Each block waits for the next one, so that the far field of a
vehicle that is about to be seen is not learnt. A field that stays put for `park_ms` is a parked
car (or a new baseline): it is learnt, and the old one is kept to know when the car has left.
"""

from node.wire.const import const

FREE = const(0)
BUSY = const(1)
ENDED = const(2)  # a vehicle has gone
PARKED = const(3)  # it has not, but it no longer counts
LEFT = const(4)  # the parked one has gone

_SCALE = const(4)  # bits below a nanotesla
_LIMIT = const(400000)  # nT: eight times the Earth's field, beyond any of the sensors
_BLOCK_MS = const(250)
_LEARN_MS = const(1000)
_FORGET = const(32)  # blocks: 8 s
_LONGEST_STEP_MS = const(250)
_SILENCE_MS = const(1500)
_YOUNG_MS = const(30000)
_YOUNG_PARK_MS = const(4000)
_NOISE_FACTOR = const(5)
_LONGEST_PARKS = const(5)
_TAIL = const(5)  # a vehicle ends where the field is a fifth of its peak
_RISE = const(3)  # the next one begins where it is three times what was left of that
_SHIFT_MS = const(2000)
_MOVED = const(16)  # samples that a baseline is taken from anew
_SHORTEST_HOLD_MS = const(80)
_LONGEST_HOLD_MS = const(400)


def _clip(value: int) -> int:
    return min(max(value, -_LIMIT), _LIMIT) << _SCALE


class Field:
    """Baseline, threshold and state of one sensor.

    `floor_nt`: the least threshold (nT); `smooth_ms`: time constant of the smoothing; `park_ms`:
    after how long a field that does not change is a parked car.
    """

    def __init__(self, floor_nt: int = 150, smooth_ms: int = 20, park_ms: int = 120000) -> None:
        self._floor = floor_nt
        self._tau = smooth_ms
        self._park = park_ms
        self.level = 0  # nT, sum of the three axes' deviations
        self.off = [0, 0, 0]  # the deviations (nT)
        self.noise = floor_nt // _NOISE_FACTOR  # nT, mean level of the free lane
        self.on = floor_nt
        self.busy = False
        self.parked = False
        self.start_ms = 0
        self.last_ms = 0  # when the level was last above the lower threshold
        self.peak = 0
        self._started = self._shifted = False
        self._valley = self._quiet = 0
        self._t = self._first = 0
        self._steady = 0
        self._s = [0, 0, 0]  # smoothed
        self._b = [0, 0, 0]  # baseline
        self._old = [0, 0, 0]  # baseline without the parked car
        self._ref = [0, 0, 0]
        self._sum = [0, 0, 0]
        self._wait = [0, 0, 0]  # the block before, not learnt yet
        self._waits = False
        self._n = self._levels = self._wait_level = self._block = 0
        self._moved = 0

    @property
    def still(self) -> bool:
        """Whether nothing is there, nor has been for a second."""
        return not self.busy and self._t - self._quiet < 1 and self._t - self.last_ms > _LEARN_MS

    def move(self) -> None:
        """Take the baseline anew of the next samples: the sensor's own offset has changed."""
        self._moved = _MOVED
        self._sum[0] = self._sum[1] = self._sum[2] = 0

    def feed(self, t: int, x: int, y: int, z: int) -> int:
        """Take a sample (ms, nT); return FREE, BUSY, ENDED, PARKED or LEFT."""
        dt = t - self._t
        self._t = t
        s, b = self._s, self._b
        if not self._started or dt < 0 or dt > _SILENCE_MS:
            return self._restart(t, _clip(x), _clip(y), _clip(z))
        if self._moved:
            return self._move(t, _clip(x), _clip(y), _clip(z))
        if dt > _LONGEST_STEP_MS:
            dt = _LONGEST_STEP_MS
        d = dt + self._tau
        s0 = s[0] = s[0] + (_clip(x) - s[0]) * dt // d
        s1 = s[1] = s[1] + (_clip(y) - s[1]) * dt // d
        s2 = s[2] = s[2] + (_clip(z) - s[2]) * dt // d
        off = self.off
        off[0] = (s0 - b[0]) >> _SCALE
        off[1] = (s1 - b[1]) >> _SCALE
        off[2] = (s2 - b[2]) >> _SCALE
        level = abs(off[0]) + abs(off[1]) + abs(off[2])
        self.level = level
        total = self._sum
        total[0] += s0 >> 2
        total[1] += s1 >> 2
        total[2] += s2 >> 2
        self._n += 1
        self._levels += level
        ends = t - self._block >= _BLOCK_MS
        if self.busy:
            return self._go_on(t, level, ends)
        on = self.on
        if level < self._valley:
            # The far field of what has just gone is not yet the next vehicle.
            self._valley = max(level, on // _RISE)
        if t - self._first < _LEARN_MS:
            self._quiet = t
            if ends:
                self._learn(t)
            return FREE
        if level <= on:
            self._quiet = t
        elif t - self._quiet > _SHIFT_MS or level > _RISE * self._valley:
            self.busy = True
            self._shifted = t - self._quiet > _SHIFT_MS
            self.start_ms = self.last_ms = t
            self.peak = self._valley = level
            self._waits = False
            self._steady = 0
            self._new_block(t)
            self._ref[:] = s
            return BUSY
        if level > on:
            self._waits = False
            self._new_block(t)
        elif ends:
            self._learn(t)
        return FREE

    def _restart(self, t: int, x: int, y: int, z: int) -> int:
        """Begin, or begin again after a silence: what is between is not known."""
        was = self.busy
        self.busy = False
        self._s[0], self._s[1], self._s[2] = x, y, z
        if not self._started:
            self._started = True
            self._b[:] = self._s
            self._first = t
        self.level = self._valley = 0
        self.off[0] = self.off[1] = self.off[2] = 0
        self._quiet = t
        self._waits = False
        self._new_block(t)
        return ENDED if was else FREE

    def _move(self, t: int, x: int, y: int, z: int) -> int:
        total = self._sum
        total[0] += x
        total[1] += y
        total[2] += z
        self._quiet = t
        self._moved -= 1
        if not self._moved:
            for axis in range(3):
                at = total[axis] // _MOVED
                self._old[axis] += at - self._b[axis]
                self._b[axis] = self._s[axis] = at
            self._waits = False
            self._new_block(t)
        self.level = self._valley = 0
        self.off[0] = self.off[1] = self.off[2] = 0
        return FREE

    def _new_block(self, t: int) -> None:
        total = self._sum
        total[0] = total[1] = total[2] = self._n = self._levels = 0
        self._block = t

    def _learn(self, t: int) -> None:
        """Learn the block before this one, and keep this one waiting."""
        b, wait, total, n, old = self._b, self._wait, self._sum, self._n, self._old
        young = t - self._first < _LEARN_MS + _BLOCK_MS
        if self._waits or young:
            share = 2 if young else _FORGET
            for i in range(3):
                mean = (total[i] // n) << 2 if young else wait[i]
                step = (mean - b[i] + (share >> 1)) // share
                b[i] += step
                old[i] += step  # what warms the sensor is the same without the parked car
            level = self._levels // n if young else self._wait_level
            self.noise += (level - self.noise + (share >> 1)) // share
            self.on = max(self._floor, _NOISE_FACTOR * self.noise)
        for i in range(3):
            wait[i] = (total[i] // n) << 2
        self._wait_level = self._levels // n
        self._waits = True
        self._new_block(t)

    def _go_on(self, t: int, level: int, ends: bool) -> int:
        if level > self.peak:
            self.peak = level
        if level > max(self.on >> 1, self.peak // _TAIL):
            self.last_ms = t
            self._valley = level
        if level < self._valley:
            self._valley = max(level, self.on // _RISE)
        if t > self.last_ms:
            hold = (self.last_ms - self.start_ms) >> 2
            if t - self.last_ms > min(max(hold, _SHORTEST_HOLD_MS), _LONGEST_HOLD_MS) or (
                level > _RISE * self._valley
            ):
                self.busy = False
                self._quiet = t
                self._new_block(t)
                return ENDED
        return self._look_for_parked(t) if ends else BUSY

    def _look_for_parked(self, t: int) -> int:
        """End of a block while busy: has the field settled?"""
        total, n, ref, old = self._sum, self._n, self._ref, self._old
        change = gone = 0
        for i in range(3):
            mean = (total[i] // n) << 2
            change += abs(mean - ref[i])
            gone += abs(mean - old[i])
            total[i] = mean
        answer = BUSY
        still = max(self.on, self.peak >> 4)
        # What passes a parked car moves the field, but it comes back to where it was.
        passed = t - self._block
        self._steady += passed if change >> _SCALE <= still else -passed
        if self._steady < 0:
            ref[:] = total
            self._steady = 0
        young = t - self._first < _YOUNG_MS
        steady = self._steady
        if self.parked and gone >> _SCALE < still and steady >= 2 * _BLOCK_MS:
            self._b[:] = old
            self.parked = False
            answer = LEFT
        elif steady >= (_YOUNG_PARK_MS if young else self._park):
            if not self.parked:
                old[:] = self._b
            self._b[:] = total
            self.parked = not young
            answer = LEFT if young else PARKED
        if answer == BUSY and t - self.start_ms > _LONGEST_PARKS * self._park:
            # Never still for so long: this is not a vehicle but more noise than was learnt.
            answer = LEFT
            self.parked = False
            self._first = t
            self._b[:] = total
        if answer != BUSY:
            self.busy = False
            self._quiet = t
            if self._shifted:
                answer = LEFT
        self._new_block(t)
        return answer

"""Cup anemometer with a contact (Argent Data Systems 80422, usage notes)."""

import math
import random
from collections.abc import Callable

from citynode.virtual.chips import Timeline
from citynode.virtual.chips.contact import MS, Contact, Drive

MS_PER_HZ = 2.4 / 3.6
_CLOSED = 0.3  # of a turn
_SECOND = 1000 * MS
_LONGEST_NS = 60 * _SECOND
# The wind's speed at a time in ns (m/s; None where nobody knows), and until when it is that.
Wind = Callable[[int], tuple[float | None, int]]


class Anemometer:
    """The cups in the wind: one closing a turn. In a gap of the weather they stand still."""

    def __init__(self, timeline: Timeline, wind: Wind, drive: Drive, rng: random.Random) -> None:
        self.contact = Contact(timeline, drive, rng)
        self._timeline = timeline
        self._wind = wind
        self._turn = rng.random()
        self._hz = 0.0
        self._until_ns = 0
        self._look()

    def _look(self) -> None:
        """See how the wind is, and turn on from here."""
        now = self._timeline.clock.now_ns()
        speed, until = self._wind(now)
        self._hz = (speed or 0.0) / MS_PER_HZ
        self._until_ns = min(max(until, now + MS), now + _LONGEST_NS)
        self._go_on(now)

    def _go_on(self, now: int) -> None:
        """Wait for the end of the turn or of this wind, whatever is first."""
        left = (1 - self._turn) / self._hz * _SECOND if self._hz else math.inf
        if now + left < self._until_ns:
            self._timeline.call_at(now + round(left), self._closed)
        else:
            self._turn += self._hz * (self._until_ns - now) / _SECOND
            self._timeline.call_at(self._until_ns, self._look)

    def _closed(self) -> None:
        now = self._timeline.clock.now_ns()
        self._turn = 0.0
        self.contact.close(now, round(_CLOSED / self._hz * _SECOND))
        self._go_on(now)

"""Rain gauge with a tipping bucket and a reed contact (Argent Data Systems 80422, usage notes)."""

import random
from collections.abc import Callable

from citynode.virtual.chips import Timeline
from citynode.virtual.chips.contact import MS, Contact, Drive

MM_PER_TIP = 0.2794
_LOOK_NS = 10_000 * MS
_CLOSED_NS = 100 * MS
# What rained between two times in ns (mm), None where nobody knows.
Rain = Callable[[int, int], float | None]


class RainGauge:
    """The gauge under the rain; `tips` is how often the bucket tipped.

    `contact.faults` has the contact's faults. A bucket half full stays so in a gap of the weather.
    """

    def __init__(self, timeline: Timeline, rain: Rain, drive: Drive, rng: random.Random) -> None:
        self.contact = Contact(timeline, drive, rng)
        self.tips = 0
        self._timeline = timeline
        self._rain = rain
        self._level_mm = 0.0
        self._since_ns = timeline.clock.now_ns()
        timeline.call_at(self._since_ns + _LOOK_NS, self._look)

    def _look(self) -> None:
        """Take what fell since the last look, and tip as often as that filled the bucket."""
        start, self._since_ns = self._since_ns, self._timeline.clock.now_ns()
        fallen = self._rain(start, self._since_ns) or 0.0
        full = (self._level_mm + fallen) / MM_PER_TIP
        for number in range(1, int(full) + 1):
            # The look is late: the tip is at its place within the next span instead.
            share = (number * MM_PER_TIP - self._level_mm) / fallen
            self.contact.close(self._since_ns + round(share * (_LOOK_NS - _CLOSED_NS)), _CLOSED_NS)
            self.tips += 1
        self._level_mm = (full - int(full)) * MM_PER_TIP
        self._timeline.call_at(self._since_ns + _LOOK_NS, self._look)

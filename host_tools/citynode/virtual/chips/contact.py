"""A reed contact against ground, with a pull-up: closed is low."""

import random
from collections.abc import Callable

from citynode.virtual.chips import Timeline

MS = 1_000_000
# Level of the pin; a closing edge is 1 to 0.
Drive = Callable[[int], None]


class Contact:
    """The contact, open; `faults`: "bounces" (at both ends, up to 3 ms), "stuck" (stays closed)."""

    def __init__(self, timeline: Timeline, drive: Drive, rng: random.Random) -> None:
        self.faults: set[str] = set()
        self.closings = 0
        self._timeline = timeline
        self._drive = drive
        self._rng = rng
        drive(1)

    def close(self, at_ns: int, for_ns: int) -> None:
        """Close at a time, for a time."""
        self._timeline.call_at(at_ns, self._close)
        self._timeline.call_at(at_ns + for_ns, self._open)

    def _close(self) -> None:
        self.closings += 1
        self._move(0)

    def _open(self) -> None:
        if "stuck" not in self.faults:
            self._move(1)

    def _move(self, level: int) -> None:
        self._drive(level)
        if "bounces" not in self.faults:
            return
        now = self._timeline.clock.now_ns()
        for _ in range(self._rng.randint(1, 3)):
            at = now + round(self._rng.uniform(0.1, 3.0) * MS)
            self._timeline.call_at(at, lambda: self._drive(1 - level))
            self._timeline.call_at(at + 50_000, lambda: self._drive(level))

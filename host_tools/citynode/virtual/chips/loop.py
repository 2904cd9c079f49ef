"""Inductive loop detector: its output is low while a vehicle is over the loop."""

import random

from citynode.virtual.chips import Timeline
from citynode.virtual.chips.contact import Contact, Drive


class Loop(Contact):
    """The detector; `passes` lets a vehicle pass. `faults` as those of `Contact`."""

    def __init__(self, timeline: Timeline, drive: Drive, rng: random.Random) -> None:
        super().__init__(timeline, drive, rng)
        self.vehicles = 0

    def passes(self, at_ns: int, for_ns: int) -> None:
        """Let a vehicle come at a time and stay for a time."""
        self.vehicles += 1
        self.close(at_ns, for_ns)

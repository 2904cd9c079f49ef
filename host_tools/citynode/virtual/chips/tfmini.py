"""Benewake TFmini-S (manual A00) and, `first`, the TFmini before it (manual A04), which hears no
commands and tells its range in the place of its temperature."""

from citynode.virtual.chips import Range, Timeline
from citynode.virtual.chips.benewake import TFLidar


class TFMini(TFLidar):
    """The lidar: codes in the place of distances that it has not."""

    version = (2, 0, 1)

    def __init__(self, timeline: Timeline, seen: Range, *, first: bool = False) -> None:
        self.commands = not first
        super().__init__(timeline, seen)

    def none(self, strength: int) -> int:
        """Return 65535 for an echo that is too weak, 65534 for one that is too strong."""
        return 0xFFFE if strength == 0xFFFF else 0xFFFF

    def tail(self) -> bytes:
        """Return what is behind the strength: temperature, or range (7: long) and a spare byte."""
        return super().tail() if self.commands else b"\x07\x00"

"""Samples with their times on their way from an interrupt to a task; nothing on the heap."""

from array import array

# How many samples wait at 100 Hz while others work, and at 10 Hz and below.
FAST = 128
SLOW = 16
_COLUMNS = 7  # a time and six numbers: the most that any sensor has


class Ring:
    """Up to `size` samples of a time and up to six numbers (31 bits each).

    One side calls `put`, the other `take`; they may interrupt each other. The sample that was
    taken last is `rows[at]` (its time) and what follows there. `lost` counts those that there was
    no room for.
    """

    def __init__(self, size: int) -> None:
        self.rows = array("i", bytes(4 * _COLUMNS * (size + 1)))
        self.at = 0
        self.lost = 0
        self._end = _COLUMNS * (size + 1)
        self._put = _COLUMNS
        self._got = 0

    def put(
        self, t: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0, e: int = 0, f: int = 0
    ) -> None:
        """Add a sample."""
        at = self._put
        if at == self._got:
            self.lost += 1
            return
        rows = self.rows
        rows[at] = t
        rows[at + 1] = a
        rows[at + 2] = b
        rows[at + 3] = c
        rows[at + 4] = d
        rows[at + 5] = e
        rows[at + 6] = f
        at += _COLUMNS
        self._put = 0 if at == self._end else at

    def take(self) -> bool:
        """Go on to the next sample, if there is one."""
        at = self._got + _COLUMNS
        if at == self._end:
            at = 0
        if at == self._put:
            return False
        self.at = self._got = at
        return True

    def clear(self) -> None:
        """Forget all that waits."""
        while self.take():
            pass

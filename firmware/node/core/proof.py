"""Which of the records not yet released the network is known to have."""

from node.wire.const import const

# What does not fit is forgotten, and sent once more.
_MAX_RANGES = const(16)


class Proof:
    """Ranges `[first, end]` of record numbers, `end` not in it; sorted, apart from each other."""

    def __init__(self) -> None:
        self.ranges: list = []

    def add(self, first: int, end: int) -> None:
        """Note that the network has the records from `first` to before `end`."""
        if first >= end:
            return
        kept = []
        for each in self.ranges:
            if each[1] < first or each[0] > end:
                kept.append(each)
            else:
                first, end = min(first, each[0]), max(end, each[1])
        kept.append([first, end])
        kept.sort()
        while len(kept) > _MAX_RANGES:
            lengths = [each[1] - each[0] for each in kept]
            kept.pop(lengths.index(min(lengths)))
        self.ranges = kept

    def gap(self, first: int) -> int:
        """Return the first record from `first` on that is not proven."""
        for each in self.ranges:
            if each[0] <= first < each[1]:
                return each[1]
        return first

    def until(self, first: int, end: int) -> int:
        """Return where the records from `first` on that are not proven end, `end` at most."""
        for each in self.ranges:
            if each[0] > first:
                return min(end, each[0])
        return end

    def released(self, cursor: int) -> None:
        """Forget what is before `cursor`."""
        self.ranges = [each for each in self.ranges if each[1] > cursor]

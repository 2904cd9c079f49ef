"""Which channel is next: by chance, but each once before any is used again (RP002 section 3.3)."""

from node.lorawan.region import CHANNELS


class Hopper:
    """Remembers the channels used; `random(n)` gives 0 … n-1."""

    def __init__(self, random) -> None:
        self._random = random
        self._used = 0

    def pick(self, ready: int) -> int:
        """Return the index of one of the `ready` channels (a mask, not empty)."""
        fresh = ready & ~self._used
        if not fresh:
            self._used &= ~ready
            fresh = ready
        count = 0
        for i in range(CHANNELS):
            count += fresh >> i & 1
        skip = self._random(count)
        for i in range(CHANNELS):
            if fresh >> i & 1:
                if not skip:
                    self._used |= 1 << i
                    return i
                skip -= 1
        return 0

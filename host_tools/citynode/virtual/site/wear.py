"""What goes wrong with a board's flash: operations that fail, and a supply that ends in one."""

import random
from collections.abc import Callable

from citynode.virtual.soc.flash import SECTOR_SIZE, NorFlash

_EIO = 5
_WORD = 4  # bytes that a NOR flash programs at once; a torn page ends between two of them
_MOST_OPERATIONS = 12


class Wear:
    """The faults of one flash; without any its hook is not set, and costs nothing."""

    def __init__(self, flash: NorFlash) -> None:
        self._flash = flash
        self._failing: list[tuple[float, random.Random]] = []
        self._left = 0  # operations until the cut, 0: none is to come
        self._rng = random.Random(0)
        self._on_cut: Callable[[str], object] = lambda what: None
        self._torn: tuple[int, bytes] | None = None

    def fail(self, share: float, seed: int) -> Callable[[], None]:
        """Let a share of all programs and erases fail until what is returned is called."""
        fault = (share, random.Random(seed))
        self._failing.append(fault)
        self._set()

        def over() -> None:
            self._failing.remove(fault)
            self._set()

        return over

    def cut_in_write(self, seed: int, on_cut: Callable[[str], object]) -> None:
        """Let the supply end in one of the next operations.

        `on_cut(what)` is then called once, and has to see to it that the program gets no further;
        until `settle` nothing is written any more.
        """
        self._rng = random.Random(seed)
        self._left = self._rng.randint(1, _MOST_OPERATIONS)
        self._on_cut = on_cut
        self._set()

    def settle(self) -> None:
        """Leave in the cells what was done of the operation that the cut was in.

        Of a page the first words are programmed, a sector is erased in part.
        """
        torn, self._torn = self._torn, None
        self._left = 0
        self._set()
        if torn is None:
            return
        at, before = torn
        hook, self._flash.hook = self._flash.hook, None
        after = self._flash.read(at, len(before))
        done = self._rng.randrange(0, len(before), _WORD)
        mixed = after[:done] + before[done:]
        if mixed != after:
            sector = at - at % SECTOR_SIZE
            cells = bytearray(self._flash.read(sector, SECTOR_SIZE))
            cells[at - sector : at - sector + len(mixed)] = mixed
            self._flash.erase(sector, SECTOR_SIZE)
            self._flash.program(sector, bytes(cells))
            self._flash.erase_counts[sector // SECTOR_SIZE] -= 1  # ours is none of the node's
        self._flash.hook = hook

    def _set(self) -> None:
        busy = self._failing or self._left or self._torn is not None
        self._flash.hook = self._before if busy else None

    def _before(self, operation: str, address: int, length: int) -> None:
        if operation == "read":
            return
        if self._torn is not None:
            raise OSError(_EIO, "there is no supply")
        if any(rng.random() < share for share, rng in self._failing):
            raise OSError(_EIO, "worn out")
        if self._left:
            self._left -= 1
            if not self._left:
                hook, self._flash.hook = self._flash.hook, None
                before = self._flash.read(address, length)
                self._flash.hook = hook
                self._torn = address, before
                self._on_cut(f"in the {operation} at 0x{address:x}")

"""One page of NVS over NOR flash: what is in it, and the writes that survive a loss of power."""

from collections.abc import Callable, Iterator

from citynode.image import nvsformat as fmt
from citynode.image.nvsformat import Entry, EntryState, PageState

Read = Callable[[int, int], bytes]
Program = Callable[[int, bytes], None]
EraseSector = Callable[[int], None]


class Page:
    """A page at `address`; its bytes are kept in memory as they are in flash."""

    def __init__(
        self, address: int, read: Read, program: Program, erase_sector: EraseSector
    ) -> None:
        self.address = address
        self._program = program
        self._erase_sector = erase_sector
        self._raw = bytearray(read(address, fmt.PAGE_SIZE))
        self.state, self.sequence = fmt.read_header(bytes(self._raw))
        self.next_free = 0 if self.state is PageState.BLANK else fmt.ENTRY_COUNT
        if self.in_use:
            self._recover()

    @property
    def in_use(self) -> bool:
        """Whether entries count that are in it."""
        return self.state in (PageState.ACTIVE, PageState.FULL, PageState.FREEING)

    @property
    def room(self) -> int:
        """Entries that can still be written."""
        return fmt.ENTRY_COUNT - self.next_free if self.state is PageState.ACTIVE else 0

    @property
    def reclaimable(self) -> int:
        """Entries that a copy of the page would not have."""
        return fmt.ENTRY_COUNT - sum(entry.span for _, entry in self.entries())

    def entries(self) -> Iterator[tuple[int, Entry]]:
        """Go through the valid entries, in order, as (number, entry)."""
        at = 0
        while at < fmt.ENTRY_COUNT:
            entry = self._entry(at)
            if entry is None:
                at += 1
                continue
            yield at, entry
            at += entry.span

    def data(self, at: int, entry: Entry) -> bytes:
        """Return the data behind the header `entry` at number `at`."""
        start = fmt.ENTRIES_AT + (at + 1) * fmt.ENTRY_SIZE
        return bytes(self._raw[start : start + entry.data_size])

    # -- writing --------------------------------------------------------------------------------

    def activate(self, sequence: int) -> None:
        """Make a blank or corrupt page the one that is written to."""
        if self.state is not PageState.BLANK:
            self.erase()
        self._write(0, fmt.page_header(sequence))
        self.state, self.sequence, self.next_free = PageState.ACTIVE, sequence, 0

    def mark(self, state: PageState) -> None:
        """Go on to a state with fewer bits."""
        self._write(0, state.to_bytes(4, "little"))
        self.state = state

    def append(self, entry: Entry, data: bytes = b"") -> int:
        """Write an entry with its data; it must fit. Returns its number."""
        at = self.next_free
        # The header counts when its bits say so, and the whole only when all of them do.
        self._write_entry(at, entry.encode())
        self._set_states(at, 1, EntryState.WRITTEN)
        if data:
            self._write_entry(at + 1, data)
            self._set_states(at + 1, entry.span - 1, EntryState.WRITTEN)
        self.next_free = at + entry.span
        return at

    def forget(self, at: int, span: int) -> None:
        """Mark entries as erased."""
        self._set_states(at, span, EntryState.ERASED)
        if self.state is PageState.ACTIVE:
            self.next_free = max(self.next_free, at + span)

    def erase(self) -> None:
        """Erase the page's sector."""
        self._erase_sector(self.address)
        self._raw[:] = b"\xff" * fmt.PAGE_SIZE
        self.state, self.sequence, self.next_free = PageState.BLANK, 0, 0

    # -- reading --------------------------------------------------------------------------------

    def _state_of(self, at: int) -> int:
        return self._raw[fmt.BITMAP_AT + at // 4] >> at % 4 * 2 & 3

    def _slot(self, at: int) -> bytes:
        start = fmt.ENTRIES_AT + at * fmt.ENTRY_SIZE
        return bytes(self._raw[start : start + fmt.ENTRY_SIZE])

    def _entry(self, at: int) -> Entry | None:
        """Return what begins at `at` if all of it is written and no CRC is wrong."""
        if self._state_of(at) != EntryState.WRITTEN:
            return None
        entry = fmt.decode(self._slot(at))
        if entry is None or at + entry.span > fmt.ENTRY_COUNT:
            return None
        rest = range(at + 1, at + entry.span)
        if any(self._state_of(each) != EntryState.WRITTEN for each in rest):
            return None
        if entry.kind.has_data and fmt.crc(self.data(at, entry)) != entry.data_crc:
            return None
        return entry

    def _recover(self) -> None:
        """Drop what a loss of power has left half written, as ESP-IDF does when it loads a page."""
        if self.state is PageState.ACTIVE:
            free = fmt.ENTRY_COUNT
            while free and self._state_of(free - 1) == EntryState.EMPTY:
                if self._slot(free - 1) != fmt.BLANK:
                    break
                free -= 1
            self.next_free = free
        valid = bytearray(fmt.ENTRY_COUNT)
        for at, entry in self.entries():
            valid[at : at + entry.span] = b"\x01" * entry.span
        for at in range(fmt.ENTRY_COUNT):
            used = self._state_of(at) != EntryState.ERASED
            half = at < self.next_free or self._state_of(at) != EntryState.EMPTY
            if used and half and not valid[at] and self.state is PageState.ACTIVE:
                self._set_states(at, 1, EntryState.ERASED)

    # -- flash ----------------------------------------------------------------------------------

    def _write(self, offset: int, data: bytes) -> None:
        self._program(self.address + offset, data)
        for number, byte in enumerate(data, offset):
            self._raw[number] &= byte

    def _write_entry(self, at: int, data: bytes) -> None:
        padded = data.ljust(-(-len(data) // fmt.ENTRY_SIZE) * fmt.ENTRY_SIZE, b"\xff")
        self._write(fmt.ENTRIES_AT + at * fmt.ENTRY_SIZE, padded)

    def _set_states(self, at: int, count: int, state: EntryState) -> None:
        """Clear bits of the bitmap, a word at a time as ESP-IDF does."""
        bitmap = bytearray(b"\xff" * (fmt.ENTRIES_AT - fmt.BITMAP_AT))
        for each in range(at, at + count):
            bitmap[each // 4] &= ~((state ^ 3) << each % 4 * 2)
        for word in range(at // 16, (at + count - 1) // 16 + 1):
            start = word * 4
            now = bytes(
                old & new
                for old, new in zip(
                    self._raw[fmt.BITMAP_AT + start : fmt.BITMAP_AT + start + 4],
                    bitmap[start : start + 4],
                    strict=True,
                )
            )
            self._write(fmt.BITMAP_AT + start, now)

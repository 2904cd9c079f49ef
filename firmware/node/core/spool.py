"""The spool: records in flash, oldest first, until the receiver has them.

Segment files `/spool/<first seq, 8 hex digits>` of at most one flash block, so that adding a
record rewrites no more than that block:

    segment  magic "cns1", epoch u32, first seq u32, CRC-32 of these
    entry    length u16, era u16, at u32, seq u32, frame, CRC-32 of all before it in the entry

A record is accepted when `append` returned: it is on flash then. Released records go a whole
segment at a time; between, the cursor in `State` says where to go on. A cut tail or a damaged
entry ends its segment: the next record starts a new one. `seq` is not used twice in an epoch: it
follows from what is on flash, leaves room for what damage may hide, and an epoch whose records
are gone is followed by a new one.
"""

import os
import struct
from binascii import crc32

from node.wire.const import const

SEGMENT_BYTES = const(4096)
MAX_FRAME = const(240)

_MAGIC = b"cns1"
_HEADER = "<4sII"
_HEADER_BYTES = const(16)
_ENTRY = "<HHII"
_ENTRY_BYTES = const(12)
_CRC_BYTES = const(4)
_MIN_ENTRY = const(20)
_MIN_FRAME = const(4)
_SAVE_EVERY = const(16)
_TRIES = const(3)
_ENOSPC = const(28)  # as LittleFS gives it; the port's errno does not name it


class Spool:
    """Records in `folder`, in at most `limit` bytes of segments.

    `state` is the State beside them, `new_epoch()` gives a random u32 for a spool that is new.
    `dropped` counts records given up for room, `damaged` those lost to bad flash contents.
    """

    def __init__(self, folder: str, limit: int, state, new_epoch) -> None:
        self._folder = folder
        self._most = max(2, limit // SEGMENT_BYTES)
        self._state = state
        self._buffer = bytearray(_ENTRY_BYTES + MAX_FRAME + _CRC_BYTES)
        self._view = memoryview(self._buffer)
        self._tail = None
        self._tail_bytes = 0
        self._unsaved = 0
        # Where `read` is: place of the segment in the list, of the entry in it, its number.
        self._place = 0
        self._offset = _HEADER_BYTES
        self._read_seq = 0
        self._checked = 0  # gaps up to here are counted
        self.dropped = 0
        self.damaged = 0
        self.next_seq = 0
        self._bases = self._find()
        self._recover(new_epoch)
        self.rewind()

    @property
    def pending(self) -> int:
        """How many records wait for release (with gaps that damage left)."""
        return self.next_seq - self._state.cursor

    def append(self, frame, era: int = 0, at: int = 0) -> int:
        """Put a record with number `next_seq` on flash and return its number.

        `era` and `at` are for a frame made before the clock was set, see `State`.
        Raises OSError where flash does not take it (it is not accepted then), ValueError for a
        frame of less than 4 or more than MAX_FRAME bytes.
        """
        n = len(frame)
        if not _MIN_FRAME <= n <= MAX_FRAME:
            raise ValueError("frame's size")
        end = _ENTRY_BYTES + n
        tries = 0
        while True:
            tries += 1
            seq = self.next_seq
            struct.pack_into(_ENTRY, self._buffer, 0, n, era, at, seq)
            self._buffer[_ENTRY_BYTES:end] = frame
            struct.pack_into("<I", self._buffer, end, crc32(self._view[:end]))
            try:
                self._write(self._view[: end + _CRC_BYTES])
                break
            except OSError as error:
                if self._settle(seq):
                    break
                # Old records are given up for room alone: against all else that would not help.
                full = bool(error.args) and error.args[0] == _ENOSPC
                if tries == _TRIES or (full and not self._drop()):
                    raise
        self.next_seq = seq + 1
        return seq

    def read(self):
        """Return the next record as `(seq, era, at, frame)`, or None if there is no more now."""
        while self._place < len(self._bases):
            size = self._load(self._bases[self._place], self._offset)
            if size:
                self._offset += size
                _, era, at, seq = struct.unpack_from(_ENTRY, self._buffer)
                if seq < self._read_seq:
                    continue
                self._skip(seq)
                self._read_seq = seq + 1
                if seq < self._state.cursor:
                    continue
                return seq, era, at, bytes(self._view[_ENTRY_BYTES : size - _CRC_BYTES])
            if self._place + 1 == len(self._bases):
                if self._read_seq >= self.next_seq:
                    return None
                # The newest segment can no longer be read to its end: go on in a new one.
                self._skip(self.next_seq)
                self._close()
                return None
            self._place += 1
            self._offset = _HEADER_BYTES
        return None

    def _skip(self, seq: int) -> None:
        # Records from the expected one up to `seq` are lost; a rewind does not count them again.
        first = max(self._read_seq, self._checked, self._state.cursor)
        if seq > first:
            self.damaged += seq - first
        self._read_seq = seq
        self._checked = max(self._checked, seq)

    def rewind(self) -> None:
        """Let `read` start again at the oldest record not released."""
        self._place = 0
        self._offset = _HEADER_BYTES
        while (
            self._place + 1 < len(self._bases)
            and self._bases[self._place + 1] <= self._state.cursor
        ):
            self._place += 1
        self._read_seq = self._bases[self._place] if self._bases else self.next_seq

    def release(self, seq: int) -> None:
        """Give up all records up to `seq`: the receiver has them. Raises OSError."""
        if seq < self._state.cursor or seq >= self.next_seq:
            return
        self._unsaved += seq + 1 - self._state.cursor
        self._state.cursor = seq + 1
        while len(self._bases) > 1 and self._bases[1] <= self._state.cursor:
            self._forget(0)
        if self._state.cursor == self.next_seq or self._unsaved >= _SAVE_EVERY:
            self.save()

    def save(self) -> None:
        """Write the cursor to flash; raises OSError."""
        if self._unsaved:
            self._state.save()
            self._unsaved = 0

    def close(self) -> None:
        """Leave the files in order: for a node that goes to sleep or restarts."""
        self._close()
        self.save()

    # What is on flash

    def _path(self, base: int) -> str:
        return "%s/%08x" % (self._folder, base)

    def _find(self) -> list:
        names = []
        try:
            names = os.listdir(self._folder)
        except OSError:
            try:
                os.mkdir(self._folder)
            except OSError:
                pass  # whatever is wrong with it shows with the first record
        bases = []
        for name in names:
            try:
                base = int(name, 16)
            except ValueError:
                continue
            if len(name) == 8:
                bases.append(base)
        bases.sort()
        return bases

    def _recover(self, new_epoch) -> None:
        state = self._state
        epoch = None
        least = 0
        # A segment without a header is one whose first record was never accepted (it is empty),
        # or a damaged one: the numbers that it may have had are not used again.
        while self._bases:
            base = self._bases[-1]
            epoch = self._epoch_of(base)
            if epoch is not None:
                break
            least = max(least, base + self._size(base) // _MIN_ENTRY)
            self._remove(self._bases.pop())
        if epoch is None:
            # The newest segment stays until there is a newer one: with none there is nothing to
            # tell which numbers are used.
            state.epoch = new_epoch()
            state.cursor = 0
            self.next_seq = 0
            self._keep()
            return
        base = self._bases[-1]
        offset, seq = _HEADER_BYTES, base
        for end, _, last in self._entries(base):
            offset = end
            seq = max(seq, last + 1)
        self._tail_bytes = offset
        left = self._size(base) - offset
        self.next_seq = seq + left // _MIN_ENTRY
        if left:
            self._tail_bytes = SEGMENT_BYTES
        if not state.found or state.epoch != epoch:
            state.epoch = epoch
            state.cursor = self._bases[0]
            # A record of an earlier era must not get the time of the next one to be numbered.
            for each in self._bases:
                for _, era, _ in self._entries(each):
                    state.era = max(state.era, era)
            self._keep()
        # What was dropped or lost before the state was saved cannot be had any more.
        state.cursor = max(state.cursor, self._bases[0])
        if state.cursor > self.next_seq:
            # Newer segments are gone that had records released, and perhaps some sent.
            self.next_seq = state.cursor + SEGMENT_BYTES // _MIN_ENTRY
        if least > self.next_seq:
            self.next_seq = least
        if self.next_seq > seq:
            self._tail_bytes = SEGMENT_BYTES
        while len(self._bases) > 1 and self._bases[1] <= state.cursor:
            self._forget(0)

    def _keep(self) -> None:
        # The node starts on a flash that does not take it, too; it is tried again with `save`.
        self._unsaved = _SAVE_EVERY
        try:
            self.save()
        except OSError:
            pass

    def _epoch_of(self, base: int):
        try:
            with open(self._path(base), "rb") as file:
                head = file.read(_HEADER_BYTES)
        except OSError:
            return None
        if len(head) < _HEADER_BYTES or struct.unpack_from("<I", head, 12)[0] != crc32(head[:12]):
            return None
        magic, epoch, first = struct.unpack_from(_HEADER, head)
        return epoch if magic == _MAGIC and first == base else None

    def _size(self, base: int) -> int:
        try:
            return os.stat(self._path(base))[6]
        except OSError:
            return 0

    def _entries(self, base: int):
        # Yield each entry of a segment as (where it ends, era, seq).
        offset = _HEADER_BYTES
        while True:
            size = self._load(base, offset)
            if not size:
                return
            offset += size
            _, era, _, seq = struct.unpack_from(_ENTRY, self._buffer)
            yield offset, era, seq

    def _load(self, base: int, offset: int) -> int:
        # Read the entry at `offset` into the buffer; return its size, 0 where there is none.
        try:
            with open(self._path(base), "rb") as file:
                file.seek(offset)
                got = file.readinto(self._buffer) or 0
        except OSError:
            return 0
        if got < _MIN_ENTRY:
            return 0
        end = _ENTRY_BYTES + struct.unpack_from("<H", self._buffer)[0]
        if end + _CRC_BYTES > got:
            return 0
        if struct.unpack_from("<I", self._buffer, end)[0] != crc32(self._view[:end]):
            return 0
        return end + _CRC_BYTES

    def _write(self, entry) -> None:
        if self._tail is None and self._bases and self._fits(entry):
            self._tail = open(self._path(self._bases[-1]), "ab")
        tail = self._tail
        if tail is None or not self._fits(entry):
            tail = self._roll()
        tail.write(entry)
        tail.flush()
        self._tail_bytes += len(entry)

    def _fits(self, entry) -> bool:
        return self._tail_bytes + len(entry) <= SEGMENT_BYTES

    def _roll(self):
        # Begin a segment and return its file.
        self._close()
        while len(self._bases) >= self._most and self._drop():
            pass
        base = self.next_seq
        head = struct.pack(_HEADER, _MAGIC, self._state.epoch, base)
        # A file of that name can only be one whose first record was never accepted.
        tail = self._tail = open(self._path(base), "wb")
        if not self._bases or self._bases[-1] != base:
            self._bases.append(base)
        tail.write(head + struct.pack("<I", crc32(head)))
        self._tail_bytes = _HEADER_BYTES
        return tail

    def _settle(self, seq: int) -> bool:
        # After a failed write: True if the entry did get to flash, else make room for another try.
        self._close()
        # Not even to be opened again: the next record goes to a new segment all the same.
        self._tail_bytes = SEGMENT_BYTES
        if not self._bases:
            return False
        base = self._bases[-1]
        if self._epoch_of(base) is not None:
            for _, _, found in self._entries(base):
                if found == seq:
                    return True
        if base == seq:
            self._remove(self._bases.pop())
            self.rewind()
        return False

    def _close(self) -> None:
        # Whatever state the file is in, the next record goes to a new segment.
        if self._tail is not None:
            tail, self._tail = self._tail, None
            self._tail_bytes = SEGMENT_BYTES
            try:
                tail.close()
            except OSError:
                pass

    def _drop(self) -> bool:
        # Give up the oldest segment; False where only the newest is left.
        if len(self._bases) < 2:
            return False
        lost = self._bases[1] - max(self._state.cursor, self._bases[0])
        if lost > 0:
            self.dropped += lost
            self._state.cursor = self._bases[1]
            self._unsaved += lost
        self._forget(0)
        return True

    def _forget(self, index: int) -> None:
        self._remove(self._bases.pop(index))
        if self._place > index:
            self._place -= 1
        elif self._place == index and self._bases:
            self._offset = _HEADER_BYTES
            self._read_seq = max(self._read_seq, self._bases[index])

    def _remove(self, base: int) -> None:
        try:
            os.remove(self._path(base))
        except OSError:
            pass

"""The spool: records in flash, oldest first, until the receiver has them.

Segment files of at most one flash block each (`core.segments`), so that adding a record rewrites
no more than that block.

A record is accepted when `append` returned: it is on flash then. Released records go a whole
segment at a time; between, the cursor in `State` says where to go on. A cut tail or a damaged
entry ends its segment: the next record starts a new one. `seq` is not used twice in an epoch: it
follows from what is on flash, leaves room for what damage may hide, and an epoch whose records
are gone is followed by a new one.
"""

import struct
from binascii import crc32

from node.core.segments import (
    CRC_BYTES,
    ENTRY,
    ENTRY_BYTES,
    HEADER_BYTES,
    MAX_FRAME,
    MIN_ENTRY,
    SEGMENT_BYTES,
    Segments,
)
from node.wire.const import const

_MIN_FRAME = const(4)
_SAVE_EVERY = const(16)
_TRIES = const(3)
_MAX_FOUND = const(4)
_ENOSPC = const(28)  # as LittleFS gives it; the port's errno does not name it


class Spool:
    """Records in `folder`, in at most `limit` bytes of segments.

    `state` is the State beside them, `new_epoch()` gives a random u32 for a spool that is new.
    `dropped` counts records given up for room, `damaged` those lost to bad flash contents.
    """

    def __init__(self, folder: str, limit: int, state, new_epoch) -> None:
        self._files = Segments(folder)
        self._most = max(2, limit // SEGMENT_BYTES)
        self._state = state
        self._buffer = self._files.buffer
        self._view = self._files.view
        self._tail = None
        self._tail_bytes = 0
        self._unsaved = 0
        # Where `read` is: place of the segment in the list, of the entry in it, its number.
        self._place = 0
        self._offset = HEADER_BYTES
        self._read_seq = 0
        self._checked = 0  # gaps up to here are counted
        self._sought = False  # nothing was read since `seek`
        self._found: dict = {}  # by segment: the record that was sought last, and where it is
        self.dropped = 0
        self.damaged = 0
        self.next_seq = 0
        self._bases = self._files.find()
        self._recover(new_epoch)
        self.rewind()

    @property
    def pending(self) -> int:
        """How many records wait for release (with gaps that damage left)."""
        return self.next_seq - self._state.cursor

    @property
    def epoch(self) -> int:
        """Within one epoch no number is used twice."""
        return self._state.epoch

    def append(self, frame, era: int = 0, at: int = 0) -> int:
        """Put a record with number `next_seq` on flash and return its number.

        `era` and `at` are for a frame made before the clock was set, see `State`.
        Raises OSError where flash does not take it (it is not accepted then), ValueError for a
        frame of less than 4 or more than MAX_FRAME bytes.
        """
        n = len(frame)
        if not _MIN_FRAME <= n <= MAX_FRAME:
            raise ValueError("frame's size")
        end = ENTRY_BYTES + n
        tries = 0
        while True:
            tries += 1
            seq = self.next_seq
            struct.pack_into(ENTRY, self._buffer, 0, n, era, at, seq)
            self._buffer[ENTRY_BYTES:end] = frame
            struct.pack_into("<I", self._buffer, end, crc32(self._view[:end]))
            try:
                self._write(self._view[: end + CRC_BYTES])
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
            size = self._files.load(self._bases[self._place], self._offset)
            if size:
                self._offset += size
                _, era, at, seq = struct.unpack_from(ENTRY, self._buffer)
                if seq < self._read_seq:
                    continue
                if self._sought:
                    self._note(self._bases[self._place], seq, self._offset - size)
                self._skip(seq)
                self._read_seq = seq + 1
                if seq < self._state.cursor:
                    continue
                return seq, era, at, bytes(self._view[ENTRY_BYTES : size - CRC_BYTES])
            if self._place + 1 == len(self._bases):
                if self._read_seq >= self.next_seq:
                    return None
                # The newest segment can no longer be read to its end: go on in a new one.
                self._skip(self.next_seq)
                self._close()
                return None
            self._place += 1
            self._offset = HEADER_BYTES
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
        self.seek(self._state.cursor)

    def seek(self, seq: int) -> None:
        """Let `read` go on at the record `seq`, or at the first one behind it."""
        self._place = 0
        self._offset = HEADER_BYTES
        while self._place + 1 < len(self._bases) and self._bases[self._place + 1] <= seq:
            self._place += 1
        self._read_seq = self.next_seq
        if self._bases:
            base = self._bases[self._place]
            self._read_seq = max(seq, base)
            found = self._found.get(base)
            if found is not None and found[0] <= seq:
                self._offset = found[1]
        self._sought = True

    def _note(self, base: int, seq: int, offset: int) -> None:
        self._sought = False
        if len(self._found) >= _MAX_FOUND and base not in self._found:
            self._found.clear()
        self._found[base] = (seq, offset)

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

    def _recover(self, new_epoch) -> None:
        state = self._state
        epoch = None
        least = 0
        # A segment without a header is one whose first record was never accepted (it is empty),
        # or a damaged one: the numbers that it may have had are not used again.
        while self._bases:
            base = self._bases[-1]
            epoch = self._files.epoch_of(base)
            if epoch is not None:
                break
            least = max(least, base + self._files.size(base) // MIN_ENTRY)
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
        offset, seq = HEADER_BYTES, base
        for end, _, last in self._files.entries(base):
            offset = end
            seq = max(seq, last + 1)
        self._tail_bytes = offset
        left = self._files.size(base) - offset
        self.next_seq = seq + left // MIN_ENTRY
        if left:
            self._tail_bytes = SEGMENT_BYTES
        if not state.found or state.epoch != epoch:
            state.epoch = epoch
            state.cursor = self._bases[0]
            # A record of an earlier era must not get the time of the next one to be numbered.
            for each in self._bases:
                for _, era, _ in self._files.entries(each):
                    state.era = max(state.era, era)
            self._keep()
        # What was dropped or lost before the state was saved cannot be had any more.
        state.cursor = max(state.cursor, self._bases[0])
        if state.cursor > self.next_seq:
            # Newer segments are gone that had records released, and perhaps some sent.
            self.next_seq = state.cursor + SEGMENT_BYTES // MIN_ENTRY
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

    def _write(self, entry) -> None:
        self._files.end_reading()
        if self._tail is None and self._bases and self._fits(entry):
            self._tail = open(self._files.path(self._bases[-1]), "ab")
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
        # A file of that name can only be one whose first record was never accepted.
        tail = self._tail = open(self._files.path(base), "wb")
        if not self._bases or self._bases[-1] != base:
            self._bases.append(base)
        tail.write(self._files.header(self._state.epoch, base))
        self._tail_bytes = HEADER_BYTES
        return tail

    def _settle(self, seq: int) -> bool:
        # After a failed write: True if the entry did get to flash, else make room for another try.
        self._close()
        # Not even to be opened again: the next record goes to a new segment all the same.
        self._tail_bytes = SEGMENT_BYTES
        if not self._bases:
            return False
        base = self._bases[-1]
        if self._files.epoch_of(base) is not None:
            for _, _, found in self._files.entries(base):
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
            self._offset = HEADER_BYTES
            self._read_seq = max(self._read_seq, self._bases[index])

    def _remove(self, base: int) -> None:
        self._found.pop(base, None)
        self._files.remove(base)

"""Which records go with an uplink that may be lost, and when they are forgotten.

New records go first; older ones that the network is not known to have fill what is left of the
air time. A record is released when an uplink that carried it was followed by a downlink for this
node: nothing else proves that it arrived. So an uplink is *quiet* only as long as a later one
that *asks* for an answer can carry its records again, as a batch. `docs/lorawan.md` has the whole.
"""

import struct

from node.core.log import describe
from node.core.proof import Proof
from node.wire import schema
from node.wire.batch import Packer
from node.wire.const import const

_LONGEST_PAYLOAD = const(242)
# Of a longer queue the newest are sent first; the rest is backlog.
_LIVE = const(4)
_LONGEST_QUEUE = const(64)
# After so many questions in a row without an answer the network is taken for gone.
_SILENT = const(2)
# What was sent quietly waits no longer for a question.
_QUIET_MS = const(7200000)
_FIRST_RETRY_MS = const(60000)
_LONGEST_RETRY_MS = const(7200000)

_SINGLE = (schema.HEALTH, schema.EVENT)

# epoch, cursor, live, quiet, ms since that, uplinks since a confirmed one, questions without an
# answer, ms until the next retry, number of ranges
_FORM = "<IIIIIHHIB"
_RANGE = "<II"


class Cargo:
    """Records from number `first` to `last`: `size` bytes of the buffer; `asks` for an answer."""

    def __init__(self, first: int, last: int, size: int, asks: bool) -> None:
        self.first = first
        self.last = last
        self.size = size
        self.asks = asks


class Delivery:
    """What of `spool` is still to be sent. Each `confirmed_every`-th uplink asks (0: none has to).

    `buffer` has the payload of the last Cargo. `random(n)` gives 0 … n-1.
    """

    def __init__(self, spool, recorder, confirmed_every: int, random, log) -> None:
        self._spool = spool
        self._recorder = recorder
        self._every = confirmed_every
        self._random = random
        self._log = log
        self._packer = Packer()
        self.buffer = bytearray(_LONGEST_PAYLOAD)
        self._view = memoryview(self.buffer)
        self._proof = Proof()
        self._live = max(self._cursor, spool.next_seq - _LIVE)
        self._quiet = self._live  # the first that was sent, and not yet asked for
        self._quiet_ms = 0  # when that was
        self._skipped = 0  # older ones are too long for the data rate
        self._first = 0
        self._lone = False
        self._unconfirmed = 0
        self._misses = 0
        self.retry_ms = 0  # before that the backlog waits

    @property
    def _cursor(self) -> int:
        return self._spool.next_seq - self._spool.pending

    @property
    def due_confirmed(self) -> bool:
        """Whether the next uplink is one of those that are confirmed."""
        return self._unconfirmed + 1 >= self._every > 0

    def payload(self, cargo: Cargo):
        """Return the bytes of the Cargo that was made last."""
        return self._view[: cargo.size]

    def tidy(self) -> None:
        """Take note of what the spool has given up, or got."""
        next_seq, cursor = self._spool.next_seq, self._cursor
        self._proof.released(cursor)
        if next_seq - self._live > _LONGEST_QUEUE or self._live > next_seq:
            self._live = self._quiet = max(cursor, next_seq - _LIVE)
        self._live = max(self._live, cursor)
        self._quiet = min(max(self._quiet, cursor), self._live)

    def _is_overdue(self, now_ms: int) -> bool:
        return self._quiet < self._live and now_ms - self._quiet_ms >= _QUIET_MS

    def live(self, room: int, now_ms: int, rare: bool):
        """Return the Cargo of the new records in at most `room` bytes, or None.

        Where uplinks are `rare`, none is quiet: to send records twice would cost too much.
        """
        packer = self._packer
        while self._live < self._spool.next_seq:
            end = self._spool.next_seq
            size, last = self._pack(room, self._quiet, end)
            asks = (
                rare
                or self.due_confirmed
                or self._misses >= _SILENT
                or self._lone
                or self._is_overdue(now_ms)
                or packer.closed
                or last < end - 1
            )
            if not asks and self._quiet < self._live:
                size, last = self._pack(room, self._live, end)
            if size:
                return Cargo(self._first, last, size, asks)
            # Too long for this rate: it waits in the backlog for a better one. Or lost to a bad
            # flash.
            self._live = self._quiet = max(self._live, last + 1) if last >= 0 else end
        return None

    def backlog(self, room: int, now_ms: int):
        """Return the Cargo of the oldest records that are not known to have arrived, or None."""
        if self._is_overdue(now_ms):
            self._quiet = self._live
        while True:
            first = self._proof.gap(max(self._cursor, self._skipped))
            end = self._proof.until(first, self._quiet)
            if first >= end:
                return None
            size, last = self._pack(room, first, end)
            if last < 0 or self._first > first:
                # Lost to a bad flash: nothing is left to be delivered.
                self._proof.add(first, end if last < 0 else self._first)
                self._release()
            if size:
                return Cargo(self._first, last, size, True)
            if last >= 0:
                self._skipped = last + 1

    def better_rate(self) -> None:
        """Take note that longer payloads may be possible now."""
        self._skipped = 0

    def sent(self, cargo: Cargo, confirmed: bool, heard: bool, now_ms: int) -> None:
        """Take note of what became of a Cargo."""
        end = cargo.last + 1
        self._unconfirmed = 0 if confirmed else min(0xFFFF, self._unconfirmed + 1)
        if cargo.asks and cargo.first <= self._quiet < end:
            self._quiet = end
        elif self._quiet == self._live:
            self._quiet_ms = now_ms
        self._live = max(self._live, end)
        if heard:
            self._proof.add(cargo.first, end)
            self._release()
        elif cargo.asks:
            self._misses = min(0xFFFF, self._misses + 1)
            pause = min(_LONGEST_RETRY_MS, _FIRST_RETRY_MS << min(self._misses - 1, 7))
            self.retry_ms = now_ms + pause // 2 + self._random(pause)

    def heard(self, now_ms: int) -> None:
        """Take note that the network is there."""
        self._misses = 0
        self.retry_ms = now_ms

    def _release(self) -> None:
        end = self._proof.gap(self._cursor)
        if end > self._cursor:
            try:
                self._spool.release(end - 1)
            except OSError as error:
                self._log.warning("spool", "state not saved, " + describe(error))
            self._log.info("uplink", "acked %d" % (end - 1))
            self._proof.released(end)

    def _pack(self, room: int, first: int, end: int):
        self._first = first
        self._lone = False
        return self._packer.pack(
            self.buffer, min(room, _LONGEST_PAYLOAD), self._entries(first, end),
            self._recorder.frame,
        )  # fmt: skip

    def _entries(self, first: int, end: int):
        spool = self._spool
        spool.seek(first)
        entry = spool.read()
        if entry is not None and entry[0] < end:
            self._first = entry[0]
        while entry is not None and entry[0] < end:
            # What comes in between is alone in its payload, so that no later one carries it too.
            self._lone = self._lone or entry[3][1] in _SINGLE
            yield entry
            entry = spool.read()

    # -- deep sleep -----------------------------------------------------------------------------

    def pack(self, now_ms: int) -> bytes:
        """Return what a deep sleep has to outlive."""
        ranges = self._proof.ranges
        data = struct.pack(
            _FORM, self._spool.epoch, self._cursor, self._live, self._quiet,
            min(_QUIET_MS, now_ms - self._quiet_ms), self._unconfirmed, self._misses,
            max(0, self.retry_ms - now_ms), len(ranges),
        )  # fmt: skip
        for each in ranges:
            data += struct.pack(_RANGE, each[0], each[1])
        return data

    def unpack(self, data: bytes, at: int, now_ms: int, off_ms: int) -> int:
        """Take over what `pack` gave, from `data[at:]`; return where it ends."""
        (
            epoch, cursor, live, quiet, quiet_ms, unconfirmed, misses, retry_ms, count,
        ) = struct.unpack_from(_FORM, data, at)  # fmt: skip
        at += struct.calcsize(_FORM)
        ranges = at
        at += count * struct.calcsize(_RANGE)
        if epoch != self._spool.epoch:
            return at  # another spool: nothing is known of its records
        while ranges < at:
            first, end = struct.unpack_from(_RANGE, data, ranges)
            self._proof.add(first, end)
            ranges += struct.calcsize(_RANGE)
        # Not every release is written to flash.
        self._proof.add(self._cursor, cursor)
        self._release()
        self._live, self._quiet = live, quiet
        self._quiet_ms = now_ms - off_ms - quiet_ms
        self._unconfirmed, self._misses = unconfirmed, misses
        self.retry_ms = now_ms + max(0, retry_ms - off_ms)
        return at

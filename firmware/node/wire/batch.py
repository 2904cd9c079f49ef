"""The packer: from stored records, oldest first, to the payload of one uplink.

A payload is one open frame, or a batch `[-1-k, seq, t, status, dt, n, columns]` when that is
shorter: n records of one type with numbers seq, seq + 1, … and times t, t + dt, … A record that
does not go on like that begins the next payload.
"""

from .cbor import FAULT, NULL, UNDEFINED, put_head, put_int
from .columns import COUNT_BITS, MAX_RECORDS, MIXED, PRESENCE_BITS, BitWriter, Column
from .const import const
from .schema import RECORDS

_ARRAY = const(0x80)
_BYTES = const(0x40)
_OPEN_ITEMS = const(4)
_STATUS = const(3)  # the last of them
_BATCH_ITEMS = const(7)
_MAX_STATUS = const(0xFFFF)
_MAX_FRAME = const(255)  # a byte tells where its values are


class Packer:
    """Makes payloads; one per node, as its buffers (some 5 KiB on a chip) are made once.

    Of the last payload: `count` is how many records are in it, and `closed` tells that a later
    record could not join them: to wait for one makes no longer batch.
    """

    def __init__(self) -> None:
        self.count = 0
        self.closed = True
        most = max([len(rows) for _, rows in RECORDS.values()])
        self._columns = [Column() for _ in range(most)]
        self._statuses = Column()
        self._writer = BitWriter()
        self._frames: list[bytes] = []
        self._places = bytearray(MAX_RECORDS)  # where the next value is, in each frame
        self._value: object = None
        self._kind = 0
        self._seq = 0
        self._t = 0
        self._dt = 0
        self._status = 0
        self._fields = 0
        self._items = [0] * _OPEN_ITEMS
        self._head_bytes = 0  # of the frame up to `status`
        self._used = 0  # columns, without those at the end that have no value
        self._complete = True
        self._content = 0  # bytes of the columns
        self._open_bytes = 0

    # MicroPython has no names for the types of an iterable and a callable.
    def pack(self, buffer: bytearray, limit: int, entries, frame_of) -> tuple[int, int]:  # type: ignore[no-untyped-def]
        """Write the next payload of at most `limit` bytes to the start of `buffer`.

        `entries` gives the stored records `(seq, …)` from the oldest on that is to be sent, and
        `frame_of(entry)` the open frame to send now. Returns the payload's length and the number of
        the last record in it: `(0, -1)` without records, `(0, seq)` if not even the first one fits.
        """
        first = None
        first_seq = last = -1
        self.count = 0
        self.closed = True
        self._frames.clear()
        for entry in entries:
            data = frame_of(entry)
            if first is None:
                first = data
                first_seq = last = entry[0]
                if not self._begin(data):
                    break
            elif not self._goes_on(data):
                break
            if not self._add(data, limit):
                break
            last = entry[0]
            if len(self._frames) == MAX_RECORDS:
                break
        else:
            self.closed = False
        if first is None:
            return 0, -1
        n = len(self._frames)
        if n and self._tuned_size() < self._open_bytes:
            self.count = n
            size = self._write(buffer)
        else:
            self.count = 1
            self.closed = self.closed or n > 1
            last = first_seq
            size = len(first)
            if size > limit:
                self.count = size = 0
            else:
                buffer[:size] = first
        self._frames.clear()
        return size, last

    # Which records go together

    def _begin(self, data: bytes) -> bool:
        # Start with this record; False if there is no batch of such.
        self._open_bytes = 0
        self._dt = 0
        if not self._head(data):
            return False
        kind, seq, t, status = self._items
        if kind not in RECORDS or seq < 0:
            return False
        self._kind = kind
        self._seq = seq
        self._t = t
        self._status = status
        self._head_bytes = 2 + _int_bytes(seq) + _int_bytes(t) + _int_bytes(status)
        self._clear()
        return True

    def _clear(self) -> None:
        rows = RECORDS[self._kind][1]
        self._fields = len(rows)
        for index, row in enumerate(rows):
            self._columns[index].begin(row[5] - row[4], row[6] - row[4])
        self._statuses.begin(0, _MAX_STATUS)

    def _goes_on(self, data: bytes) -> bool:
        # Tell whether the record is the one after those there are.
        n = len(self._frames)
        if not self._head(data):
            return False
        kind, seq, t, _ = self._items
        if kind != self._kind or seq != self._seq + n:
            return False
        if (t < 0) != (self._t < 0) or t < self._t:
            return False
        if n == 1:
            self._dt = t - self._t
        return t == self._t + n * self._dt

    def _add(self, data: bytes, limit: int) -> bool:
        # Add the record if its values have columns and it fits.
        n = len(self._frames)
        self._frames.append(data)
        if self._count(n) and (self._size() <= limit or self._tuned_size() <= limit):
            self._open_bytes += len(data)
            return True
        # As if it had not been there.
        self._frames.pop()
        self._clear()
        for index in range(n):
            self._count(index)
        return False

    def _count(self, index: int) -> bool:
        # Add the values of a record to their columns; False if they are not all of such a kind.
        data = self._frames[index]
        place = self._head(data)
        status = self._items[_STATUS]
        if not self._statuses.takes(status):
            return False
        self._statuses.add(status)
        for number in range(self._fields):
            place = self._read(data, place)
            column = self._columns[number]
            if not column.takes(self._value):
                return False
            column.add(self._value)
        return place == len(data)

    # What is in a frame

    def _head(self, data: bytes) -> int:
        # Read kind, seq, t and status into `_items`; return their end, 0 if they are none of ours.
        if not data or not _ARRAY + _OPEN_ITEMS <= data[0] < _ARRAY + 24 or len(data) > _MAX_FRAME:
            return 0
        place = 1
        for index in range(_OPEN_ITEMS):
            place = self._read(data, place)
            if not isinstance(self._value, int):
                return 0
            self._items[index] = self._value
        return place

    def _read(self, data: bytes, place: int) -> int:
        # Read the value at `place` and return its end: an integer, None (also behind the last),
        # UNDEFINED, or "" for what is none of these.
        if place >= len(data):
            self._value = None
            return place
        head = data[place]
        place += 1
        number = head & 0x1F
        if head >= 0x40:
            self._value = None if head == NULL else UNDEFINED if head == FAULT else ""
        elif number < 24:
            self._value = -1 - number if head >= 0x20 else number
        elif number > 26 or place + (1 << (number - 24)) > len(data):  # no field has 64 bits
            self._value = ""
        else:
            end = place + (1 << (number - 24))
            number = 0
            while place < end:
                number = number << 8 | data[place]
                place += 1
            self._value = -1 - number if head >= 0x20 else number
        return place

    # What it takes

    def _size(self) -> int:
        # Return the payload's bytes, and note what goes with them.
        n = len(self._frames)
        bits = COUNT_BITS + 2
        if self._statuses.varies:
            bits += self._statuses.bits()
        used = full = mixed = 0
        for index in range(self._fields):
            column = self._columns[index]
            present = column.present
            if column.absent == n:
                continue  # left out, if it is at the end
            used = index + 1
            bits += column.bits()
            if present == n:
                full += 1
            elif column.failed != n:
                mixed += present + 2 * (n - present)
        if full != used:
            bits += mixed + PRESENCE_BITS * used
        self._used = used
        self._complete = full == used
        self._content = content = (bits + 7) // 8
        dt_bytes = _int_bytes(self._dt) if n > 1 else 1
        return self._head_bytes + dt_bytes + _int_bytes(n) + _int_bytes(content) + content

    def _tuned_size(self) -> int:
        self._statuses.tune()
        for index in range(self._fields):
            self._columns[index].tune()
        return self._size()

    # Writing

    def _write(self, buffer: bytearray) -> int:
        # Write what `_tuned_size` has measured.
        n = len(self._frames)
        buffer[0] = _ARRAY | _BATCH_ITEMS
        pos = put_int(buffer, 1, -1 - self._kind)
        pos = put_int(buffer, pos, self._seq)
        pos = put_int(buffer, pos, self._t)
        pos = put_int(buffer, pos, self._status)
        pos = put_int(buffer, pos, self._dt if n > 1 else 0)
        pos = put_int(buffer, pos, n)
        pos = put_head(buffer, pos, _BYTES, self._content)
        writer = self._writer
        writer.begin(buffer, pos)
        writer.put(self._used, COUNT_BITS)
        writer.put(1 if self._complete else 0, 1)
        varies = self._statuses.varies
        writer.put(1 if varies else 0, 1)
        for index in range(n):
            self._places[index] = self._head(self._frames[index])
            if varies:
                self._statuses.write(writer, self._items[_STATUS])
        for number in range(self._used):
            column = self._columns[number]
            if not self._complete:
                self._write_presence(column, n)
            for index in range(n):
                self._places[index] = self._read(self._frames[index], self._places[index])
                if isinstance(self._value, int):
                    column.write(writer, self._value)
        return pos + self._content

    def _write_presence(self, column: Column, n: int) -> None:
        code = column.presence(n)
        self._writer.put(code, PRESENCE_BITS)
        if code != MIXED:
            return
        for index in range(n):
            self._read(self._frames[index], self._places[index])
            if self._value is None:
                self._writer.put(0, 2)
            elif self._value is UNDEFINED:
                self._writer.put(1, 2)
            else:
                self._writer.put(1, 1)


def _int_bytes(value: int) -> int:
    if value < 0:
        value = -1 - value
    return 1 if value < 24 else 2 if value < 0x100 else 3 if value < 0x10000 else 5

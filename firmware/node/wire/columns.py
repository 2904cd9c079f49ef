"""Columns of a batch: what one costs in bits, and how it is written; docs/frames.md has the layout.

A column holds one field of all records of a batch: which of them have it, the first value as it
is, then the differences from value to value in Rice code. The values are those on the air,
`steps - zero`.
"""

from .cbor import UNDEFINED
from .const import const

# What a receiver has to hold is bounded by this alone: equal values take no bits.
MAX_RECORDS = const(64)

COUNT_BITS = const(5)  # how many columns there are
PRESENCE_BITS = const(2)
ALL = const(0)  # presence: every record has a value
NONE = const(1)  # none was sampled
FAILED = const(2)  # the sensor failed in all of them
MIXED = const(3)  # one code a record: 1 a value, 00 not sampled, 01 failed

CLASS_BITS = const(2)  # an absolute value takes so many quarters of the field's width, less one
MODE_BITS = const(3)
EQUAL = const(0)  # mode: all differences are 0, and not written
LONG = const(7)  # mode: one of the rarer ones follows; the others are 1 + k
LONG_BITS = const(4)
ESCAPE = const(8)  # so many ones instead of a quotient: an absolute value follows
COARSE = const(10)  # a sensor may have steps that are this many of its field's

SHORT_MODES = const(6)  # k = 0 … 5
FINE_MODES = const(14)  # k = 0 … 13
MODES = const(22)  # and k = 0 … 7 of differences divided by COARSE


def fold(value: int) -> int:
    """Return a signed number as an unsigned one, small where it is small: 0, -1, 1, -2, …"""
    return 2 * value if value >= 0 else -1 - 2 * value


def width(low: int, high: int) -> int:
    """Return the bits that hold any number from `low` to `high`, folded if `low` is negative."""
    most = max(fold(low), fold(high)) if low < 0 else high
    bits = 1
    while most >> bits:
        bits += 1
    return bits


def class_width(bits: int, number: int) -> int:
    """Return the bits of an absolute value of class `number` in a field that is `bits` wide."""
    return (bits * (number + 1) + 3) // 4


class BitWriter:
    """Writes bits, the highest first, into the caller's buffer."""

    def __init__(self) -> None:
        self._buffer = bytearray(0)
        self._left = 0
        self.pos = 0

    def begin(self, buffer: bytearray, pos: int) -> None:
        """Start at `pos`."""
        self._buffer = buffer
        self._left = 0
        self.pos = pos

    def put(self, value: int, bits: int) -> None:
        """Write the number with so many bits."""
        buffer, left, pos = self._buffer, self._left, self.pos
        while bits:
            if not left:
                buffer[pos] = 0
                pos += 1
                left = 8
            if bits < left:
                left -= bits
                buffer[pos - 1] |= (value & ((1 << bits) - 1)) << left
                break
            bits -= left
            buffer[pos - 1] |= (value >> bits) & ((1 << left) - 1)
            left = 0
        self._left = left
        self.pos = pos


class Column:
    """One field of the records of a batch: `begin`, `add` each record, `tune`; then write.

    `present`, `absent` and `failed` count the records that have a value, that were not sampled,
    and whose sensor failed.
    """

    def __init__(self) -> None:
        # By mode: the bits of all differences beyond k + 1 each.
        self._costs = [0] * MODES
        self._low = 0
        self._high = 0
        self._folded = False
        self._widths = [0] * 4  # of absolute values, by class
        self._first_bits = 0
        self._last = 0
        self._equal = True
        self._coarse = True
        self._mode = 0
        self._written = 0
        self.present = 0
        self.absent = 0
        self.failed = 0

    def begin(self, low: int, high: int) -> None:
        """Forget all; the values are from `low` to `high` on the air."""
        self._low = low
        self._high = high
        self._folded = low < 0
        bits = width(low, high)
        for number in range(4):
            self._widths[number] = class_width(bits, number)
        self._equal = True
        self._coarse = True
        self._mode = 0
        self.present = self.absent = self.failed = 0
        costs = self._costs
        for mode in range(MODES):
            costs[mode] = 0

    def takes(self, value: object) -> bool:
        """Tell whether a column of this field can hold what is in a frame."""
        if value is None or value is UNDEFINED:
            return True
        return isinstance(value, int) and self._low <= value <= self._high

    def add(self, value: object) -> None:
        """Take the value of the next record: an integer in range, None or UNDEFINED."""
        if not isinstance(value, int):
            if value is None:
                self.absent += 1
            else:
                self.failed += 1
            return
        bits = CLASS_BITS + self._widths[self._class(value)]
        if not self.present:
            self._first_bits = bits
        else:
            difference = value - self._last
            if difference:
                self._equal = False
                self._spread(fold(difference), 0, FINE_MODES, bits)
                if difference % COARSE:
                    self._coarse = False
                elif self._coarse:
                    self._spread(fold(difference // COARSE), FINE_MODES, MODES, bits)
        self.present += 1
        self._last = value

    def _spread(self, folded: int, mode: int, end: int, absolute_bits: int) -> None:
        # Add what a difference costs beyond k + 1 bits in each mode; from some k on it is nothing.
        costs = self._costs
        k = 0
        while folded and mode < end:
            if folded < ESCAPE:
                costs[mode] += folded
            else:
                costs[mode] += ESCAPE + absolute_bits - k - 1
            folded >>= 1
            mode += 1
            k += 1

    def _class(self, value: int) -> int:
        if self._folded:
            value = fold(value)
        number = 0
        while value >> self._widths[number]:
            number += 1
        return number

    def presence(self, records: int) -> int:
        """Return the code of which of so many records have a value."""
        if self.present == records:
            return ALL
        if self.absent == records:
            return NONE
        return FAILED if self.failed == records else MIXED

    @property
    def varies(self) -> bool:
        """Whether there are different values."""
        return not self._equal

    def bits(self) -> int:
        """Return the bits of the values, with the mode of the last `tune`."""
        if self.present < 2:
            return self._first_bits if self.present else 0
        if self._equal:
            return self._first_bits + MODE_BITS
        mode = self._mode
        if mode >= FINE_MODES and not self._coarse:
            mode = 0
        return self._first_bits + self._bits_of(mode)

    def _bits_of(self, mode: int) -> int:
        head = MODE_BITS if mode < SHORT_MODES else MODE_BITS + LONG_BITS
        k = mode if mode < FINE_MODES else mode - FINE_MODES
        return head + self._costs[mode] + (k + 1) * (self.present - 1)

    def tune(self) -> None:
        """Choose the mode that is shortest for the records so far."""
        best = 0
        least = self._bits_of(0)
        for mode in range(1, MODES if self._coarse else FINE_MODES):
            bits = self._bits_of(mode)
            if bits < least:
                best = mode
                least = bits
        self._mode = best
        self._written = 0

    def write(self, writer: BitWriter, value: int) -> None:
        """Write the next value, in the order of `add` and behind `tune`."""
        first = not self._written
        self._written += 1
        mode = self._mode
        if first:
            self._write_absolute(writer, value)
            if self.present > 1:
                if self._equal:
                    writer.put(EQUAL, MODE_BITS)
                elif mode < SHORT_MODES:
                    writer.put(1 + mode, MODE_BITS)
                else:
                    writer.put(LONG, MODE_BITS)
                    writer.put(mode - SHORT_MODES, LONG_BITS)
        elif not self._equal:
            difference = value - self._last
            k = mode
            if mode >= FINE_MODES:
                difference //= COARSE
                k -= FINE_MODES
            folded = fold(difference)
            quotient = folded >> k
            if quotient < ESCAPE:
                ones = ((1 << quotient) - 1) << (k + 1)
                writer.put(ones | (folded & ((1 << k) - 1)), quotient + 1 + k)
            else:
                writer.put((1 << ESCAPE) - 1, ESCAPE)
                self._write_absolute(writer, value)
        self._last = value

    def _write_absolute(self, writer: BitWriter, value: int) -> None:
        number = self._class(value)
        writer.put(number, CLASS_BITS)
        writer.put(fold(value) if self._folded else value, self._widths[number])

"""Tables of the interpreter itself that would give a program the machine's numbers."""

import _errno
import _native
import ffi
import struct
import uctypes

_PAGE = 4096
_READ_WRITE = 3
_WORD = uctypes.sizeof({"type": (uctypes.PTR, uctypes.VOID)})
_mprotect = ffi.open(None).func("i", "mprotect", "PLi")


def set_errno():
    """Have the interpreter itself go by the chip's numbers.

    Its compiler puts in a number where a program says `errno.…`, and an OSError is printed with
    the name of its number. Both come from tables in memory that is read only; where that cannot be
    changed, programs that come as source get the machine's numbers.
    """
    own = _native.errno
    numbers = {getattr(own, name): number for number, name in _errno.errorcode.items()}
    _translate(own.__dict__, 1, numbers)
    _translate(own.errorcode, 0, numbers)


def _words(address, count):
    return struct.unpack("P" * count, uctypes.bytearray_at(address, _WORD * count))


def _translate(dictionary, column, numbers):
    """Change the keys (column 0) or values (1) of a dictionary in ROM that are numbers."""
    # A dictionary is its type, then its map: flags with the count, room, address of the table.
    flags, _, table = _words(id(dictionary) + _WORD, 3)
    size = (flags >> 3) * 2 * _WORD
    start = table // _PAGE * _PAGE
    if not 0 < size < _PAGE or _mprotect(start, table + size - start, _READ_WRITE):
        return
    for at in range(table + column * _WORD, table + size, 2 * _WORD):
        (value,) = _words(at, 1)
        # A small integer is twice its value and one.
        if value & 1 and value >> 1 in numbers:
            cell = uctypes.bytearray_at(at, _WORD)
            cell[:] = struct.pack("P", numbers[value >> 1] << 1 | 1)

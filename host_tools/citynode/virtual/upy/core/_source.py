"""Program text on its way from the port to the compiler.

The port's compiler reads pasted text from the line as it comes and keeps none of it. Here the
compiler wants all of it at once; so that a program meets the chip's limit of RAM and not half of
it, the text is kept outside of the heap.
"""

import ffi
import struct
import uctypes

_PLAIN = 64  # bytes of the object that is bent to the text
_STEP = 4096
_WORD = uctypes.sizeof({"type": (uctypes.PTR, uctypes.VOID)})
_WORDS = "PPPP"  # type, hash, length, address: MicroPython's bytes object

_libc = ffi.open(None)
_realloc = _libc.func("p", "realloc", "pL")
_free = _libc.func("v", "free", "p")


def _head(data):
    return uctypes.bytearray_at(id(data), 4 * _WORD)


def _known():
    """Tell whether this interpreter's bytes objects are as they are taken to be here."""
    data = bytes(range(_PLAIN))
    length, address = struct.unpack(_WORDS, _head(data))[2:]
    return length == _PLAIN and bytes(uctypes.bytearray_at(address, _PLAIN)) == data


_outside = _known()


class Source:
    """Text that grows byte by byte; `compile` takes it and gives its memory back."""

    def __init__(self):
        self._size = 0
        self._room = 0
        self._address = 0
        self._text = bytearray()
        self._grow()

    def _grow(self):
        self._room += _STEP + self._room // 2
        if _outside:
            self._address = _realloc(self._address, self._room)
            self._text = uctypes.bytearray_at(self._address, self._room)
        else:
            self._text += bytes(self._room - len(self._text))

    def __len__(self):
        return self._size

    def __getitem__(self, index):
        return self._text[index]

    def append(self, value):
        if self._size == self._room:
            self._grow()
        self._text[self._size] = value
        self._size += 1

    def clear(self):
        self._size = 0

    def compile(self, name, mode):
        """Return the code of the text."""
        if not _outside:
            return compile(bytes(memoryview(self._text)[: self._size]), name, mode)
        data = bytes(range(_PLAIN))
        head = _head(data)
        kept = bytes(head)
        head[2 * _WORD :] = struct.pack("PP", self._size, self._address)
        try:
            return compile(data, name, mode)
        finally:
            head[:] = kept
            self.free()

    def free(self):
        """Give the memory back."""
        if self._address:
            _free(self._address)
        self._address = self._size = self._room = 0
        self._text = bytearray()

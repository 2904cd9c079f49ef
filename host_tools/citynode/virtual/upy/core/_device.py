"""The file system's block device in virtual time: no Ctrl-C can come in the middle of its work.

A file system reads a few bytes at a time, thousands of times for a start; so this copies out of
the flash's memory. It takes nothing from the heap, as `_flash` says.
"""

import _facts
import _native
import ffi
from micropython import const

_PROT_READ, _MAP_SHARED = const(1), const(1)
_END = const(2)  # of seek
_SHIFT = const(12)  # from sectors to bytes

_libc = ffi.open(None)
_copy = _libc.func("v", "memcpy", "ppL")
_map = _libc.func("p", "mmap", "pLiiil")
_at = 0  # where the flash is mapped


def _device(partition):
    """Return what a file system may have in the place of a partition."""
    global _at
    file = _facts.flash
    if not _at:
        _at = _map(None, file.seek(0, _END), _PROT_READ, _MAP_SHARED, file.fileno(), 0)
    _, _, start, size = partition.info()[:4]

    class Device:
        writeblocks = staticmethod(partition.writeblocks)
        ioctl = staticmethod(partition.ioctl)

        @staticmethod
        def readblocks(block, buf, offset, base=_at + start, size=size):
            offset += block << _SHIFT
            if offset >= size:
                return -5
            _copy(buf, base + offset, len(buf))

    return Device


_native.device = _device

"""The line over which the interpreter changes its flash; `virtual/upy/core/_flash.py` has its end.

A request is an operation, an address and a size (u32 each, little-endian), and the bytes to
program; the answer is an errno (u8), 0 for success. The line is apart from the
other calls (`rpc`), because the interpreter's collector writes files in the middle of them.
"""

import socket
import struct
from typing import Protocol

_HEAD = struct.Struct("<III")
_ERASE, _PROGRAM = range(2)
_AT_ONCE = 1 << 13
_EIO, _EINVAL = 5, 22


class Storage(Protocol):
    """What does it; both raise OSError."""

    def program(self, at: int, data: bytes) -> None:
        """Program bytes at an address."""

    def erase(self, at: int, size: int) -> None:
        """Erase whole sectors."""


class FlashLine:
    """The host's end for one interpreter; `receive` answers all whole requests that have come.

    It returns False when the other end is gone.
    """

    def __init__(self, sock: socket.socket, storage: Storage) -> None:
        self._sock = sock
        self._storage = storage
        self._input = bytearray()

    def receive(self) -> bool:
        """Answer what can be read without waiting."""
        try:
            data = self._sock.recv(_AT_ONCE)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._input += data
        while len(self._input) >= _HEAD.size:
            operation, at, size = _HEAD.unpack_from(self._input)
            end = _HEAD.size + (size if operation == _PROGRAM else 0)
            if len(self._input) < end:
                break
            payload = bytes(self._input[_HEAD.size : end])
            del self._input[:end]
            try:
                # A socket's buffer always has room for the byte that somebody waits for.
                self._sock.send(bytes((self._do(operation, at, size, payload),)))
            except OSError:
                return False
        return bool(data)

    def _do(self, operation: int, at: int, size: int, data: bytes) -> int:
        try:
            if operation == _PROGRAM:
                self._storage.program(at, data)
            else:
                self._storage.erase(at, size)
        except OSError as error:
            return error.errno or _EIO
        except ValueError:
            return _EINVAL
        return 0

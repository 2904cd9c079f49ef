"""Programming and erasing the flash, over a line of its own (`virtual/soc/flashline.py`).

A file that a program has let go of is closed by the collector, in the middle of whatever goes on:
inside another call to the host, and with the heap locked. So this stands apart from `_rpc`, and
neither it nor the block device that calls it takes anything from the heap: an allocation might
start a collection within the file system's work, which closes files by the same file system.
Frames stay small for that (those beyond eleven words are taken from the heap).
"""

import _native
import ffi
from array import array
from uctypes import addressof

_line = int(_native.sys.argv[1])
_read_into = open(_line, "r+b").readinto
_request = array("I", [0, 0, 0])
_parts = array("L", [addressof(_request), 12, 0, 0])  # two of `struct iovec`
_write = ffi.open(None).func("l", "writev", "ipi")
_answer = bytearray(1)
_ERASE, _PROGRAM = 0, 1
_NOTHING = b""


def _ask(data):
    _parts[2] = addressof(data)
    _parts[3] = len(data)
    _write(_line, _parts, 2)
    _read_into(_answer)
    return -_answer[0]


def program(at, data):
    """Program bytes at an address; return 0 or a negative errno. Ctrl-C has to be held."""
    _request[0] = _PROGRAM
    _request[1] = at
    _request[2] = len(data)
    return _ask(data)


def erase(at, size):
    """Erase whole sectors; return 0 or a negative errno. Ctrl-C has to be held."""
    _request[0] = _ERASE
    _request[1] = at
    _request[2] = size
    return _ask(_NOTHING)


def check(error):
    """Raise OSError for what `program` or `erase` has returned, if it is one."""
    if error:
        raise OSError(-error)

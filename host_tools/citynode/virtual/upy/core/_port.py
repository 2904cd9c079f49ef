"""The board's serial port in virtual time: its input is waited for, its output is put a time to."""

import _native
import _virtual
import builtins

_stdin = _native.stdin
_print = builtins.print
_write_out = _native.write


def _print_out(*args, **kwargs):
    _virtual.printed = True
    _print(*args, **kwargs)


def _write(data):
    _virtual.printed = True
    return _write_out(data)


class _Stdin:
    """The port's input as bytes."""

    @staticmethod
    def _await():
        while not _native.input_ready():
            _virtual.wait_until(_virtual.FOREVER)

    def read(self, size):
        data = b""
        while len(data) < size:
            self._await()
            data += _stdin.read(1)
        return data

    def readinto(self, buf):
        view = memoryview(buf)
        for i in range(len(view)):
            self._await()
            _stdin.readinto(view[i : i + 1])
        return len(view)


def begin():
    """Take over what the program prints."""
    builtins.print = _print_out


_native.stdin = _Stdin()
_native.write = _write

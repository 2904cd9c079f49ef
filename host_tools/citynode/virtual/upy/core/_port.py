"""The board's serial port in virtual time: its input is waited for, its output is put a time to."""

import _native
import _virtual
import builtins

_print = builtins.print
_write_out = _native.write


def _print_out(*args, **kwargs):
    _virtual.printed = True
    _print(*args, **kwargs)


def _write(data):
    _virtual.printed = True
    return _write_out(data)


def _await_input():
    while not _native.input_ready():
        _virtual.wait_until(_virtual.FOREVER)


def begin():
    """Take over what the program prints."""
    builtins.print = _print_out


_native.await_input = _await_input
_native.write = _write

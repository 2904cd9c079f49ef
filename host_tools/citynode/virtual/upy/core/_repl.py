"""The port's REPL: boot.py and main.py, the friendly prompt, raw mode and raw paste.

The protocol of the raw modes is the one of `pyexec.c`; MicroPython documents it in
"The MicroPython Interactive Interpreter Mode (aka REPL)".
"""

import _facts
import _native
import os
import sys
from _readline import Readline, is_open
from _rpc import call

_A, _B, _C, _D, _E = "\x01", "\x02", "\x03", "\x04", "\x05"
_WINDOW = 128  # bytes that the tool may send ahead in raw paste mode
_TWICE = (0, 0)

_write = _native.sys.stdout.write
_in = _native.sys.stdin.buffer
_main = {}
forced_exit = False  # set by machine.soft_reset() before its SystemExit


class _SoftReset(Exception):
    pass


def _char():
    """Return the next character of the port (a byte)."""
    byte = _in.read(1)
    if not byte:
        _native.sys.exit()  # the host has closed the line: the board lost its power
    return byte


def _calm():
    """Stop Ctrl-C from interrupting; return the interruption that was still on its way."""
    late = None
    while True:
        try:
            call("kbd", -1)
            for _ in _TWICE:  # a jump, where a pending interruption comes out
                pass
            return late
        except KeyboardInterrupt as error:
            late = error


def _execute(source, name, mode, eof):
    """Compile and run; print what goes wrong, with the marks of raw mode if `eof`."""
    global forced_exit
    forced_exit = False
    error = None
    try:
        call("kbd", 3)
        if callable(source):
            source = source()
        exec(compile(source, name, mode), _main)
    except BaseException as caught:
        error = caught
    error = _calm() or error
    source = None
    if eof:
        _write(_D)
    if isinstance(error, SystemExit):
        if forced_exit:
            if eof:
                _write(_D)
            raise _SoftReset
    elif error is not None:
        sys.print_exception(error)
    if eof:
        _write(_D)


def _run_file(name):
    try:
        if os.stat(name)[0] & 0x4000:
            return
        with open(name) as f:
            source = f.read()
    except OSError:
        return
    _execute(source, name, "exec", False)


def main(namespace, raw):
    """Run boot.py, main.py and the REPL; a soft reset ends it by way of the host."""
    global _main
    _main = namespace
    try:
        _run_file("boot.py")
        if not raw:
            _run_file("main.py")
        while True:
            try:
                if raw:
                    call("app.raw", True)
                    _raw()
                else:
                    call("app.raw", False)
                    _friendly()
                raw = not raw
            except KeyboardInterrupt:
                pass  # came between two programs
    except _SoftReset:
        pass
    _write("MPY: soft reboot\n")
    call("app.soft_reset")


# -- raw mode ---------------------------------------------------------------------------------


def _raw():
    """Serve raw mode until Ctrl-B."""
    _write("raw REPL; CTRL-B to exit\n")
    while True:
        _write(">")
        line = bytearray()
        paste = False
        while True:
            c = _char()
            if c == b"\x01":
                if line == b"\x05A":
                    paste = True
                    break
                line = bytearray()
                _write("raw REPL; CTRL-B to exit\n>")
            elif c == b"\x02":
                _write("\n")
                return
            elif c == b"\x03":
                line = bytearray()
            elif c == b"\x04":
                break
            elif c == b"\x05" and not line:
                line += c
                follow = _char()
                if follow == b"A":
                    line += follow
                else:
                    # A mode that this firmware does not know.
                    _write("R\x00>")
                    line = bytearray()
            else:
                line += c
        if paste:
            _raw_paste()
            continue
        _write("OK")
        if not line:
            _write("\n")
            raise _SoftReset
        _execute(bytes(line), "<stdin>", "exec", True)


def _raw_paste():
    _write(b"R\x01%c\x00\x01" % _WINDOW)
    _execute(_pasted, "<stdin>", "exec", True)


def _pasted():
    """Take the source that a tool pastes; the interrupt character is part of the protocol."""
    call("kbd", -1)
    source = bytearray()
    left = _WINDOW
    while True:
        c = _char()
        if c == b"\x03" or c == b"\x04":
            _write(_D)
            if c == b"\x03":
                raise KeyboardInterrupt
            break
        source += c
        left -= 1
        if left == 0:
            _write("\x01")
            left = _WINDOW
    call("kbd", 3)
    return bytes(source)


# -- friendly mode ----------------------------------------------------------------------------


def _banner():
    _write(
        "MicroPython %s on %s; %s\n" % (_facts.version, _facts.built, _facts.machine)
        + 'Type "help()" for more information.\n'
    )


def _friendly():
    """Serve the prompt until Ctrl-A."""
    reader = Readline(_char, _write, _main)
    _banner()
    while True:
        end, line = reader.read(sys.ps1)
        if end == _A:
            _write("\n")
            return
        if end == _B:
            _write("\n")
            _banner()
        elif end == _C:
            _write("\n")
        elif end == _D:
            _write("\n")
            raise _SoftReset
        elif end == _E:
            source = _paste()
            if source is not None:
                _execute(source, "<stdin>", "exec", False)
        elif line:
            while is_open(line):
                end, more = reader.read(sys.ps2, line)
                if end == _C:
                    line = None
                    _write("\n")
                    break
                if end == _D:
                    _write("\n")
                    break
                line = line + "\n" + more
            if line:
                _execute(line, "<stdin>", "single", False)


def _paste():
    """Take lines as they are; return the source, or None when it was cancelled."""
    _write("\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\n=== ")
    source = bytearray()
    while True:
        c = _char()
        if c == b"\x03":
            _write("\n")
            return None
        if c == b"\x04":
            _write("\n")
            return bytes(source)
        if c == b"\r":
            source += b"\n"
            _write("\n=== ")
        else:
            source += c
            _write(c)


def input(prompt=""):
    """Return a line that is typed at the port."""
    call("kbd", -1)
    try:
        end, line = Readline(_char, _write, None).read(prompt)
    finally:
        call("kbd", 3)
    if end == _C:
        raise KeyboardInterrupt
    if end == _D and not line:
        raise EOFError
    return line

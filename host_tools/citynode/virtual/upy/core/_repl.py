"""The port's REPL: boot.py and main.py, the friendly prompt, raw mode and raw paste.

The protocol of the raw modes is the one of `pyexec.c`; MicroPython documents it in
"The MicroPython Interactive Interpreter Mode (aka REPL)".
"""

import _ctrlc
import _facts
import _heap
import _native
import os
import sys
from _readline import Readline, is_open
from _rpc import call
from _source import Source

_A, _B, _C, _D, _E = "\x01", "\x02", "\x03", "\x04", "\x05"
_WINDOW = 128  # bytes that the tool may send ahead in raw paste mode
_EXIT_RESETS = (1, 24)  # the release from which on SystemExit is a soft reset
_TWICE = (0, 0)

_write = _native.sys.stdout.write
_in = _native.stdin
_main = {}
builtin_modules = ()  # the names that Tab offers after "import"


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
    """Compile and run; print what goes wrong, with the marks of raw mode if `eof`.

    Return whether nothing went wrong.
    """
    _facts.soft_reset = False
    error = None
    try:
        if callable(source):
            source = source()
        if isinstance(source, Source):
            source = source.compile(name, mode)
        else:
            source = compile(source, name, mode)
        call("kbd", 3)
        exec(source, _main)
    except BaseException as caught:
        error = caught
    _heap.release()  # a program that has left it locked could not be told so
    _ctrlc.let_go(None)  # an error may have come out of the file system's calls
    error = _calm() or error
    source = None
    if eof:
        _write(_D)
    if isinstance(error, SystemExit):
        if _facts.soft_reset or _facts.release >= _EXIT_RESETS:
            if eof:
                _write(_D)
            raise _SoftReset
    elif error is not None:
        sys.print_exception(error)
    if eof:
        _write(_D)
    return error is None


def _run_file(name):
    """Run a file if it is there; return whether nothing went wrong."""
    try:
        if os.stat(name)[0] & 0x4000:
            return True
        with open(name) as f:
            source = f.read()
    except OSError:
        return True
    return _execute(source, name, "exec", False)


def main(namespace, raw):
    """Run boot.py, main.py and the REPL; a soft reset ends it by way of the host."""
    global _main, _reader
    _main = namespace
    _reader = Readline(_char, _write, _main, lambda: builtin_modules)
    try:
        # main.py may stand on what boot.py has set up: without the one not the other.
        if _run_file("boot.py") and not raw:
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
        line = Source()
        while True:
            c = _char()[0]
            if c == 1 and len(line) == 2 and line[0] == 5:
                if line[1] == 65:
                    _write(b"R\x01%c\x00\x01" % _WINDOW)
                    _execute(_pasted, "<stdin>", "exec", True)
                else:
                    _write(b"R\x00")  # a mode that this firmware does not know
                break
            if c == 1:
                line.clear()
                _write("raw REPL; CTRL-B to exit\n>")
            elif c == 2:
                line.free()
                _write("\n")
                return
            elif c == 3:
                line.clear()
            elif c == 4:
                _write("OK")
                if not line:
                    _write("\n")
                    raise _SoftReset
                _execute(line, "<stdin>", "exec", True)
                break
            else:
                line.append(c)
        line.free()


def _pasted():
    """Take the source that a tool pastes; the interrupt character is part of the protocol."""
    source = Source()
    left = _WINDOW
    while True:
        c = _char()[0]
        if c == 3 or c == 4:
            _write(_D)
            if c == 3:
                source.free()
                raise KeyboardInterrupt
            return source
        source.append(c)
        left -= 1
        if left == 0:
            _write("\x01")
            left = _WINDOW


# -- friendly mode ----------------------------------------------------------------------------


def _banner():
    _write(
        "MicroPython %s on %s; %s\n" % (_facts.version, _facts.built, _facts.machine)
        + 'Type "help()" for more information.\n'
    )


def _friendly():
    """Serve the prompt until Ctrl-A."""
    _banner()
    while True:
        end, line = _reader.read(sys.ps1)
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
                end, more = _reader.read(sys.ps2, line)
                if end == _C:
                    line = None
                    _write("\n")
                    break
                if end == _D:
                    break
                line = line + "\n" + more
            if line:
                _execute(line, "<stdin>", "single", False)


def _paste():
    """Take lines as they are; return the source, or None when it was cancelled."""
    _write("\npaste mode; Ctrl-C to cancel, Ctrl-D to finish\n=== ")
    source = Source()
    while True:
        c = _char()
        if c == b"\x03":
            _write("\n")
            source.free()
            return None
        if c == b"\x04":
            _write("\n")
            return source
        if c == b"\r":
            source.append(10)
            _write("\n=== ")
        else:
            source.append(c[0])
            _write(c)


def input(prompt=""):
    """Return a line that is typed at the port."""
    call("kbd", -1)
    try:
        end, line = _reader.read(prompt)
    finally:
        call("kbd", 3)
    if end == _C:
        raise KeyboardInterrupt
    if end == _D and not line:
        raise EOFError
    return line

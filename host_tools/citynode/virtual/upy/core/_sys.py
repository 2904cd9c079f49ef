"""`sys` as the ESP32 has it."""

import _facts
import _native
import io
from _rpc import call
from collections import namedtuple

_sys = _native.sys
# Frames of the modules that stand in for C code are not shown: on a board there are none.
_OWN = 'File "/.vb/'


def _part(data, span):
    """Return what `write(data[, start], length)` means."""
    if len(span) == 2:
        return memoryview(data)[span[0] : span[0] + span[1]]
    return memoryview(data)[: span[0]] if span else data


class _RawOut(io.IOBase):
    def write(self, data, *span):
        data = bytes(_part(data, span))
        call("stdout.raw", data)
        return len(data)

    def ioctl(self, request, argument):
        return 1 if request == 10 else (argument & 4 if request == 3 else 0)


class _Out(io.IOBase):
    def __init__(self):
        self.buffer = _RawOut()

    def write(self, data, *span):
        return _sys.stdout.write(_part(data, span) if span else data)

    def flush(self):
        pass

    def ioctl(self, request, argument):
        return 1 if request == 10 else (argument & 4 if request == 3 else 0)


class _In(io.IOBase):
    """Text input: a terminal sends CR at the end of a line, the program reads LF."""

    def __init__(self):
        self.buffer = _sys.stdin.buffer

    def readinto(self, buf):
        n = self.buffer.readinto(buf)
        for i in range(n or 0):
            if buf[i] == 13:
                buf[i] = 10
        return n

    def read(self, n=-1):
        data = bytearray()
        one = bytearray(1)
        while n < 0 or len(data) < n:
            if not self.readinto(one):
                break
            if n < 0 and one[0] == 4:  # Ctrl-D ends what has no other end
                break
            data += one
        return data.decode()

    def readline(self, limit=-1):
        line = ""
        while limit < 0 or len(line) < limit:
            c = self.read(1)
            line += c
            if c in ("", "\n"):
                break
        return line

    def ioctl(self, request, argument):
        if request == 10:  # the file descriptor, for select.poll
            return 0
        return -1


class _Sys:
    byteorder = "little"
    maxsize = 0x7FFFFFFF
    platform = "esp32"
    ps1 = ">>> "
    ps2 = "... "

    def __init__(self):
        self.argv = []
        self.modules = _sys.modules
        self.path = _sys.path
        release = _facts.version.split("-")[0]
        if release[:1] == "v":
            release = release[1:]
        numbers = [int(n) if n.isdigit() else 0 for n in release.split(".")][:3]
        while len(numbers) < 3:
            numbers.append(0)
        suffix = "preview" if "-" in _facts.version else ""
        fields = namedtuple("", ("name", "version", "_machine", "_mpy"))
        self.implementation = fields(
            "micropython", tuple(numbers + [suffix]), _facts.machine, _facts.mpy
        )
        self.version = "3.4.0; MicroPython %s on %s" % (_facts.version, _facts.built)
        self.version_info = (3, 4, 0)
        self.stdin = _In()
        self.stdout = self.stderr = _Out()

    def exit(self, value=None):
        if value is None:
            raise SystemExit
        raise SystemExit(value)

    def print_exception(self, error, file=None):
        text = io.StringIO()
        _sys.print_exception(error, text)
        lines = text.getvalue().split("\n")
        (file or self.stdout).write("\n".join([line for line in lines if _OWN not in line]))


def make():
    return _Sys()

"""`sys` as the ESP32 has it; `_facade` shows what is public here."""

import _facts
import _native
import io as _io
from _rpc import call as _call
from collections import namedtuple as _namedtuple

_sys = _native.sys
# Frames of the modules that stand in for C code are not shown: on a board there are none.
_OWN = 'File "/.vb/'
_EPERM = 1
_POLL, _FILENO = 3, 10


def _span(data, span):
    """Return what `write(data[, start], length)` means; text is its UTF-8."""
    if isinstance(data, str):
        data = data.encode()
    if len(span) == 2:
        return memoryview(data)[span[0] : span[0] + span[1]]
    return memoryview(data)[: span[0]] if span else data


class _Stdio(_io.IOBase):
    """What both views of the port have in common; `_fd` is 0 for input, 1 and 2 for output."""

    def __init__(self, fd):
        self._fd = fd

    def __repr__(self):
        return "<io.%s %d>" % (type(self).__name__, self._fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def close(self):
        return self

    def ioctl(self, request, argument):
        if request == _FILENO:
            return 1 if self._fd else 0
        if request == _POLL:
            return argument & (5 if self._fd == 0 and _native.input_ready() else 4)
        return 0

    def readinto(self, buf, size=-1):
        if self._fd:
            raise OSError(_EPERM)
        view = memoryview(buf)
        return self._fill(view if size < 0 else view[:size])

    def _take(self, size, ends):
        """Return `size` bytes; less than none means up to one of `ends`, which is not returned."""
        if self._fd:
            raise OSError(_EPERM)
        if size >= 0:
            data = bytearray(size)
            self._fill(memoryview(data))
            return data
        data = bytearray()
        one = bytearray(1)
        while self._fill(one) and one[0] not in ends:
            data += one
        return data

    def _line(self, limit):
        if self._fd:
            raise OSError(_EPERM)
        line = bytearray()
        one = bytearray(1)
        while limit < 0 or len(line) < limit:
            if not self._fill(one):
                break
            line += one
            if one[0] == 10:
                break
        return line

    def readlines(self):
        return list(self)


class FileIO(_Stdio):
    """The port as bytes."""

    _fill = staticmethod(_native.stdin.readinto)

    def read(self, size=-1):
        return bytes(self._take(size, b""))

    def readline(self, limit=-1):
        return bytes(self._line(limit))

    def write(self, data, *span):
        data = bytes(_span(data, span))
        _call("stdout.raw", data)
        return len(data)


class TextIOWrapper(_Stdio):
    """The port as text: a terminal sends CR at the end of a line, the program reads LF."""

    def __init__(self, fd, buffer):
        super().__init__(fd)
        self.buffer = buffer

    def _fill(self, view):
        n = _native.stdin.readinto(view)
        for i in range(n or 0):
            if view[i] == 13:
                view[i] = 10
        return n

    def read(self, size=-1):
        if size < 0:
            return self._take(-1, b"\x04").decode()
        data = bytearray()
        for _ in range(size):
            data += self._take(1, b"")
            # The rest of a character of several bytes.
            if data[-1] >= 0xC0:
                data += self._take(1 + (data[-1] >= 0xE0) + (data[-1] >= 0xF0), b"")
        return data.decode()

    def readline(self, limit=-1):
        return self._line(limit).decode()

    def write(self, data, *span):
        if self._fd == 0:
            raise OSError(_EPERM)
        return _native.write(_span(data, span) if span else data)


def exit(value=None):
    raise SystemExit if value is None else SystemExit(value)


def print_exception(error, file=None):
    if file is not None and not hasattr(file, "write"):
        raise OSError("stream operation not supported")
    text = _io.StringIO()
    _sys.print_exception(error, text)
    lines = [line for line in text.getvalue().split("\n") if _OWN not in line]
    if len(lines) > 1 and lines[0].startswith("Traceback") and not lines[1].startswith("  "):
        del lines[0]  # it came out of C code alone
    (file or stdout).write("\n".join(lines))


argv = []
byteorder = "little"
maxsize = 0x7FFFFFFF
modules = _sys.modules
path = _sys.path
platform = "esp32"
ps1 = ">>> "
ps2 = "... "
_buffer = FileIO(0)
stdin = TextIOWrapper(0, _buffer)
stdout = TextIOWrapper(1, _buffer)
stderr = TextIOWrapper(2, _buffer)
version = "3.4.0; MicroPython %s on %s" % (_facts.version, _facts.built)
version_info = (3, 4, 0)
_fields = [
    ("name", "micropython"),
    ("version", _facts.release + ("preview" if "preview" in _facts.version else "",)),
    ("_machine", _facts.machine),
    ("_mpy", _facts.mpy),
    ("_build", _facts.build),
]
if _facts.release < (1, 25):
    del _fields[4]
implementation = _namedtuple("", [name for name, _ in _fields])(*[value for _, value in _fields])
del FileIO, TextIOWrapper

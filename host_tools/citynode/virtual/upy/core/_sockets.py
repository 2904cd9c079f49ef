"""`socket` of the ESP32 port in virtual time; what it does is `virtual/soc/peripherals/sockets.py`.

What `poll` would find of each socket is kept here until the host says that it is no longer true.
"""

import _gc
import _native
import _virtual
import ffi as _ffi
import io as _io
from _inet import _info, _is_ip
from _inet import *
from _rpc import call as _call

_KNOWN_OPTIONS = (SO_REUSEADDR, SO_BROADCAST, SO_BINDTODEVICE, TCP_NODELAY, 20)
_POLL, _CLOSE, _FILENO = 3, 4, 10
_READ, _WRITE = 1, 4
_INVALID = 32  # POLLNVAL
_EBADF, _EAGAIN, _EINVAL = 9, 11, 22
_ETIMEDOUT, _EINPROGRESS = 116, 119
_EAI_FAIL = -202
_ROUND_NS = 100_000_000  # the port waits in rounds of so long (SOCKET_POLL_US)
_WHOLE_BLOCK = 512
_MOST = 5760  # bytes that the host has room for: more need not be copied

_events = {}  # by descriptor
_marks = {}  # by descriptor, that of the machine's file which goes with the object
_F_GETFD = 1
_libc = _ffi.open(None)
_fcntl = _libc.func("i", "fcntl", "ii")
_dup = _libc.func("i", "dup", "i")
_open = open


def _lookup(address):
    """Return (ip, port) of an address tuple, asking for a name if it has one."""
    host, port = address
    port = int(port)
    if not host:
        return "0.0.0.0", port
    if _is_ip(host):
        return host, port
    takes_ns, ip = _call("net.lookup", host, port)
    if takes_ns:
        _virtual.sleep_ns(takes_ns)
    if ip is None:
        raise OSError(_EAI_FAIL)
    return ip, port


def getaddrinfo(host, port, af=AF_INET, type=SOCK_STREAM, proto=0, flags=0):
    ip, port = _lookup((host, port))
    return _info(host, ip, port, type, proto)


def _sweep():
    """Close sockets whose objects were collected, as the port's are by their finalisers.

    Objects of Python have none: each holds a file of the machine, whose descriptor goes.
    """
    for fd, mark in list(_marks.items()):
        if _fcntl(mark, _F_GETFD) < 0:
            del _marks[fd]
            _events.pop(fd, None)
            _call("socket.close", fd)


def _collect():
    _native.gc.collect()
    if _marks:
        _sweep()


_gc.collect = _collect


def _refresh():
    """Ask what has changed."""
    _virtual.sockets_changed = False
    for fd, events in _call("socket.events"):
        _events[fd] = events


class socket(_io.IOBase):
    """A socket; raises what lwIP raises."""

    def __init__(self, af=AF_INET, type=SOCK_STREAM, proto=0):
        _sweep()
        self._start(_call("socket.open", type), type)

    def _start(self, opened, type):
        self._mark = _open(_dup(0), "rb")
        fd, events = opened
        _events[fd] = events
        self._fd, _marks[fd] = fd, self._mark.fileno()
        self._type = type
        self._rounds = None  # of waiting; None: no end

    def __repr__(self):
        return "<socket>"

    # -- life -----------------------------------------------------------------------------------

    def close(self):
        fd, self._fd = self._fd, -1
        if fd >= 0:
            del _events[fd], _marks[fd]
            self._mark.close()
            _call("socket.close", fd)
            _virtual.sockets_changed = True  # who polls it shall see

    def fileno(self):
        return self._fd

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def settimeout(self, seconds):
        # A timeout below a round is one that waits a round, and then has nothing (EAGAIN).
        self._rounds = None if seconds is None else int(seconds * 1000) * 1000000 // _ROUND_NS
        self._blocks = seconds is None or int(seconds * 1000) > 0

    _blocks = True

    def setblocking(self, flag):
        self._rounds = None if flag else 0
        self._blocks = bool(flag)

    def setsockopt(self, level, option, value):
        self._alive()
        if option == IP_ADD_MEMBERSHIP:
            if len(value) != 8:
                raise ValueError
        elif option not in _KNOWN_OPTIONS:
            print("Warning: lwip.setsockopt() option not implemented")

    def makefile(self, *_):
        return self

    def _alive(self):
        if self._fd < 0:
            raise OSError(_EBADF)
        return self._fd

    def _wait(self, name, *args):
        """Make a call as often as it has to be made for an answer, or for as long as it may wait."""
        fd = self._alive()
        end = -1
        while True:
            try:
                return _call(name, fd, *args)
            except OSError as error:
                if error.errno != _EAGAIN or not self._blocks:
                    raise
            if self._rounds is not None:
                now = _virtual.now_ns()
                if end < 0:
                    end = now + (self._rounds + 1) * _ROUND_NS
                if now >= end:
                    raise OSError(_ETIMEDOUT if self._rounds else _EAGAIN)
            _virtual.await_news(end)

    # -- addresses ------------------------------------------------------------------------------

    def connect(self, address):
        self._alive()
        ip, port = _lookup(address)
        _call("socket.connect", self._fd, ip, port)
        if self._type != SOCK_STREAM:
            return
        if not self._blocks:
            raise OSError(_EINPROGRESS)
        self._wait("socket.connected")

    def bind(self, address):
        ip, port = _lookup(address)
        _call("socket.bind", self._alive(), ip, port)

    def listen(self, backlog=2):
        _call("socket.listen", self._alive(), backlog)

    def accept(self):
        opened, ip, port = self._wait("socket.accept")
        _events[self._fd] &= ~_READ
        new = object.__new__(socket)
        new._start(opened, self._type)
        return new, (ip, port)

    # -- data -----------------------------------------------------------------------------------

    def sendto(self, data, address):
        ip, port = _lookup(address)
        return _call("socket.sendto", self._alive(), _bytes(data), ip, port)

    def recvfrom(self, size):
        data, ip, port = self._wait("socket.recvfrom", size)
        self._taken()
        return data, (ip, port)

    def recv(self, size):
        data = self._wait("socket.recv", size)
        self._taken()
        return data

    def _taken(self):
        # As the host takes it; what is left it says with the answer.
        if self._fd in _events:
            _events[self._fd] &= ~_READ

    def send(self, data):
        data = memoryview(_bytes(data))
        if not self._blocks:
            return _call("socket.send", self._alive(), data[:_MOST])
        sent = 0
        while sent < len(data):
            try:
                sent += self._wait("socket.send", data[sent : sent + _MOST])
            except OSError as error:
                if sent and error.errno in (_EAGAIN, _ETIMEDOUT):
                    break
                raise
        return sent

    def sendall(self, data):
        data = _bytes(data)
        if self.send(data) < len(data):
            raise OSError(_ETIMEDOUT)

    # -- as a stream ----------------------------------------------------------------------------

    def readinto(self, buf, size=-1):
        view = memoryview(buf)
        if 0 <= size < len(view):
            view = view[:size]
        try:
            data = self.recv(len(view))
        except OSError as error:
            if error.errno == _EAGAIN:
                return None
            raise
        view[: len(data)] = data
        return len(data)

    def read(self, size=-1):
        whole = b""
        while size < 0 or len(whole) < size:
            try:
                data = self.recv(_WHOLE_BLOCK if size < 0 else size - len(whole))
            except OSError as error:
                if error.errno == _EAGAIN:
                    return whole or None
                raise
            if not data:
                break
            whole += data
            if not (self._blocks or _virtual.sockets_changed or _events[self._fd] & _READ):
                break  # asking for more would tell the same
        return whole

    def readline(self, size=-1):
        whole = b""
        while size < 0 or len(whole) < size:
            left = _WHOLE_BLOCK if size < 0 else size - len(whole)
            try:
                data = self._wait("socket.recv", left, True)
            except OSError as error:
                if error.errno == _EAGAIN:
                    return whole or None
                raise
            self._taken()
            whole += data
            if not data or data[-1] == 10:
                break
        return whole

    def write(self, data, *span):
        if span:
            start, count = span if len(span) > 1 else (0, span[0])
            data = memoryview(data)[start : start + count]
        try:
            return self.send(data)
        except OSError as error:
            if error.errno == _EAGAIN:
                return None
            raise

    def ioctl(self, request, argument):
        if request == _CLOSE:
            self.close()
            return 0
        if request == _POLL:
            if self._fd < 0:
                return _INVALID
            if _virtual.sockets_changed:
                _refresh()
            return _events[self._fd] & argument
        if request == _FILENO and self._fd >= 0:
            return self._fd
        return -_EINVAL


def _bytes(data):
    return data.encode() if isinstance(data, str) else data

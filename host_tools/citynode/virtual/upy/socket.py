"""`socket` of the ESP32 port: the machine's sockets, with the board's names, routes and errors."""

import io as _io

import _lwip
from _inet import _info, _is_ip
from _inet import *
from _native import select as _select
from _native import socket as _socket
from _rpc import call as _call

# Those that change nothing on the machine's loopback; 20 is what webrepl hears of data by.
_KNOWN_OPTIONS = (SO_BROADCAST, SO_BINDTODEVICE, TCP_NODELAY, 20)
_POLL = 3
_CLOSE = 4
_FILENO = 10
_EINVAL = 22
_ENOTCONN = 128
# For ever: a wait without a timeout is not interrupted where there are threads (`_irq`).
_FOREVER_S = 1_000_000
_LOOPBACK = "127.0.0.1"


def _lookup(address):
    """Return (ip, port) of an address tuple, asking for a name if it has one."""
    host, port = address
    if not host:
        return "0.0.0.0", int(port)
    return (host if _is_ip(host) else _call("net.resolve", host, int(port))), int(port)


def getaddrinfo(host, port, af=AF_INET, type=SOCK_STREAM, proto=0, flags=0):
    ip, port = _lookup((host, port))
    return _info(host, ip, port, type, proto)


def _native(ip, port):
    return _socket.getaddrinfo(ip, port)[0][-1]


def _tuple(sockaddr):
    _, ip, port = _socket.sockaddr(sockaddr)[:3]
    return "%d.%d.%d.%d" % tuple(ip), port


class socket(_io.IOBase):
    """A socket; raises what lwIP raises, and EHOSTUNREACH where no link leads."""

    def __init__(self, af=AF_INET, type=SOCK_STREAM, proto=0):
        self._open(_socket.socket(_socket.AF_INET, type, 0), type)

    def _open(self, sock, type):
        self._sock = sock
        sock.settimeout(_FOREVER_S)
        self._fd = sock.fileno()
        self._type = type
        self._timed = False
        self._age = _lwip.age
        self._linked = False  # whether it dies with the link
        self._peers = {}  # the machine's addresses of those that were sent to

    def __repr__(self):
        return "<socket>"

    # -- life -----------------------------------------------------------------------------------

    def close(self):
        sock, self._sock = self._sock, None
        if sock is not None:
            _lwip.open_fds.discard(self._fd)
            sock.close()

    def fileno(self):
        return self._fd

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def settimeout(self, seconds):
        self._alive().settimeout(_FOREVER_S if seconds is None else seconds)
        self._timed = bool(seconds)

    def setblocking(self, flag):
        self._alive().settimeout(_FOREVER_S if flag else 0)
        self._timed = False

    def setsockopt(self, level, option, value):
        sock = self._alive()
        if option == SO_REUSEADDR:
            sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, int(value))
        elif option == IP_ADD_MEMBERSHIP:
            if len(value) != 8:
                raise ValueError
        elif option not in _KNOWN_OPTIONS:
            print("Warning: lwip.setsockopt() option not implemented")

    def makefile(self, *_):
        return self

    def _alive(self):
        if self._sock is None:
            raise OSError(9)  # EBADF
        if self._linked and self._age != _lwip.age:
            raise OSError(_lwip.ECONNABORTED)
        return self._sock

    def _failed(self, error):
        """Return the error to raise for one of the machine's."""
        if self._linked and self._age != _lwip.age:
            return OSError(_lwip.ECONNABORTED)
        error = _lwip.translated(error)
        # A wait that came to its end; lwIP's own word for it.
        if error.errno == _lwip.EAGAIN and self._timed:
            return OSError(_lwip.ETIMEDOUT)
        return error

    # -- addresses ------------------------------------------------------------------------------

    def connect(self, address):
        sock = self._alive()
        there = _lwip.route(_lookup(address))
        self._age = _lwip.age
        self._linked = self._type == SOCK_STREAM
        if self._linked:
            _lwip.open_fds.add(self._fd)
        try:
            sock.connect(_native(*there))
        except OSError as error:
            raise self._failed(error)

    def bind(self, address):
        _, port = _lookup(address)
        try:
            # The port itself may be another board's, or not for everyone on this machine.
            self._alive().bind(_native(_LOOPBACK, 0))
        except OSError as error:
            raise self._failed(error)
        self._port = port

    def listen(self, backlog=2):
        try:
            self._alive().listen(backlog)
        except OSError as error:
            raise self._failed(error)
        _call("net.bound", self._port, _local_port(self._fd))

    def accept(self):
        try:
            sock, peer = self._alive().accept()
        except OSError as error:
            raise self._failed(error)
        new = object.__new__(socket)
        new._open(sock, self._type)
        new._linked = True
        _lwip.open_fds.add(new._fd)
        return new, _tuple(peer)

    # -- data -----------------------------------------------------------------------------------

    def sendto(self, data, address):
        address = _lookup(address)
        known = self._peers.get(address)
        if known is None or known[1] != _lwip.age:
            known = self._peers[address] = _lwip.route(address), _lwip.age
        try:
            return self._alive().sendto(data, _native(*known[0]))
        except OSError as error:
            raise self._failed(error)

    def recvfrom(self, size):
        try:
            data, peer = self._alive().recvfrom(size)
        except OSError as error:
            raise self._failed(error)
        if self._type == SOCK_STREAM:
            return data, ("0.0.0.0", 0)
        peer = _tuple(peer)
        for address, (there, _) in self._peers.items():
            if there == peer:
                return data, address
        return data, peer

    def recv(self, size):
        try:
            return self._alive().recv(size)
        except OSError as error:
            raise self._failed(error)

    def send(self, data):
        try:
            return self._alive().send(data)
        except OSError as error:
            raise self._failed(error)

    def sendall(self, data):
        view = memoryview(data.encode() if isinstance(data, str) else data)
        while len(view):
            view = view[self.send(view) :]

    def readinto(self, buf, size=-1):
        if size >= 0:
            buf = memoryview(buf)[:size]
        try:
            return self._alive().readinto(buf)
        except OSError as error:
            raise self._failed(error)

    def read(self, size=-1):
        try:
            return self._alive().read(size) if size >= 0 else self._alive().read()
        except OSError as error:
            raise self._failed(error)

    def readline(self, size=-1):
        try:
            return self._alive().readline(size) if size >= 0 else self._alive().readline()
        except OSError as error:
            raise self._failed(error)

    def write(self, data, *span):
        try:
            return self._alive().write(data, *span)
        except OSError as error:
            raise self._failed(error)

    def ioctl(self, request, argument):
        if request == _CLOSE:
            self.close()
            return 0
        if self._sock is None:
            return -_EINVAL
        if request == _FILENO:
            return self._fd
        if request == _POLL:
            poller = _select.poll()
            poller.register(self._sock, argument)
            ready = poller.poll(0)
            return ready[0][1] if ready else 0
        return -_EINVAL


_getsockname = _lwip._libc.func("i", "getsockname", "iPP")


def _local_port(fd):
    address = bytearray(16)
    _getsockname(fd, address, bytearray(b"\x10\0\0\0"))
    return address[2] << 8 | address[3]

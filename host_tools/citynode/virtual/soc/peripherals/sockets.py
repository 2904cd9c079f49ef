"""The sockets of a board in virtual time: lwIP's as the program sees them, on the inner network.

The program keeps what was told of each socket (bits of `poll`) and asks again when it hears that
something has changed; so a socket that is waited for costs no calls.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from citynode.virtual.soc.peripherals.pins import Host as Program
from citynode.virtual.soc.peripherals.wlan import Wlan
from citynode.virtual.soc.rpc import Value
from citynode.virtual.world.innernet import Host, InnerNetwork
from citynode.virtual.world.tcp import ECONNABORTED, ENOTCONN, LWIP, MSS, End

# Numbers of the ESP32's C library and of lwIP.
_EBADF, _EAGAIN, _EINVAL, _ENFILE = 9, 11, 22, 23
_EOPNOTSUPP, _EADDRINUSE = 95, 112
_EHOSTUNREACH, _EALREADY, _EISCONN = 118, 120, 127
_EAI_FAIL = -202

_READ, _WRITE, _HUP = 1, 4, 16
_STREAM, _DATAGRAM = 1, 2
_FIRST_FD, _MAX_SOCKETS = 54, 10  # FD_SETSIZE less CONFIG_LWIP_MAX_SOCKETS, and that
_LOW_WATER = 2 * MSS + 1  # TCP_SNDLOWAT: with more room than this a socket can be written to
_MAILBOX = 6  # CONFIG_LWIP_UDP_RECVMBOX_SIZE: datagrams beyond are lost
_ANY = "0.0.0.0"


@dataclass(slots=True)
class _Tcp:
    end: End | None = None
    port: int | None = None
    failed: bool = False  # the error of its end was told
    backlog: int = 0  # of one that listens
    pending: deque[End] = field(default_factory=deque)
    listens: bool = False
    told: int = _WRITE | _HUP  # what the program knows
    seen: int = _WRITE | _HUP  # what it was woken for, or was not there any more

    def events(self) -> int:
        """Return the bits of `poll` that are set."""
        if self.listens:
            return _READ if self.pending else 0
        end = self.end
        if end is None or end.error is not None:
            # One that was never connected can be written to, and has hung up.
            return _WRITE | _HUP | (_READ if end is not None else 0)
        readable = bool(end.waiting) or end.eof
        return (_READ if readable else 0) | (_WRITE if end.room > _LOW_WATER else 0)


@dataclass(slots=True)
class _Udp:
    port: int | None = None
    peer: tuple[str, int] | None = None
    inbox: deque[tuple[bytes, str, int]] = field(default_factory=deque)
    told: int = _WRITE
    seen: int = _WRITE

    def events(self) -> int:
        """Return the bits of `poll` that are set."""
        return _WRITE | (_READ if self.inbox else 0)


class Sockets:
    """The sockets of one board; `on_change(wake)` hears that the program is to look at them."""

    def __init__(self, network: InnerNetwork, wlan: Wlan, name: str) -> None:
        self.on_change: Callable[[bool], object] = lambda wake: None
        self._network = network
        self._wlan = wlan
        self._host = network.join(
            Host(name, wlan.ip, LWIP, reachable=lambda: wlan.hears, station=True)
        )
        wlan.on_status = lambda: self.on_change(False)
        self._sockets: dict[int, _Tcp | _Udp] = {}
        self._changed: set[int] = set()

    def interrupt(self) -> int | None:
        """Return how soon (ns) what another board does may concern the program; None: never."""
        return self._network.latency_ns[0] if self._sockets else None

    def attach(self, app: Program) -> None:
        """Answer the calls of `socket`."""
        app.at_soft_reset(self.close_all)
        for name, handler in (
            ("socket.open", self._open),
            ("socket.close", self._close),
            ("socket.connect", self._connect),
            ("socket.connected", self._connected),
            ("socket.bind", self._bind),
            ("socket.listen", self._listen),
            ("socket.accept", self._accept),
            ("socket.send", self._send),
            ("socket.sendto", self._send_to),
            ("socket.recv", self._receive),
            ("socket.recvfrom", self._receive_from),
            ("socket.events", self._events),
        ):
            app.expose(name, handler)

    def lookup(self, name: str, port: int) -> Value:
        """Return how long it takes to ask for a name (ns), and its address or None."""
        return self._network.lookup(self._host, name, port)

    def link(self, up: bool) -> None:
        """Hear that the station has an address, or that it has none any more."""
        self._network.note(self._host.name, "link", f"up {self._host.address}" if up else "down")
        if up:
            return
        # lwIP aborts the connections of an address that is gone.
        for each in self._sockets.values():
            if isinstance(each, _Tcp):
                for end in (each.end, *each.pending):
                    if end is not None:
                        end.fail(ECONNABORTED)
                each.pending.clear()

    def reset(self) -> None:
        """Forget all, as a chip does that is reset: nobody is told."""
        for each in self._sockets.values():
            if isinstance(each, _Tcp):
                for end in (each.end, *each.pending):
                    if end is not None:
                        end.vanish()
        self._clear()

    def close_all(self) -> None:
        """Close what the program has left open, as a soft reset does."""
        for fd in list(self._sockets):
            self._close(fd)
        self._clear()

    def _clear(self) -> None:
        self._sockets.clear()
        self._changed.clear()
        self._host.listeners.clear()
        self._host.datagrams.clear()

    # -- what the program is told ---------------------------------------------------------------

    def _look(self, fd: int) -> None:
        """Tell the program if a socket's bits are not what it knows."""
        each = self._sockets.get(fd)
        if each is None:
            return
        events = each.events()
        fresh = events & ~each.seen
        each.seen = events
        if events != each.told or fresh:
            self._changed.add(fd)
            self.on_change(bool(fresh))

    def _events(self) -> Value:
        """Return (descriptor, bits) of those that have changed."""
        changed, self._changed = sorted(self._changed), set()
        found: list[Value] = []
        for fd in changed:
            each = self._sockets.get(fd)
            if each is not None:
                each.told = each.events()
                found.append((fd, each.told))
        return found

    # -- calls of the program -------------------------------------------------------------------

    def _open(self, kind: int) -> Value:
        return self._add(_Udp() if kind == _DATAGRAM else _Tcp())

    def _add(self, new: _Tcp | _Udp) -> Value:
        for fd in range(_FIRST_FD, _FIRST_FD + _MAX_SOCKETS):
            if fd not in self._sockets:
                self._sockets[fd] = new
                new.told = new.seen = new.events()
                return fd, new.told
        raise OSError(_ENFILE, "no socket is free")

    def _close(self, fd: int) -> None:
        each = self._sockets.pop(fd, None)
        self._changed.discard(fd)
        if isinstance(each, _Udp) and each.port is not None:
            self._host.datagrams.pop(each.port, None)
        elif isinstance(each, _Tcp):
            if each.listens and each.port is not None:
                self._host.listeners.pop(each.port, None)
            for end in (each.end, *each.pending):
                if end is not None:
                    end.on_change = lambda: None
                    end.close()

    def _socket(self, fd: int) -> _Tcp | _Udp:
        each = self._sockets.get(fd)
        if each is None:
            raise OSError(_EBADF, "no such socket")
        return each

    def _route(self, ip: str) -> None:
        """Raise EHOSTUNREACH where lwIP has no interface for an address."""
        if not ip.startswith("127.") and not self._wlan.up:
            raise OSError(_EHOSTUNREACH, "no way there")

    def _connect(self, fd: int, ip: str, port: int) -> None:
        each = self._socket(fd)
        if isinstance(each, _Udp):
            self._bound(fd, each)
            each.peer = ip, port
            return
        end = each.end
        if end is not None:
            if end.error is not None:
                raise OSError(ENOTCONN, "it has failed")
            raise OSError(_EISCONN if end.open else _EALREADY, "it is connected")
        self._route(ip)
        each.end = self._network.connect(self._host, ip, port)
        self._adopt(fd, each)

    def _adopt(self, fd: int, each: _Tcp) -> None:
        if each.end is not None:
            each.end.on_change = partial(self._look, fd)
        self._look(fd)

    def _connected(self, fd: int) -> None:
        """Raise EAGAIN while the connection is being made, then what it failed with."""
        each = self._socket(fd)
        if isinstance(each, _Tcp) and not self._end(each).open:
            raise OSError(_EAGAIN, "not yet")

    def _end(self, each: _Tcp, *, reading: bool = False) -> End:
        """Return a socket's connection; raises its error once, then ENOTCONN, as lwIP does.

        What has come before the error can still be read.
        """
        end = each.end
        if end is None or each.failed:
            raise OSError(ENOTCONN, "not connected")
        if end.error is not None and not (reading and end.waiting):
            each.failed = True
            raise OSError(end.error, "it has failed")
        return end

    def _bind(self, fd: int, ip: str, port: int) -> None:
        each = self._socket(fd)
        taken = self._host.datagrams if isinstance(each, _Udp) else self._host.listeners
        if port in taken:
            raise OSError(_EADDRINUSE, "the port is in use")
        if isinstance(each, _Udp):
            self._bound(fd, each, port)
        else:
            each.port = port or self._host.free_port()

    def _bound(self, fd: int, each: _Udp, port: int = 0) -> int:
        """Give a socket for datagrams its port, if it has none."""
        if each.port is None:
            each.port = port or self._host.free_port()
            self._host.datagrams[each.port] = partial(self._arrive, fd, each)
        return each.port

    def _arrive(self, fd: int, each: _Udp, source: Host, port: int, data: bytes) -> None:
        if each.peer is not None and each.peer != (source.address, port):
            return
        if len(each.inbox) < _MAILBOX:
            each.inbox.append((data, source.address, port))
            self._look(fd)

    def _listen(self, fd: int, backlog: int) -> None:
        each = self._socket(fd)
        if isinstance(each, _Udp):
            raise OSError(_EOPNOTSUPP, "it has no connections")
        if each.port is None:
            each.port = self._host.free_port()
        each.listens, each.backlog = True, max(1, backlog)
        self._host.listeners[each.port] = partial(self._incoming, fd, each)
        self._look(fd)

    def _incoming(self, fd: int, each: _Tcp, end: End) -> None:
        if len(each.pending) >= each.backlog:
            end.abort()
            return
        each.pending.append(end)
        self._look(fd)

    def _accept(self, fd: int) -> Value:
        each = self._socket(fd)
        if isinstance(each, _Udp) or not each.listens:
            raise OSError(_EINVAL, "it does not listen")
        if not each.pending:
            raise OSError(_EAGAIN, "nobody has called")
        end = each.pending.popleft()
        new = _Tcp(end)
        taken = self._add(new)
        if isinstance(taken, tuple) and isinstance(taken[0], int):
            self._adopt(taken[0], new)
        each.told &= ~_READ
        self._look(fd)
        peer = end.peer
        return (taken, peer.host.address, peer.port) if peer is not None else (taken, "", 0)

    def _send(self, fd: int, data: bytes) -> int:
        each = self._socket(fd)
        if isinstance(each, _Udp):
            if each.peer is None:
                raise OSError(ENOTCONN, "no peer")
            return self._send_to(fd, data, *each.peer)
        end = self._end(each)
        if not end.open or (data and not end.room):
            raise OSError(_EAGAIN, "no room")
        taken = end.write(data)
        self._look(fd)
        return taken

    def _send_to(self, fd: int, data: bytes, ip: str, port: int) -> int:
        each = self._socket(fd)
        if isinstance(each, _Tcp):
            return self._send(fd, data)
        self._route(ip)
        self._network.send(self._host, self._bound(fd, each), ip, port, data)
        return len(data)

    def _receive(self, fd: int, count: int, line: bool = False) -> bytes:
        each = self._socket(fd)
        if isinstance(each, _Udp):
            return self._datagram(fd, each, count)[0]
        end = self._end(each, reading=True)
        if not end.waiting and not end.eof:
            raise OSError(_EAGAIN, "nothing there")
        data = end.read(count, b"\n" if line else b"")
        each.told &= ~_READ
        self._look(fd)
        return data

    def _receive_from(self, fd: int, count: int) -> Value:
        each = self._socket(fd)
        if isinstance(each, _Udp):
            return self._datagram(fd, each, count)
        return self._receive(fd, count), _ANY, 0

    def _datagram(self, fd: int, each: _Udp, count: int) -> tuple[bytes, str, int]:
        if not each.inbox:
            raise OSError(_EAGAIN, "nothing there")
        data, ip, port = each.inbox.popleft()
        each.told &= ~_READ
        self._look(fd)
        return data[:count], ip, port

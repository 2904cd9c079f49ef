"""`select` of the ESP32 port in virtual time, which passes while nothing is ready."""

import _native
import _rpc
import _virtual
import io as _io

POLLIN, POLLOUT, POLLERR, POLLHUP = 1, 4, 8, 16
_POLL = 3
_ENOENT, _EINVAL = 2, 22
_LOOK_NS = 1_000_000
_nothing = ()


def _tells(obj):
    """Tell whether the host says when an object's events change: a UART's, a socket's, TLS's."""
    return hasattr(obj, "sendbreak") or hasattr(obj, "setsockopt") or hasattr(obj, "cipher")


def _ready(obj, mask):
    """Return which of the events of `mask` an object has, and errors."""
    ioctl = getattr(obj, "ioctl", None)
    if ioctl is None:
        # TLS is C code, which has input of its own and asks the socket below.
        poller = _native.select.poll()
        poller.register(obj, mask)
        ready = poller.poll(0)
        return ready[0][1] if ready else 0
    events = ioctl(_POLL, mask)
    if events < 0:
        raise OSError(-events)
    return events


class poll:
    """Objects that are waited for."""

    def __init__(self):
        self._entries = {}
        self._calm = False  # whether they are sockets of which none is ready

    def register(self, obj, eventmask=POLLIN | POLLOUT):
        self._entries[id(obj)] = [obj, eventmask]
        self._calm = False

    def unregister(self, obj):
        self._entries.pop(id(obj), None)
        self._calm = False

    def modify(self, obj, eventmask):
        if id(obj) not in self._entries:
            raise OSError(_ENOENT)
        self._entries[id(obj)][1] = eventmask
        self._calm = False

    def poll(self, timeout=-1, flags=0):
        return list(self.ipoll(timeout, flags))

    def ipoll(self, timeout=-1, flags=0):
        """Return an iterator over (object, events), empty when the time (ms) is over."""
        # In most rounds of asyncio nothing is registered: a small frame for them.
        if self._entries:
            if self._calm and _virtual.skip_ms(timeout):
                return _nothing
            return iter(self._wait(-1 if timeout is None else timeout, flags & 1))
        if timeout:
            _virtual.rest_ms(timeout)
        return _nothing

    def _wait(self, timeout, once):
        # Ends with the tick of the clock that the port would see it at.
        end = _virtual.tick_after(timeout) if timeout > 0 else timeout
        sockets_only = self._sockets_only()
        while True:
            found, restless = self._look(once)
            now = _virtual.now_ns()
            if found or not timeout or 0 < end <= now:
                self._calm = sockets_only and not found
                return found
            until = end
            if restless:
                until = now + _LOOK_NS if end < 0 else min(end, now + _LOOK_NS)
            if sockets_only:
                # Nothing comes to them before the horizon, or without a word of it.
                _virtual.wait_until(until)
            else:
                _virtual.await_news(until)

    def _sockets_only(self):
        for obj, _ in self._entries.values():
            if not hasattr(obj, "setsockopt"):
                return False
        return True

    def _look(self, once):
        """Return who is ready, and whether nobody will tell when that changes."""
        found = []
        restless = False
        for entry in list(self._entries.values()):
            calls = _virtual.calls
            events = _ready(*entry)
            # What asks the hardware may change unheard, but for a UART and a socket.
            restless |= _virtual.calls != calls and not _tells(entry[0])
            if events:
                if once:
                    entry[1] = 0
                found.append((entry[0], events))
        return found, restless


def select(rlist, wlist, xlist, timeout=-1):
    """Return the lists of those that are ready to be read, to be written, in error."""
    wanted = {}
    for mask, objects in ((POLLIN, rlist), (POLLOUT, wlist), (0, xlist)):
        for obj in objects:
            entry = wanted.setdefault(id(obj), [obj, 0])
            entry[1] |= mask
    poller = poll()
    for obj, mask in wanted.values():
        poller.register(obj, mask)
    ms = -1 if timeout is None or timeout < 0 else int(timeout * 1000)
    events = {id(obj): found for obj, found in poller.ipoll(ms)}
    return tuple(
        [
            [obj for obj in objects if events.get(id(obj), 0) & mask]
            for mask, objects in ((POLLIN | POLLHUP, rlist), (POLLOUT, wlist), (POLLERR, xlist))
        ]
    )

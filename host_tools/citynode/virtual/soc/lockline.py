"""The line between an interpreter in virtual time and its host; `upy/core/_virtual.py` has its end.

A request is its length (u32, little-endian, of what follows), the board's time (u64, ns since its
start), the time at which it fed the watchdog since the last request or 0 (u64), the length of its
JSON part (u32), that of what was posted (u16), what was posted, a JSON list, and its bytes as in
`rpc`. What was posted are calls that nothing has waited for, each with its time (u64), a number
(u8; a pin, or SCK), what to do (u8, `Posted`) and its data (u16 length, bytes). A request without
JSON asks for an answer to the last of them.

An answer is its length (u32), the time (u64), the time up to which nothing can happen (u64), flags
(u8: 1 soft interrupts wait, 2 Ctrl-C, 4 the link or sockets have changed), a status (u8), the
length of its JSON (u32), JSON and bytes as in `rpc`, with no JSON for None.
"""

import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from enum import IntEnum

_REQUEST = struct.Struct("<IQQIH")
_POSTED = struct.Struct("<QBBH")
_ANSWER = struct.Struct("<IQQBBI")
_LENGTH = 4
_AT_ONCE = 1 << 14
IRQ, INTERRUPT, NETWORK = 1, 2, 4


class Posted(IntEnum):
    """What is to be done; those from GET on are answered.

    The data of WRITE and TRANSFER are the numbers of MOSI and MISO (i8, i8) and the bytes, those of
    WAIT a time (i64, ns; below 0: never).
    """

    LOW = 0
    HIGH = 1
    WRITE = 2
    GET = 3
    TRANSFER = 4
    WAIT = 5
    SYNC = 6


class Request:
    """A call of the program, and those that it has posted before; times are the board's, in ns."""

    __slots__ = ("at_ns", "blob", "fed_ns", "posted", "text")

    def __init__(self, message: bytes) -> None:
        _, self.at_ns, self.fed_ns, json_size, posted_size = _REQUEST.unpack_from(message)
        at = _REQUEST.size
        end = at + posted_size
        self.posted: deque[tuple[int, int, int, bytes]] = deque()
        while at < end:
            own_ns, number, what, size = _POSTED.unpack_from(message, at)
            at += _POSTED.size
            self.posted.append((own_ns, number, what, message[at : at + size]))
            at += size
        self.text = message[end : end + json_size]
        self.blob = message[end + json_size :]


class LockLine:
    """The host's end. `flash_changed` is called when the interpreter asks for its flash."""

    def __init__(
        self, rpc: socket.socket, flash: socket.socket, flash_changed: Callable[[], object]
    ) -> None:
        self._rpc = rpc
        self._rpc_fd = rpc.fileno()
        self._flash_changed = flash_changed
        self._inbox = b""
        self._lines = select.poll()
        self._lines.register(rpc, select.POLLIN)
        self._lines.register(flash, select.POLLIN)
        rpc.setblocking(True)

    def receive(self, wait_s: float) -> Request | None:
        """Wait for a request; None if there was none in that time. Raises EOFError at the end."""
        while True:
            ready = self._lines.poll(wait_s * 1000)
            if not ready:
                return None
            if all(fd != self._rpc_fd for fd, _ in ready):
                # It is computing, and has its files changed; that takes no time.
                self._flash_changed()
                continue
            try:
                data = self._rpc.recv(_AT_ONCE)
            except OSError:
                data = b""
            if not data:
                raise EOFError
            inbox = self._inbox = self._inbox + data if self._inbox else data
            if len(inbox) >= _LENGTH and len(inbox) == _LENGTH + int.from_bytes(
                inbox[:_LENGTH], "little"
            ):
                self._inbox = b""
                return Request(inbox)

    def clear(self) -> None:
        """Forget a part of a request: who has sent it is gone."""
        self._inbox = b""

    def answer(
        self,
        now_ns: int,
        horizon_ns: int,
        flags: int,
        status: int = 0,
        text: bytes = b"",
        blob: bytes = b"",
    ) -> None:
        """Answer a request; an interpreter that is gone is noticed when its next one is not there.

        Times are the board's (ns).
        """
        size = _ANSWER.size - _LENGTH + len(text) + len(blob)
        head = _ANSWER.pack(size, now_ns, horizon_ns, flags, status, len(text))
        try:
            self._rpc.sendall(head + text + blob)
        except OSError:
            return

"""TLS for servers inside the engine: OpenSSL without sockets, over a connection in virtual time.

Keys and random numbers are the machine's, so the bytes differ from run to run; with an RSA key
their number does not, and so the run does not either.
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from citynode.virtual.world.tcp import ECONNRESET, End

if TYPE_CHECKING:
    from citynode.virtual.engine import Engine, Timer

# What an ESP32 computes for in a handshake with RSA 2048, in seconds; our client takes no time.
_HANDSHAKE_S = 0.8
_BLOCK = 16384


class Tls:
    """The server's end of a TLS connection over `end`, used like an `End`."""

    def __init__(self, engine: "Engine", end: End, context: ssl.SSLContext) -> None:
        self.on_change: Callable[[], object] = lambda: None
        self.eof = False
        self.error: int | None = None
        self._engine = engine
        self._end = end
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._ready = False
        self._held: Timer | None = None  # until when the first answer is held back
        self._inbox = bytearray()
        self._unsent = bytearray()
        end.on_change = self._changed

    @property
    def waiting(self) -> int:
        """How many bytes `read` gives."""
        return len(self._inbox)

    def read(self, count: int) -> bytes:
        """Take up to `count` bytes."""
        data = bytes(self._inbox[:count])
        del self._inbox[:count]
        return data

    def write(self, data: bytes) -> int:
        """Send bytes; nothing is taken before the handshake is done."""
        if not self._ready or self.error is not None:
            return 0
        if data:
            self._tls.write(data)
        self._flush()
        return len(data)

    def close(self) -> None:
        """Say goodbye and close the connection."""
        if self._ready and self.error is None:
            with contextlib.suppress(ssl.SSLError):  # the client's goodbye is not waited for
                self._tls.unwrap()
            self._flush()
        self._end.close()

    def abort(self) -> None:
        """Reset the connection."""
        self._end.abort()

    def _changed(self) -> None:
        if self._end.error is not None:
            self.error = self._end.error
        else:
            self._in.write(self._end.read(self._end.waiting))
            try:
                self._work()
            except ssl.SSLError:
                # A client that trusts us not, or bytes that are no TLS: what is to be said of it
                # is sent, then it is over.
                self._flush()
                self._end.close()
                self.error = ECONNRESET
            self.eof = self.eof or self._end.eof
        self.on_change()

    def _work(self) -> None:
        try:
            if not self._ready:
                self._tls.do_handshake()
                self._ready = True
            while data := self._tls.read(_BLOCK):
                self._inbox += data
            self.eof = True  # the client's goodbye
        except ssl.SSLWantReadError:
            pass
        if self._held is None and self._out.pending:
            self._held = self._engine.call_later(_HANDSHAKE_S, self._flush)
        self._flush()

    def _flush(self) -> None:
        if self._held is not None and self._held.pending:
            return
        self._unsent += self._out.read()
        if self._unsent:
            del self._unsent[: self._end.write(bytes(self._unsent))]

"""A TCP connection, plain or TLS, as a stream of bytes for asyncio."""

import asyncio
import select
import socket
from errno import ECONNREFUSED, EINPROGRESS

from node.wire.const import const

_POLL_MS = const(20)


class Stream:
    """What `open_stream` returns: `read`, `write`, `close`."""

    def __init__(self, sock) -> None:
        self._sock = sock
        self._stream = asyncio.StreamReader(sock)

    async def read(self, n: int) -> bytes:
        """Wait for data and return up to `n` bytes, b"" at the end; raises OSError."""
        while True:
            data = await self._stream.read(n)
            # None: TLS had data to read that carried none for us.
            if data is not None:
                return data

    async def write(self, data: bytes) -> None:
        """Send all of `data`; raises OSError."""
        self._stream.write(data)  # type: ignore[attr-defined]
        await self._stream.drain()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()


async def open_stream(host: str, port: int, tls, clock) -> Stream:
    """Connect; `tls` is an SSLContext that checks the certificate against `host`, or None.

    The caller bounds the wait. The look-up of the name is the one thing that blocks (lwIP gives
    up after some 15 s). Raises OSError.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        try:
            sock.connect(address)
        except OSError as error:
            if error.errno != EINPROGRESS:
                raise
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        while True:
            ready = poller.poll(0)
            if ready:
                if ready[0][1] & (select.POLLERR | select.POLLHUP):
                    raise OSError(ECONNREFUSED)
                break
            await clock.sleep_ms(_POLL_MS)
        if tls is not None:
            sock = tls.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            sock.setblocking(False)
        return Stream(sock)
    except BaseException:
        sock.close()
        raise

"""The bench's time server: SNTP (RFC 4330) on the loopback, with the world's true time."""

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

from citynode.virtual.world.clock import NS
from citynode.virtual.world.network import LOOPBACK

if TYPE_CHECKING:
    # The engine takes its clock and chance from this package.
    from citynode.virtual.engine import Engine

_PACKET = struct.Struct(">BBbbII4sQQQQ")
_EPOCH_1900_S = 2_208_988_800
_MODE_CLIENT, _MODE_SERVER = 3, 4
_LIMIT = 512


def timestamp(unix_ns: int) -> int:
    """Return a time (ns since 1970) as NTP's 64 bits; from 2036 on in era 1 (RFC 4330, 3)."""
    seconds, rest = divmod(unix_ns, NS)
    return ((seconds + _EPOCH_1900_S) << 32 | (rest << 32) // NS) & 0xFFFFFFFFFFFFFFFF


def answer(request: bytes, unix_ns: int) -> bytes | None:
    """Return the answer to a client's packet, None if it is not one."""
    if len(request) < _PACKET.size:
        return None
    version, mode = request[0] >> 3 & 7, request[0] & 7
    if mode != _MODE_CLIENT or not 1 <= version <= 4:
        return None
    now = timestamp(unix_ns)
    originate = int.from_bytes(request[40:48], "big")
    poll = int.from_bytes(request[2:3], "big", signed=True)
    return _PACKET.pack(
        version << 3 | _MODE_SERVER, 1, poll, -20, 0, 0, b"GPS\0", now, originate, now, now
    )


def kiss_of_death(request: bytes, code: bytes) -> bytes | None:
    """Return the packet that asks a client to go away (RFC 4330, 8), None if it is none.

    `code` has four bytes: b"RATE", b"DENY" …
    """
    packet = answer(request, 0)
    if packet is None:
        return None
    # Leap indicator 3 (not synchronised), stratum 0, the code in the place of the reference.
    return bytes((packet[0] | 0xC0, 0)) + packet[2:12] + code + packet[16:]


class TimeServer:
    """What a time server answers, and how it may go wrong.

    `silent` has it answer nothing, `kiss` (four bytes) has it send clients away, `offset_ns` is
    how far its time is ahead of the true one.
    """

    def __init__(self) -> None:
        self.silent = False
        self.kiss: bytes | None = None
        self.offset_ns = 0

    def reply(self, request: bytes, unix_ns: int) -> bytes | None:
        """Return the answer to a packet that came at a time (ns since 1970), None for none."""
        if self.silent:
            return None
        if self.kiss is not None:
            return kiss_of_death(request, self.kiss)
        return answer(request, unix_ns + self.offset_ns)


class NtpServer(TimeServer):
    """Answers on an ephemeral UDP port of the loopback."""

    def __init__(self, engine: "Engine") -> None:
        super().__init__()
        self._engine = engine
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._socket.setblocking(False)
        self.port: int = self._socket.getsockname()[1]
        engine.add_reader(self._socket, self._serve)

    def close(self) -> None:
        """Stop answering and release the port."""
        if self._socket.fileno() >= 0:
            self._engine.remove_reader(self._socket)
            self._socket.close()

    def _serve(self) -> None:
        # The other side may be gone already: a datagram's sender learns nothing of it.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            while True:
                request, peer = self._socket.recvfrom(_LIMIT)
                packet = self.reply(request, self._engine.clock.unix_ns())
                if packet is not None:
                    self._socket.sendto(packet, peer)

"""SLIP framing (RFC 1055) as the serial loaders use it: each packet between two END bytes."""

import re

_END = b"\xc0"
_BAD_ESCAPE = re.compile(rb"\xdb(?![\xdc\xdd])")

BROKEN = b""  # what the decoder gives for a packet that cannot be told


def encode(packet: bytes) -> bytes:
    """Return a packet as it goes over the line."""
    escaped = packet.replace(b"\xdb", b"\xdb\xdd").replace(_END, b"\xdb\xdc")
    return _END + escaped + _END


class Decoder:
    """Takes bytes as they come and gives packets of at most `limit` bytes.

    What lies outside of packets is ignored. A packet with a wrong escape sequence or too many
    bytes is given as `BROKEN`. An END right behind another one starts the packet, so that a lost
    byte costs one packet and not the synchronism.
    """

    def __init__(self, limit: int) -> None:
        self._limit = 2 * limit  # as all bytes may be escaped
        self._plain_limit = limit
        self._pieces: list[bytes] = []
        self._size = 0
        self._inside = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the packets that they complete."""
        first, *rest = data.split(_END)
        packets: list[bytes] = []
        self._take(first)
        for part in rest:
            if not self._inside:
                self._inside = True
            elif self._size:
                packets.append(self._finish())
            self._take(part)
        return packets

    def reset(self) -> None:
        """Forget a packet that has begun."""
        self._pieces.clear()
        self._size = 0
        self._inside = False

    def _take(self, part: bytes) -> None:
        if not self._inside or not part:
            return
        self._size += len(part)
        if self._size > self._limit:
            self._pieces.clear()
        else:
            self._pieces.append(part)

    def _finish(self) -> bytes:
        packet = b"".join(self._pieces)
        overflow = self._size > self._limit
        self.reset()
        if overflow:
            return BROKEN
        if b"\xdb" in packet:
            if _BAD_ESCAPE.search(packet):
                return BROKEN
            packet = packet.replace(b"\xdb\xdc", _END).replace(b"\xdb\xdd", b"\xdb")
        return packet if len(packet) <= self._plain_limit else BROKEN

"""MQTT 3.1.1 packets (OASIS standard, 2014): those that a publisher sends and receives.

No I/O: bytes out, bytes in. Any bytes fed to the `Parser` give packets or an `MqttError`.
"""

import struct

from node.wire.const import const

CONNACK = const(2)
PUBLISH = const(3)
PUBACK = const(4)
PINGRESP = const(13)

PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"

_CONNECT = const(0x10)
_PUBLISH_QOS1 = const(0x32)
_RETAIN = const(0x01)
_LEVEL = const(4)
_CLEAN = const(0x02)
_WILL_QOS1_RETAIN = const(0x2C)
_PASSWORD = const(0x40)
_USER = const(0x80)
_MAX_LENGTH_BYTES = const(4)
_MAX_STRING = const(65535)


class MqttError(Exception):
    """The broker refused, or did what MQTT does not allow, or nothing at all.

    `kind`: "refused" (`code` is the CONNACK's), "closed", "malformed", "oversized", "unexpected"
    (`code` is the packet's type), "ack" (no PUBACK in time), "ping" (no PINGRESP in time).
    """

    def __init__(self, kind: str, code: int | None = None) -> None:
        super().__init__(kind if code is None else "%s %d" % (kind, code))
        self.kind = kind
        self.code = code


def connect(client_id: str, user, password, keepalive_s: int, will_topic: str, will) -> bytes:
    """Return CONNECT with a clean session and a retained last will with QoS 1 (section 3.1).

    `user` and `password` are None or str/bytes; a password needs a user.
    """
    flags = _CLEAN | _WILL_QOS1_RETAIN
    payload = _string(client_id) + _string(will_topic) + _string(will)
    if user is not None:
        flags |= _USER
        payload += _string(user)
        if password is not None:
            flags |= _PASSWORD
            payload += _string(password)
    body = _string("MQTT") + struct.pack(">BBH", _LEVEL, flags, keepalive_s) + payload
    return _head(_CONNECT, len(body)) + body


def publish(topic: str, payload: bytes, packet_id: int, retain: bool = False) -> bytes:
    """Return PUBLISH with QoS 1 (section 3.3)."""
    name = _string(topic)
    head = _head(_PUBLISH_QOS1 | (_RETAIN if retain else 0), len(name) + 2 + len(payload))
    return head + name + struct.pack(">H", packet_id) + payload


def _head(first: int, length: int) -> bytes:
    head = bytearray((first,))
    while True:
        more = length >> 7
        head.append((length & 0x7F) | (0x80 if more else 0))
        length = more
        if not more:
            return bytes(head)


def _string(text) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > _MAX_STRING:
        raise ValueError("string too long")
    return struct.pack(">H", len(raw)) + raw


class Parser:
    """Cuts received bytes into packets; none may have more than `limit` bytes of content."""

    def __init__(self, limit: int = 256) -> None:
        self._limit = limit
        self._data = bytearray()

    def feed(self, data: bytes) -> list:
        """Return the packets that are now complete, as `(type, flags, content)`.

        Raises MqttError "oversized" or "malformed"; the parser is of no use after that.
        """
        self._data.extend(data)
        packets = []
        while True:
            size = self._size()
            if size is None:
                return packets
            start, end = size
            if len(self._data) < end:
                return packets
            first = self._data[0]
            packets.append((first >> 4, first & 0x0F, bytes(self._data[start:end])))
            self._data = self._data[end:]

    def _size(self):
        # Where the content of the packet at the front starts and ends, None if not yet known.
        length = shift = 0
        for i in range(1, min(len(self._data), 1 + _MAX_LENGTH_BYTES)):
            byte = self._data[i]
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                if length > self._limit:
                    raise MqttError("oversized")
                return i + 1, i + 1 + length
        if len(self._data) > _MAX_LENGTH_BYTES:
            raise MqttError("malformed")
        return None


def connack(packet: tuple) -> None:
    """Take a packet for the answer to CONNECT (section 3.2); raises MqttError if it says no."""
    kind, flags, body = packet
    if kind != CONNACK:
        raise MqttError("unexpected", kind)
    if flags or len(body) != 2 or body[0]:
        raise MqttError("malformed")
    if body[1]:
        raise MqttError("refused", body[1])


def puback_for(packet: tuple) -> bytes:
    """Return the PUBACK that a PUBLISH asks for (section 3.3.4), b"" where it asks for none.

    Nothing was subscribed to, but there are brokers that send all the same; QoS 2 is malformed
    for a client that has never agreed to it.
    """
    _, flags, body = packet
    quality = flags >> 1 & 3
    if len(body) < 2 or quality > 1:
        raise MqttError("malformed")
    end = 2 + (body[0] << 8 | body[1])
    if len(body) < end + 2 * quality:
        raise MqttError("malformed")
    return b"\x40\x02" + body[end : end + 2] if quality else b""


def answer(packet: tuple) -> int:
    """Return the packet id of a PUBACK (section 3.4), 0 for PINGRESP; else raises MqttError."""
    kind, flags, body = packet
    if kind == PUBACK:
        if flags or len(body) != 2 or body == b"\0\0":
            raise MqttError("malformed")
        return (body[0] << 8) | body[1]
    if kind == PINGRESP:
        if flags or body:
            raise MqttError("malformed")
        return 0
    raise MqttError("unexpected", kind)

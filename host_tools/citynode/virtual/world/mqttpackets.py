"""MQTT 3.1.1 packets (OASIS standard, 2014), as a server reads and writes them."""

import struct
from dataclasses import dataclass

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = range(1, 8)
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = range(8, 15)

ACCEPTED, BAD_VERSION, BAD_ID, UNAVAILABLE, BAD_USER, NOT_AUTHORIZED = range(6)

MAX_PACKET = 1 << 20  # bytes of content that are taken
# The flags that a packet of each type has to have (table 2.2); those of PUBLISH are its own.
_FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}


class ProtocolError(Exception):
    """Bytes that MQTT does not allow: the connection is to be closed (section 4.8)."""


@dataclass(frozen=True, slots=True)
class Message:
    """An application message: its topic, its bytes, QoS 0 to 2, and whether it is kept."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """What a client asks for when it connects (section 3.1)."""

    client_id: str
    level: int
    clean: bool
    keepalive_s: int
    will: Message | None
    user: str | None
    password: bytes | None


class Reader:
    """Takes the fields out of a packet's content; each method raises ProtocolError at its end."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return so many bytes."""
        data = self._content[self._at : self._at + count]
        if len(data) < count:
            raise ProtocolError("too short")
        self._at += count
        return data

    def number(self) -> int:
        """Return two bytes as a number."""
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        """Return a packet id, which is not 0 (section 2.3.1)."""
        number = self.number()
        if number == 0:
            raise ProtocolError("packet id 0")
        return number

    def blob(self) -> bytes:
        """Return bytes with their length before them."""
        return self.take(self.number())

    def text(self) -> str:
        """Return a string (section 1.5.3)."""
        try:
            text = self.blob().decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("no UTF-8") from error
        if "\0" in text:
            raise ProtocolError("U+0000")
        return text

    def topic(self) -> str:
        """Return a topic name (section 4.7)."""
        topic = self.text()
        if not topic or "+" in topic or "#" in topic:
            raise ProtocolError("no topic name")
        return topic

    def filter(self) -> str:
        """Return a topic filter (section 4.7.1)."""
        text = self.text()
        levels = text.split("/")
        if (
            not text
            or any("+" in level and level != "+" for level in levels)
            or any("#" in level for level in levels[:-1])
            or ("#" in levels[-1] and levels[-1] != "#")
        ):
            raise ProtocolError("no topic filter")
        return text

    def rest(self) -> bytes:
        """Return what is left."""
        return self.take(len(self._content) - self._at)

    @property
    def more(self) -> bool:
        """Whether anything is left."""
        return self._at < len(self._content)

    def end(self) -> None:
        """Raise ProtocolError unless all was taken."""
        if self.more:
            raise ProtocolError("too long")


class Parser:
    """Cuts received bytes into packets."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """Return the packets that are complete now as (type, flags, content).

        Raises ProtocolError; the parser is of no use after that.
        """
        self._data += data
        packets = []
        while (size := self._size()) is not None:
            start, end = size
            if len(self._data) < end:
                break
            kind, flags = self._data[0] >> 4, self._data[0] & 15
            if not CONNECT <= kind <= DISCONNECT:
                raise ProtocolError(f"type {kind}")
            if kind != PUBLISH and flags != _FLAGS.get(kind, 0):
                raise ProtocolError(f"flags {flags} of type {kind}")
            packets.append((kind, flags, bytes(self._data[start:end])))
            del self._data[:end]
        return packets

    def _size(self) -> tuple[int, int] | None:
        """Return where the first packet's content begins and ends, None if that is not known."""
        length = 0
        for index in range(4):
            at = 1 + index
            if at >= len(self._data):
                return None
            length |= (self._data[at] & 127) << 7 * index
            if self._data[at] < 128:
                if length > MAX_PACKET:
                    raise ProtocolError("too large")
                return at + 1, at + 1 + length
        raise ProtocolError("length of five bytes")


def read_connect(content: bytes) -> Connect:
    """Read CONNECT (section 3.1); of another version nothing but its level is read."""
    reader = Reader(content)
    if reader.blob() != b"MQTT":
        raise ProtocolError("protocol name")
    level, flags = reader.take(2)
    keepalive_s = reader.number()
    if level != 4:
        return Connect("", level, True, keepalive_s, None, None, None)
    will_qos = flags >> 3 & 3
    if flags & 1 or will_qos == 3 or (not flags & 4 and flags & 0x38):
        raise ProtocolError(f"connect flags {flags:#x}")
    if flags & 0x40 and not flags & 0x80:
        raise ProtocolError("password without user")
    client_id = reader.text()
    will = None
    if flags & 4:
        will = Message(reader.topic(), reader.blob(), will_qos, bool(flags & 0x20))
    user = reader.text() if flags & 0x80 else None
    password = reader.blob() if flags & 0x40 else None
    reader.end()
    return Connect(client_id, level, bool(flags & 2), keepalive_s, will, user, password)


def read_publish(flags: int, content: bytes) -> tuple[Message, int]:
    """Read PUBLISH (section 3.3); return the message and its packet id, 0 with QoS 0."""
    qos = flags >> 1 & 3
    if qos == 3 or (qos == 0 and flags & 8):
        raise ProtocolError(f"publish flags {flags:#x}")
    reader = Reader(content)
    topic = reader.topic()
    packet_id = reader.packet_id() if qos else 0
    return Message(topic, reader.rest(), qos, bool(flags & 1)), packet_id


def read_packet_id(content: bytes) -> int:
    """Read an acknowledgement (section 3.4)."""
    reader = Reader(content)
    packet_id = reader.packet_id()
    reader.end()
    return packet_id


def read_filters(content: bytes, *, with_qos: bool) -> tuple[int, list[tuple[str, int]]]:
    """Read SUBSCRIBE or UNSUBSCRIBE (sections 3.8, 3.10): the packet id, filters with QoS."""
    reader = Reader(content)
    packet_id = reader.packet_id()
    filters = []
    while reader.more:
        text = reader.filter()
        qos = reader.take(1)[0] if with_qos else 0
        if qos > 2:
            raise ProtocolError("QoS 3")
        filters.append((text, qos))
    if not filters:
        raise ProtocolError("no filter")
    return packet_id, filters


def packet(kind: int, content: bytes = b"", flags: int = 0) -> bytes:
    """Return a packet of these bytes (section 2.2)."""
    head = bytearray((kind << 4 | flags,))
    length = len(content)
    while True:
        length, part = length >> 7, length & 127
        head.append(part | (128 if length else 0))
        if not length:
            return bytes(head) + content


def acknowledge(kind: int, packet_id: int, content: bytes = b"") -> bytes:
    """Return an acknowledgement of a packet id."""
    return packet(kind, struct.pack(">H", packet_id) + content, 2 if kind == PUBREL else 0)


def publish(message: Message, packet_id: int, *, again: bool = False) -> bytes:
    """Return PUBLISH (section 3.3)."""
    name = message.topic.encode()
    content = struct.pack(">H", len(name)) + name
    if message.qos:
        content += struct.pack(">H", packet_id)
    flags = 8 * again | message.qos << 1 | message.retain
    return packet(PUBLISH, content + message.payload, flags)


def matches(text: str, topic: str) -> bool:
    """Return whether a topic filter covers a topic (section 4.7)."""
    filters, levels = text.split("/"), topic.split("/")
    if topic.startswith("$") and filters[0] in ("+", "#"):
        return False
    for index, wanted in enumerate(filters):
        if wanted == "#":
            return True
        if index >= len(levels) or wanted not in ("+", levels[index]):
            return False
    return len(filters) == len(levels)

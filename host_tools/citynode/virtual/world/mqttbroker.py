"""An MQTT 3.1.1 broker without I/O: bytes and times in, bytes out, and faults on request."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from citynode.virtual.world import mqttpackets as mqtt
from citynode.virtual.world.clock import NS
from citynode.virtual.world.mqttpackets import Message, ProtocolError

_GREETING_NS = 10 * NS  # from the connection to CONNECT
_QUEUE = 1000  # messages that wait for a client that is away
_NEVER = 1 << 62


class Line(Protocol):
    """The connection of one client."""

    def send(self, data: bytes, /) -> None:
        """Send bytes."""

    def close(self, *, reset: bool = False) -> None:
        """End it."""


@dataclass
class _Session:
    """What outlives a connection (section 4.1)."""

    filters: dict[str, int] = field(default_factory=dict)
    flying: dict[int, Message] = field(default_factory=dict)  # sent, by packet id
    received: set[int] = field(default_factory=set)  # packet ids of QoS 2, not yet released
    queue: list[Message] = field(default_factory=list)
    last_id: int = 0


class Client:
    """One connection to the broker; `id` is "" before its CONNECT."""

    def __init__(self, broker: "MqttBroker", line: Line, now_ns: int) -> None:
        self.id = ""
        self.session: _Session | None = None
        self.clean = True
        self.will: Message | None = None
        self.line = line
        self.closed = False
        self._broker = broker
        self._parser = mqtt.Parser()
        self._patience_ns = _GREETING_NS
        self._heard_ns = now_ns
        self._owed: list[tuple[int, bytes]] = []  # acknowledgements that are held back

    @property
    def due_ns(self) -> int:
        """When `tick` is due, at the latest."""
        due = self._heard_ns + self._patience_ns
        return min(due, self._owed[0][0]) if self._owed else due

    def receive(self, data: bytes, now_ns: int) -> None:
        """Take bytes from the client."""
        try:
            for kind, flags, content in self._parser.feed(data):
                self._heard_ns = now_ns
                self._take(kind, flags, content, now_ns)
                if self.closed:
                    return
        except ProtocolError as error:
            self._broker.tell(self.id, f"protocol error: {error}")
            self.end()

    def tick(self, now_ns: int) -> None:
        """Do what is due."""
        while self._owed and self._owed[0][0] <= now_ns:
            self.line.send(self._owed.pop(0)[1])
        if not self.closed and now_ns >= self._heard_ns + self._patience_ns:
            # One and a half keep-alives (section 3.1.2.10).
            self._broker.tell(self.id, "silent for too long")
            self.end()

    def lost(self) -> None:
        """Hear that the connection has ended without DISCONNECT."""
        if not self.closed:
            self._broker.tell(self.id, "lost")
            self._leave()

    def end(self, *, reset: bool = False) -> None:
        """Close the connection; the will is published."""
        if not self.closed:
            self._leave()
            self.line.close(reset=reset)

    def deliver(self, message: Message) -> None:
        """Send a message; with QoS 1 it is kept until it is acknowledged."""
        session = self.session
        if session is None:
            return
        if not message.qos:
            self.line.send(mqtt.publish(message, 0))
            return
        while True:
            session.last_id = session.last_id % 0xFFFF + 1
            if session.last_id not in session.flying:
                break
        session.flying[session.last_id] = message
        self.line.send(mqtt.publish(message, session.last_id))

    # -- packets --------------------------------------------------------------------------------

    def _take(self, kind: int, flags: int, content: bytes, now_ns: int) -> None:
        if (kind == mqtt.CONNECT) != (self.session is None):
            raise ProtocolError("CONNECT comes first, and once")
        if kind == mqtt.CONNECT:
            self._connect(content, now_ns)
        elif kind == mqtt.PUBLISH:
            self._publish(flags, content, now_ns)
        elif kind == mqtt.DISCONNECT:
            if content:
                raise ProtocolError("DISCONNECT with content")
            self.will = None
            self._broker.tell(self.id, "disconnects")
            self.end()
        elif kind == mqtt.PINGREQ:
            if content:
                raise ProtocolError("PINGREQ with content")
            if not self._broker.mute:
                self.line.send(mqtt.packet(mqtt.PINGRESP))
        else:
            self._take_rest(kind, content)

    def _take_rest(self, kind: int, content: bytes) -> None:
        session = self.session
        if session is None:
            return
        if kind == mqtt.PUBACK:
            session.flying.pop(mqtt.read_packet_id(content), None)
        elif kind == mqtt.PUBREL:
            packet_id = mqtt.read_packet_id(content)
            session.received.discard(packet_id)
            self.line.send(mqtt.acknowledge(mqtt.PUBCOMP, packet_id))
        elif kind == mqtt.SUBSCRIBE:
            packet_id, filters = mqtt.read_filters(content, with_qos=True)
            granted = bytes(min(qos, 1) for _, qos in filters)
            self.line.send(mqtt.acknowledge(mqtt.SUBACK, packet_id, granted))
            for (text, _), qos in zip(filters, granted, strict=True):
                session.filters[text] = qos
                self._broker.tell(self.id, f"subscribes to {text}")
                for message in self._broker.kept(text):
                    self.deliver(replace(message, qos=min(qos, message.qos)))
        elif kind == mqtt.UNSUBSCRIBE:
            packet_id, filters = mqtt.read_filters(content, with_qos=False)
            for text, _ in filters:
                session.filters.pop(text, None)
            self.line.send(mqtt.acknowledge(mqtt.UNSUBACK, packet_id))
        else:
            raise ProtocolError(f"type {kind} from a client")

    def _connect(self, content: bytes, now_ns: int) -> None:
        asked = mqtt.read_connect(content)
        code = self._broker.check(asked)
        if code != mqtt.ACCEPTED:
            self._broker.tell(asked.client_id, f"refused with code {code}")
            self.line.send(mqtt.packet(mqtt.CONNACK, bytes((0, code))))
            self.end()
            return
        present = self._broker.admit(self, asked)
        self.will = asked.will
        self.clean = asked.clean
        # Without a keep-alive the client may be silent for ever.
        self._patience_ns = asked.keepalive_s * 3 * NS // 2 if asked.keepalive_s else _NEVER
        self._heard_ns = now_ns
        self._broker.tell(self.id, "connects")
        if self._broker.mute:
            return
        self.line.send(mqtt.packet(mqtt.CONNACK, bytes((present, 0))))
        session = self.session
        if session is not None:
            for packet_id, message in session.flying.items():
                self.line.send(mqtt.publish(message, packet_id, again=True))
            waiting, session.queue = session.queue, []
            for message in waiting:
                self.deliver(message)

    def _publish(self, flags: int, content: bytes, now_ns: int) -> None:
        message, packet_id = mqtt.read_publish(flags, content)
        session = self.session
        if session is None:
            return
        if message.qos < 2 or packet_id not in session.received:
            self._broker.take(self.id, message, now_ns)
        if message.qos == 0 or self._broker.deaf or self._broker.mute:
            return
        if message.qos == 2:
            session.received.add(packet_id)
        kind = mqtt.PUBACK if message.qos == 1 else mqtt.PUBREC
        if self._broker.wrong_ids:
            packet_id = packet_id % 0xFFFF + 1
        answer = mqtt.acknowledge(kind, packet_id)
        if self._broker.ack_delay_ns or self._owed:
            self._owed.append((now_ns + self._broker.ack_delay_ns, answer))
        else:
            self.line.send(answer)

    def _leave(self) -> None:
        self.closed = True
        self._broker.dismiss(self)


class MqttBroker:
    """A broker that clients are connected to with `connected`.

    `on_publish(client_id, topic, payload, at_ns)` hears each message that a client sends, a second
    copy too. `users` maps names to passwords; None lets everyone in. Faults: `deaf` takes messages
    and acknowledges none, `mute` answers nothing at all, `ack_delay_ns` holds acknowledgements
    back, `wrong_ids` acknowledges others than those that came. `on_event(client_id, text)` hears
    what happens to clients.
    """

    def __init__(self) -> None:
        self.on_publish: Callable[[str, str, bytes, int], object] = lambda *_: None
        self.on_event: Callable[[str, str], object] = lambda *_: None
        self.users: Mapping[str, str] | None = None
        self.deaf = False
        self.mute = False
        self.ack_delay_ns = 0
        self.wrong_ids = False
        self.clients: dict[str, Client] = {}  # those that are connected
        self._lines: dict[Client, None] = {}  # all connections
        self._sessions: dict[str, _Session] = {}
        self._retained: dict[str, Message] = {}
        self._named = 0

    def connected(self, line: Line, now_ns: int) -> Client:
        """Take a new connection."""
        client = Client(self, line, now_ns)
        self._lines[client] = None
        return client

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Publish a message from the broker itself, QoS 0 or 1."""
        self._spread(Message(topic, payload, qos, retain))

    def drop(self, client_id: str | None = None, *, reset: bool = True) -> None:
        """End the connection of a client, or all: by a reset or in order."""
        for client in list(self._lines):
            if client_id in (None, client.id):
                self.tell(client.id, "dropped")
                client.end(reset=reset)

    def say(self, client_id: str, data: bytes) -> None:
        """Send bytes to a client that need not be MQTT."""
        self.clients[client_id].line.send(data)

    def forget(self) -> None:
        """Lose all sessions and retained messages, as a restart without persistence does."""
        self._sessions = {
            client.id: client.session
            for client in self.clients.values()
            if client.session is not None
        }
        self._retained.clear()

    # -- for the clients ------------------------------------------------------------------------

    def tell(self, client_id: str, text: str) -> None:
        """Tell of an event."""
        self.on_event(client_id or "-", text)

    def check(self, asked: mqtt.Connect) -> int:
        """Return CONNACK's code for a client (table 3.1)."""
        if asked.level != 4:
            return mqtt.BAD_VERSION
        if not asked.client_id and not asked.clean:
            return mqtt.BAD_ID
        if self.users is None:
            return mqtt.ACCEPTED
        if asked.user is None:
            return mqtt.NOT_AUTHORIZED
        wanted = self.users.get(asked.user)
        given = asked.password or b""
        return mqtt.ACCEPTED if wanted is not None and wanted.encode() == given else mqtt.BAD_USER

    def admit(self, client: Client, asked: mqtt.Connect) -> bool:
        """Give a client its session; tell whether it had one before."""
        if not asked.client_id:
            self._named += 1
        client.id = asked.client_id or f"auto-{self._named}"
        other = self.clients.get(client.id)
        if other is not None:
            self.tell(client.id, "taken over")
            other.end()
        present = not asked.clean and client.id in self._sessions
        if not present:
            self._sessions[client.id] = _Session()
        client.session = self._sessions[client.id]
        self.clients[client.id] = client
        return present

    def dismiss(self, client: Client) -> None:
        """Hear that a client's connection is over."""
        self._lines.pop(client, None)
        if client.session is None:
            return
        if self.clients.get(client.id) is client:
            del self.clients[client.id]
        if client.clean:
            self._sessions.pop(client.id, None)
        will, client.will = client.will, None
        if will is not None:
            self._spread(will)

    def take(self, client_id: str, message: Message, now_ns: int) -> None:
        """Take a message from a client."""
        text = f"publishes {message.topic} {message.payload.hex()}"
        self.tell(client_id, text + " retained" if message.retain else text)
        self.on_publish(client_id, message.topic, message.payload, now_ns)
        self._spread(message)

    def kept(self, text: str) -> list[Message]:
        """Return the retained messages that a topic filter covers."""
        return [each for topic, each in self._retained.items() if mqtt.matches(text, topic)]

    def _spread(self, message: Message) -> None:
        """Send a message to all who want it (section 3.3.1.3)."""
        if message.retain:
            if message.payload:
                self._retained[message.topic] = message
            else:
                self._retained.pop(message.topic, None)
        for client_id, session in list(self._sessions.items()):
            granted = [
                qos for text, qos in session.filters.items() if mqtt.matches(text, message.topic)
            ]
            if not granted:
                continue
            copy = replace(message, qos=min(max(granted), message.qos), retain=False)
            client = self.clients.get(client_id)
            if client is not None:
                client.deliver(copy)
            elif copy.qos and len(session.queue) < _QUEUE:
                session.queue.append(copy)

"""The MQTT broker inside the engine: by its packets, by clients of others, and from a board."""

import socket
import struct
from itertools import pairwise

import pytest
from citynode.virtual.engine import Engine
from citynode.virtual.world.mqttbroker import MqttBroker
from citynode.virtual.world.mqttpackets import Parser, ProtocolError
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion

NS = 1_000_000_000


class Line:
    """A client's end without a network."""

    def __init__(self, broker, now_ns=0):
        self.got = b""
        self.ended = None
        self.client = broker.connected(self, now_ns)

    def send(self, data):
        assert self.ended is None
        self.got += data

    def close(self, *, reset=False):
        self.ended = "reset" if reset else "closed"

    def say(self, text, now_ns=0):
        """Send bytes written in hexadecimal; return the answer so."""
        self.client.receive(bytes.fromhex(text), now_ns)
        answer, self.got = self.got.hex(), b""
        return answer


def string(text):
    raw = text if isinstance(text, bytes) else text.encode()
    return (struct.pack(">H", len(raw)) + raw).hex()


def packet(first, body):
    assert len(body) < 256
    return f"{first:02x}{len(body) // 2:02x}{body}"


def connect(name, flags=0x02, keepalive=0, rest="", level=4, protocol="MQTT"):
    body = f"{string(protocol)}{level:02x}{flags:02x}{keepalive:04x}{string(name)}{rest}"
    return packet(0x10, body)


def publish(topic, payload, qos=0, packet_id=1, retain=0, again=0):
    body = string(topic) + (f"{packet_id:04x}" if qos else "") + payload.hex()
    return packet(0x30 | again << 3 | qos << 1 | retain, body)


def subscribe(text, qos=0, packet_id=1):
    return packet(0x82, f"{packet_id:04x}{string(text)}{qos:02x}")


def joined(broker, name, **options):
    line = Line(broker)
    assert line.say(connect(name, **options))[:4] == "2002"
    return line


OK, PONG = "20020000", "d000"

# What is sent after CONNECT, what comes back, and whether the connection is open then.
CONVERSATIONS = {
    "ping": ("c000", PONG, True),
    "in pieces": ("c0 00 c0", PONG, True),
    "QoS 0": (publish("a", b"x"), "", True),
    "QoS 1": (publish("a", b"x", 1, 0x1234), "40021234", True),
    "QoS 1 again": (publish("a", b"x", 1, 7, again=1), "40020007", True),
    "QoS 2": (publish("a", b"x", 2, 9), "50020009", True),
    "QoS 2 to its end": (publish("a", b"x", 2, 9) + "62020009", "5002000970020009", True),
    "empty message": (publish("a", b"", 1, 1), "40020001", True),
    "subscription": (subscribe("a/+/#", 1, 5), "9003000501", True),
    "QoS 2 is granted as 1": (subscribe("a", 2, 5), "9003000501", True),
    "end of one": (packet(0xA2, "0006" + string("a")), "b0020006", True),
    "goodbye": ("e000", "", False),
    "second CONNECT": (connect("n"), "", False),
    "type 0": ("0000", "", False),
    "type 15": ("f000", "", False),
    "packet of a server": ("d000", "", False),
    "QoS 3": ("3604" + string("a") + "61", "", False),
    "QoS 0 again": ("3804" + string("a") + "61", "", False),
    "packet id 0": (publish("a", b"x", 1, 0), "", False),
    "topic with wildcard": (publish("a/#", b"x"), "", False),
    "topic of nothing": (publish("", b"x"), "", False),
    "topic that is no UTF-8": (publish(b"\xff", b"x"), "", False),
    "topic with U+0000": (publish(b"a\0", b"x"), "", False),
    "string too long": ("30020005", "", False),
    "length of five bytes": ("30ffffffff01", "", False),
    "flags of SUBSCRIBE": (packet(0x80, "0001" + string("a") + "00"), "", False),
    "SUBSCRIBE to nothing": ("82020001", "", False),
    "filter with a hash inside": (subscribe("a/#/b"), "", False),
    "filter with a plus in a word": (subscribe("a+"), "", False),
    "ping with content": ("c00100", "", False),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_packets_and_their_answers(name):
    sent, answer, stays = CONVERSATIONS[name]
    line = joined(MqttBroker(), "n")
    assert line.say(sent) == answer
    assert (line.ended is None) == stays


@pytest.mark.parametrize(
    ("sent", "answer", "users"),
    [
        (connect("n"), OK, None),
        (connect(""), OK, None),
        (connect("n", level=3), "20020001", None),
        (connect("", flags=0), "20020002", None),
        (connect("n"), "20020005", {"u": "p"}),
        (connect("n", 0xC2, rest=string("u") + string("p")), OK, {"u": "p"}),
        (connect("n", 0xC2, rest=string("u") + string("x")), "20020004", {"u": "p"}),
        (connect("n", 0x82, rest=string("u")), "20020004", {"u": "p"}),
        (connect("n", protocol="MQIsdp", level=3), "", None),
        (connect("n", 0x03), "", None),
        (connect("n", 0x42, rest=string("p")), "", None),
        (connect("n", 0x0A), "", None),
        (connect("n") + "00", OK, None),
        (publish("a", b"x"), "", None),
    ],
)
def test_who_is_let_in(sent, answer, users):
    broker = MqttBroker()
    broker.users = users
    line = Line(broker)
    assert line.say(sent) == answer
    assert (line.ended is None) == (answer == OK)


def test_messages_go_to_who_wants_them():
    broker = MqttBroker()
    heard = []
    broker.on_publish = lambda *message: heard.append(message)
    sender, plain, sure = (joined(broker, name) for name in ("s", "plain", "sure"))
    plain.say(subscribe("city/+/up", 0))
    sure.say(subscribe("city/#", 1) + subscribe("city/n1/up", 0, 2))
    assert sender.say(publish("city/n1/up", b"\1", 1, 5), 3 * NS) == "40020005"
    assert heard == [("s", "city/n1/up", b"\1", 3 * NS)]
    assert plain.say("") == publish("city/n1/up", b"\1")
    assert sure.say("") == publish("city/n1/up", b"\1", 1, 1)
    sender.say(publish("$SYS/x", b"x") + publish("city", b"all"))
    assert plain.say("") == ""
    assert sure.say("") == publish("city", b"all")


def test_retained_messages():
    broker = MqttBroker()
    sender = joined(broker, "s")
    sender.say(publish("a/1", b"old", retain=1) + publish("a/1", b"new", 1, 2, retain=1))
    sender.say(publish("a/2", b"gone", retain=1) + publish("a/2", b"", retain=1))
    late = joined(broker, "late")
    assert late.say(subscribe("a/#", 1)) == "9003000101" + publish("a/1", b"new", 1, 1, retain=1)
    sender.say(publish("a/1", b"more", retain=1))
    assert late.say("") == publish("a/1", b"more")  # not marked: it comes as it happens


WILL = {"flags": 0x26, "rest": string("status") + string("offline")}


@pytest.mark.parametrize(
    ("how", "published"),
    [("goodbye", False), ("lost", True), ("error", True), ("silence", True), ("other", True)],
)
def test_the_will(how, published):
    broker = MqttBroker()
    watcher = joined(broker, "w")
    watcher.say(subscribe("status"))
    line = joined(broker, "n", keepalive=60, **WILL)
    if how == "goodbye":
        line.say("e000")
    elif how == "lost":
        line.client.lost()
    elif how == "error":
        line.say("0000")
    elif how == "silence":
        line.say("c000", 5 * NS)
        line.client.tick(line.client.due_ns - 1)
        assert (line.client.due_ns, line.ended) == (95 * NS, None)
        line.client.tick(95 * NS)
        assert line.ended == "closed"
    else:
        joined(broker, "n")
        assert line.ended == "closed"
    assert watcher.say("") == (publish("status", b"offline") if published else "")
    late = joined(broker, "late")
    kept = publish("status", b"offline", retain=1) if published else ""
    assert late.say(subscribe("status")) == "9003000100" + kept


def test_a_session_outlives_its_connection():
    broker = MqttBroker()
    line = Line(broker)
    assert line.say(connect("n", 0)) == OK
    line.say(subscribe("a", 1))
    broker.publish("a", b"1", qos=1)
    assert line.say("") == publish("a", b"1", 1, 1)
    line.client.lost()
    broker.publish("a", b"2", qos=1)
    broker.publish("a", b"lost", qos=0)
    again = Line(broker)
    assert again.say(connect("n", 0)) == (
        "20020100" + publish("a", b"1", 1, 1, again=1) + publish("a", b"2", 1, 2)
    )
    assert again.say("40020001" + "40020002") == ""
    again.client.lost()
    assert Line(broker).say(connect("n", 0)) == "20020100"
    assert Line(broker).say(connect("n", 2)) == OK  # a clean one forgets it
    assert Line(broker).say(connect("n", 0)) == OK


def test_faults():
    broker = MqttBroker()
    heard = []
    broker.on_publish = lambda *message: heard.append(message[2])
    line = joined(broker, "n")
    one = publish("a", b"x", 1, 7)
    broker.deaf = True
    assert line.say(one + "c000") == PONG
    broker.deaf, broker.wrong_ids = False, True
    assert line.say(one) == "40020008"
    broker.wrong_ids, broker.ack_delay_ns = False, 5 * NS
    assert line.say(one, 2 * NS) == ""
    broker.ack_delay_ns = 0
    assert line.say(publish("a", b"x", 1, 8), 3 * NS) == ""  # behind the one before
    assert line.client.due_ns == 7 * NS
    line.client.tick(7 * NS)
    assert line.say("") == "4002000740020008"
    broker.say("n", b"garbage")
    assert line.say("") == b"garbage".hex()
    broker.mute = True
    assert line.say(one + "c000") == ""
    assert Line(broker).say(connect("other")) == ""
    broker.drop("n")
    assert line.ended == "reset"
    assert "other" in broker.clients
    broker.drop(reset=False)
    assert not broker.clients
    assert heard == [b"x"] * 5


@given(data=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_give_packets_or_an_error(data, cuts):
    def parse(pieces):
        parser, found = Parser(), []
        try:
            for piece in pieces:
                found += parser.feed(piece)
        except ProtocolError:
            found.append("error")
        return found

    marks = [0, *sorted(cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(marks)]
    whole, cut = parse([data]), parse(pieces)
    # In pieces the packets before an error are known before it.
    assert cut == whole or (whole == ["error"] and cut[-1] == "error")
    line = joined(MqttBroker(), "n")
    for piece in pieces:
        line.client.receive(piece, 0)


class Wire:
    """A client's end on a socket of the machine."""

    def __init__(self, engine, broker, listener):
        self.engine = engine
        self.sock = listener.accept()[0]
        self.client = broker.connected(self, engine.clock.now_ns())
        engine.add_reader(self.sock, self.receive)

    def send(self, data):
        self.sock.sendall(data)

    def receive(self):
        data = self.sock.recv(4096)
        self.client.receive(data, self.engine.clock.now_ns())
        if not data:
            self.client.lost()
            self.close()

    def close(self, *, reset=False):
        if self.sock.fileno() >= 0:
            self.engine.remove_reader(self.sock)
            self.sock.close()


def test_paho_understands_it_and_is_understood():
    engine, broker = Engine(), MqttBroker()
    broker.users = {"u": "p"}
    taken, heard, acked = [], [], []
    broker.on_publish = lambda *message: taken.append(message[:3])
    clients = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        engine.add_reader(listener, lambda: Wire(engine, broker, listener))
        for name in ("giver", "taker"):
            client = Client(CallbackAPIVersion.VERSION2, name, protocol=MQTTv311)
            client.username_pw_set("u", "p")
            client.connect_async("127.0.0.1", listener.getsockname()[1])
            client.loop_start()
            clients.append(client)
        giver, taker = clients
        limit = engine.clock.now_ns() + 20 * NS

        def tick():
            engine.call_later(0.02, tick)  # what paho's threads have done is looked at then

        tick()
        try:
            ready = []
            taker.on_message = lambda *args: heard.append(args[2])
            taker.on_subscribe = lambda *_: ready.append(1)
            giver.on_publish = lambda client, data, mid, *_: acked.append(mid)

            def until(condition):
                engine.run(until=lambda: condition() or engine.clock.now_ns() > limit)
                assert condition()

            until(lambda: len(broker.clients) == 2)
            taker.subscribe("a/#", qos=2)
            until(lambda: ready)
            sent = [giver.publish("a/b", bytes((qos,)), qos=qos, retain=True) for qos in (0, 1, 2)]
            until(lambda: len(heard) == 3 and len(acked) == 3)
        finally:
            for client in clients:
                client.disconnect()
            engine.run(until=lambda: not broker.clients or engine.clock.now_ns() > limit)
            for client in clients:
                client.loop_stop()
            engine.remove_reader(listener)
            engine.close()
    assert taken == [("giver", "a/b", bytes((qos,))) for qos in (0, 1, 2)]
    assert sorted(acked) == [info.mid for info in sent]
    assert [(each.payload, each.qos) for each in heard] == [(b"\0", 0), (b"\1", 1), (b"\2", 1)]

"""`citynode virtual network` and `virtual up --forward`: real sockets, real time."""

import base64
import json
import queue
import socket

import pytest
from citynode.boards import load_board
from citynode.fleet.events import uplink
from citynode.identity import Store
from citynode.phy import crypto
from citynode.phy.keys import Device, KeyRing
from citynode.phy.reader import Reader
from citynode.soak.broker import BenchBroker
from citynode.virtual.air.network.roster import from_file
from citynode.virtual.air.semtech import (
    Lora,
    PullData,
    PullResp,
    PushData,
    RxPacket,
    TxAck,
    decode,
    encode,
)
from citynode.wire import frame
from citynode.wire.schema import CLIMATE
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from workbench import Running, citynode

EUI = bytes.fromhex("0016c001f153a14c")
JOIN_EUI = bytes.fromhex("70b3d57ed0000001")
SECOND_US = 1_000_000
APPLICATION = "17c82e96-be03-4f38-aef3-f83d48582d97"
CHIRPSTACK = ("--application-id", APPLICATION, "--device-profile-id", APPLICATION)
FRAME = frame.encode(CLIMATE, 12, 1_790_000_000, 0, [21.37, 45.02])


@pytest.fixture
def node(state):
    board = load_board("heltec-lora32-v3")
    return Store().issue("24587cc0ff00", board, "street", {"node_id": "kerb", "join_eui": JOIN_EUI})


class Radio:
    """A packet forwarder by hand with a node in reach."""

    def __init__(self, node, port):
        self.node = node
        self.reader = Reader(KeyRing([Device("kerb", node.dev_eui, node.app_key)]))
        self.server = "127.0.0.1", port
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(20)
        self.send(PullData(1, EUI))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, datagram):
        self.socket.sendto(encode(datagram), self.server)

    def up(self, phy, tmst):
        """Forward an uplink; return the downlink that answers it, and take it."""
        self.reader.read(phy)
        packet = RxPacket(tmst, 868_100_000, Lora(7, 125_000), phy, -50, 9.0)
        self.send(PushData(2, EUI, (packet,)))
        while True:
            got = decode(self.socket.recv(65536))
            if isinstance(got, PullResp):
                self.send(TxAck(got.token, EUI))
                return got.packet

    def join(self):
        request = b"\0" + JOIN_EUI[::-1] + self.node.dev_eui[::-1] + b"\x07\0"
        down = self.up(request + crypto.join_mic(self.node.app_key, request), 1000)
        assert (down.tmst, down.freq_hz, down.iq_inverted) == (
            1000 + 5 * SECOND_US,
            868_100_000,
            True,
        )
        return self.reader.read(down.payload).grant

    def data(self, f_cnt, payload, tmst):
        """Send a confirmed uplink; return what answers it."""
        session = self.reader.ring.sessions[-1]
        body = (
            b"\x80" + session.dev_addr.to_bytes(4, "little") + b"\0" + f_cnt.to_bytes(2, "little")
        )
        body += b"\x0a" + crypto.crypt(session.app_skey, True, session.dev_addr, f_cnt, payload)
        body += crypto.data_mic(session.nwk_skey, True, session.dev_addr, f_cnt, body)
        return self.reader.read(self.up(body, tmst).payload)


def listening(run):
    run.until("listening on UDP 127.0.0.1:")
    return int(run.seen[-1].split(":")[2].split(",")[0])


def test_events_as_json_and_on_a_broker(node, tmp_path):
    path = tmp_path / "devices.json"
    assert citynode("export", "-f", "tts-json", "-o", path).code == 0
    messages = queue.Queue()
    heard = Client(CallbackAPIVersion.VERSION2)
    heard.on_message = lambda client, data, message: messages.put((message.topic, message.payload))
    with BenchBroker() as broker:
        heard.connect("127.0.0.1", broker.port)
        heard.loop_start()
        heard.subscribe("application/#")
        run = Running(
            "virtual", "network", "--port", "0", "--devices", path, "--json",
            "--mqtt", f"127.0.0.1:{broker.port}",
        )  # fmt: skip
        try:
            with Radio(node, listening(run)) as radio:
                grant = radio.join()
                assert messages.get(timeout=20)[0].endswith("/event/join")
                topic = messages.get(timeout=20)[0].removesuffix("/event/txack")
                assert topic.endswith(f"/device/{node.dev_eui.hex()}")
                order = {
                    "devEui": node.dev_eui.hex(), "confirmed": True, "fPort": 9,
                    "data": base64.b64encode(b"order").decode(),
                }  # fmt: skip
                for wrong in ("{", [], {**order, "fPort": 0}, {**order, "devEui": "00"}):
                    text = wrong if isinstance(wrong, str) else json.dumps(wrong)
                    heard.publish(f"{topic}/command/down", text)
                heard.publish(f"{topic}/command/down", json.dumps(order))
                while (got := messages.get(timeout=20)) != (
                    f"{topic}/command/down", json.dumps(order).encode()
                ):  # fmt: skip
                    assert got[0] == f"{topic}/command/down"
                run.until("no downlink on", 20)
                for _ in range(3):
                    run.until("no downlink on", 20)
                answer = radio.data(0, FRAME, 9_000_000)
                told = dict(messages.get(timeout=20) for _ in range(2))
        finally:
            run.interrupt()
            done = run.end()
            heard.disconnect()
            heard.loop_stop()
    assert done.code == 0
    assert (answer.plain, answer.message.mtype.label) == (b"order", "confirmed down")
    assert answer.message.flags == ("adr", "ack")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [row["event"] for row in rows] == ["join", "txack", "up", "txack"]
    assert rows[0]["devAddr"] == f"{grant.dev_addr:08x}"
    assert uplink(rows[2]).payload == FRAME
    assert json.loads(told[f"{topic}/event/up"]) == {
        key: value for key, value in rows[2].items() if key != "event"
    }
    assert node.app_key.hex() not in done.out + done.err


def test_people_see_records(node):
    run = Running("virtual", "network", "--port", "0")
    try:
        with Radio(node, listening(run)) as radio:
            radio.join()
            stranger = RxPacket(1, 868_100_000, Lora(7, 125_000), bytes(23), -50)
            radio.send(PushData(9, EUI, (stranger,)))
            run.until("of no device that is known: join request, DevEUI 0000000000000000", 20)
            answer = radio.data(0, FRAME, 9_000_000)
            radio.data(1, b"what is no frame", 19_000_000)
    finally:
        run.interrupt()
        done = run.end()
    assert (done.code, answer.message.flags) == (0, ("adr", "ack"))
    lines = [line[9:] for line in done.out.splitlines()]  # behind the time
    assert lines[0].startswith("kerb join DevAddr ")
    up = lines.index("kerb up FCnt 0, FPort 10, SF7, -50 dBm, 9.0 dB, 1 gateway")
    assert "21.37 °C" in done.out.splitlines()[up + 1]
    assert f"payload {b'what is no frame'.hex()}" in done.out


@pytest.mark.parametrize("form", ["tts-csv", "tts-json", "chirpstack"])
def test_every_import_file_is_a_roster(node, tmp_path, form):
    path = tmp_path / "devices"
    more = CHIRPSTACK if form == "chirpstack" else ()
    assert citynode("export", "-f", form, "-o", path, *more).code == 0
    (device,) = from_file(path)
    assert (device.node_id, device.dev_eui, device.join_eui, device.app_key) == (
        "kerb", node.dev_eui, JOIN_EUI, node.app_key,
    )  # fmt: skip


KEY = "00112233445566778899aabbccddeeff"
DEV_EUI = "0011223344556677"
CSV = f"id;dev_eui;join_eui;app_key\nkerb;{DEV_EUI};;{KEY}\n"


@pytest.mark.parametrize(
    ("content", "mode", "arguments", "told"),
    [
        (
            CSV.replace("0011223344556677", "00"),
            0o600,
            (),
            "device 1: dev_eui is not 16 hex digits",
        ),
        (CSV.replace(KEY, KEY + "0"), 0o600, (), "device 1: app_key is not 32 hex digits"),
        (CSV, 0o644, (), "others can read"),
        (CSV + CSV.splitlines()[1], 0o600, (), "two devices have the DevEUI 0011223344556677"),
        ("", 0o600, (), "holds no device"),
        (f'{{"{KEY}', 0o600, (), "is not valid JSON"),
        (f'[{{"device": "{KEY}"}}]', 0o600, (), "device 1: dev_eui is not 16 hex digits"),
        (CSV, 0o600, ("--mqtt", "nobody"), "--mqtt 'nobody' is not HOST:PORT"),
        (CSV, 0o600, ("--mqtt", "127.0.0.1:1"), "no MQTT broker at 127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_one_line_without_keys(state, tmp_path, content, mode, arguments, told):
    path = tmp_path / "devices"
    path.write_text(content)
    path.chmod(mode)
    done = citynode("virtual", "network", "--port", "0", "--devices", path, *arguments)
    assert (done.code, done.out) == (2, "")
    assert told in done.err.splitlines()[-1]
    assert KEY not in done.err


def test_without_nodes_and_with_a_taken_port(state, node, tmp_path, monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = citynode("virtual", "network", "--port", port)
    assert (done.code, f"cannot listen on UDP 127.0.0.1:{port}" in done.err) == (2, True)
    monkeypatch.setenv("CITYNODE_STATE", str(tmp_path / "empty"))
    done = citynode("virtual", "network", "--port", "0")
    assert (done.code, "no node has a LoRaWAN identity yet" in done.err) == (2, True)


def test_virtual_boards_get_a_gateway(state):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(30)
        run = Running(
            "virtual", "up", "--board", "lilygo-t3-s3", "--json",
            "--forward", f"127.0.0.1:{server.getsockname()[1]}", "--gateway-eui", EUI.hex(),
        )  # fmt: skip
        try:
            assert decode(server.recv(100)).eui == EUI
        finally:
            run.interrupt()
            done = run.end()
    assert done.code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--forward", "1700"), "--forward '1700' is not HOST:PORT"),
        (("--forward", "127.0.0.1:1700", "--gateway-eui", "00"), "--gateway-eui is no EUI"),
    ],
)
def test_a_gateway_that_is_asked_for_wrongly(state, arguments, told):
    done = citynode("virtual", "up", "--board", "lilygo-t3-s3", *arguments)
    assert (done.code, told in done.err) == (2, True)

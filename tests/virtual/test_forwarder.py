"""The virtual gateway on a socket: with a server by hand, and with the bench's own behind it."""

import socket

import pytest
from air_node import JOIN_EUI, Node, WorldTime
from citynode.errors import CitynodeError
from citynode.virtual.air import Air, Gateway, Modulation
from citynode.virtual.air.forwarder import Forwarder
from citynode.virtual.air.network import Network, Profile
from citynode.virtual.air.network.udp import SemtechServer
from citynode.virtual.air.semtech import (
    Fsk,
    Lora,
    PullData,
    PullResp,
    PushAck,
    PushData,
    RxPacket,
    TxAck,
    TxPacket,
    decode,
    encode,
)
from node.lorawan.actions import Deliver, Sent
from radio_bench import MS, NS

EUI = bytes.fromhex("0016c001f153a14c")
SF7 = Lora(7, 125_000)
SECOND_US = 1_000_000


class Server:
    """A network server by hand: what comes is in `got`; `way` is where downlinks go."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()
        self.way = None

    def take(self, kind):
        """Return what has come and is of a kind; acknowledge nothing."""
        got = []
        while True:
            try:
                data, way = self.socket.recvfrom(65536)
            except BlockingIOError:
                return [each for each in got if isinstance(each, kind)]
            got.append(decode(data))
            if isinstance(got[-1], PullData):
                self.way = way

    def send(self, datagram):
        self.socket.sendto(encode(datagram), self.way)


class Site:
    """An air with one forwarded gateway, and the server at the other end."""

    def __init__(self, **options):
        self.time = WorldTime()
        self.air = Air(self.time)
        self.server = Server()
        self.gateway = Gateway(self.air)
        self.forwarder = Forwarder(self.time, self.gateway, self.server.address, EUI, **options)
        self.forwarder.open()
        self.down = []
        self.air.observe(self._note)

    def _note(self, event):
        if event.kind == "sent" and event.frame.sender == "gateway":
            self.down.append(event.frame)

    def uplink(self, payload=b"up", sf=7):
        """Send from a node; return the frame and what was forwarded of it."""
        frame = self.air.transmit("node", payload, Modulation(868_100_000, sf), 14.0)
        self.time.move_to(frame.end_ns)
        (push,) = self.server.take(PushData)
        return frame, push

    def ask(self, token=1, **fields):
        """Ask for a downlink; return what the gateway says to it."""
        self.server.take(PullData)
        packet = TxPacket(**{"freq_hz": 868_100_000, "rate": SF7, "payload": b"down", **fields})
        self.server.send(PullResp(token, packet))
        self.time.advance(0)
        (ack,) = self.server.take(TxAck)
        assert (ack.token, ack.eui) == (token, EUI)
        return ack

    def close(self):
        self.forwarder.close()
        self.server.socket.close()


@pytest.fixture
def make():
    sites = []

    def make_site(**options):
        sites.append(Site(**options))
        return sites[-1]

    yield make_site
    for site in sites:
        site.close()


@pytest.fixture
def site(make):
    return make()


def test_an_uplink_is_forwarded_with_the_counter_at_its_end(make):
    site = make(counter=0xFFFFFFFF - 20_000)
    frame, push = site.uplink()
    (packet,) = push.packets
    assert push.eui == EUI
    assert packet.tmst == (frame.end_ns // 1000 + 0xFFFFFFFF - 20_000) & 0xFFFFFFFF
    assert packet.tmst < 20_000  # it has wrapped
    assert (packet.freq_hz, packet.rate, packet.payload) == (868_100_000, SF7, b"up")
    assert (packet.channel, packet.rf_chain, packet.crc) == (0, 1, 1)
    assert (packet.rssi_dbm, packet.snr_db) == (-92, 12.0)
    assert (packet.time, packet.gps_ms) == (None, None)


def test_a_gateway_with_gps_tells_the_time(make):
    site = make(gps=True)
    frame, push = site.uplink()
    unix_ns = site.time.unix_ns() - site.time.now_ns() + frame.end_ns
    assert push.packets[0].gps_ms == unix_ns // MS - 315_964_800_000 + 18_000
    assert push.packets[0].time.startswith("2026-09-21T14:13:20.0")


def test_it_keeps_the_way_open_and_tells_its_state(site):
    assert len(site.server.take(PullData)) == 1
    site.time.advance(29 * NS)
    assert len(site.server.take(PullData)) == 2  # after 10 and 20 seconds
    for acknowledged in (True, False):
        _, push = site.uplink(b"x")
        if acknowledged:
            site.server.send(PushAck(push.token))
            site.server.send(PushAck(push.token))  # counts once
    tmst = push.packets[0].tmst
    assert site.ask(tmst=tmst + SECOND_US).error == "NONE"
    site.air.corrupt(lambda frame: frame.sender == "node")
    site.air.transmit("node", b"spoilt", Modulation(868_100_000, 7), 14.0)
    site.time.move_to(30 * NS)
    (push,) = site.server.take(PushData)
    assert push.stat.time == "2026-09-21 14:13:50 GMT"
    counts = push.stat.rx, push.stat.rx_ok, push.stat.rx_forwarded, push.stat.downlinks
    assert counts == (3, 2, 2, 1)
    assert push.stat.acknowledged_pct == 50.0
    site.time.advance(30 * NS)
    (push,) = site.server.take(PushData)
    assert (push.stat.rx, push.stat.tx, push.stat.downlinks) == (0, 1, 0)


def test_a_downlink_starts_at_its_microsecond_as_it_was_asked_for(site):
    frame, push = site.uplink()
    ack = site.ask(
        tmst=push.packets[0].tmst + SECOND_US, freq_hz=869_525_000, rate=Lora(12, 125_000, 2),
        power_dbm=27, iq_inverted=True, preamble=10, no_crc=True,
    )  # fmt: skip
    assert ack == TxAck(1, EUI)
    site.time.advance(3 * NS)
    (down,) = site.down
    assert down.start_ns == frame.end_ns // 1000 * 1000 + NS
    wanted = Modulation(
        869_525_000, 12, cr=2, preamble=10, iq_inverted=True, crc=False
    )  # fmt: skip
    assert (down.modulation, down.payload, down.power_dbm) == (wanted, b"down", 27.0)


@pytest.mark.parametrize(
    ("ahead_us", "error"),
    [
        (-SECOND_US, "TOO_LATE"), (0, "TOO_LATE"), (42_500, "TOO_LATE"), (43_000, "NONE"),
        (SECOND_US, "NONE"), (511 * SECOND_US, "NONE"), (513 * SECOND_US, "TOO_EARLY"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("counter", [5_000_000, 0xFFFFFFF0])
def test_late_and_early(make, counter, ahead_us, error):
    site = make(counter=counter)
    assert site.ask(tmst=(counter + ahead_us) & 0xFFFFFFFF).error == error
    site.time.advance(2 * NS)
    assert len(site.down) == (error == "NONE" and ahead_us <= SECOND_US)


@pytest.mark.parametrize(
    ("fields", "error", "warning"),
    [
        ({"freq_hz": 862_000_000}, "TX_FREQ", None),
        ({"freq_hz": 915_000_000}, "TX_FREQ", None),
        ({"rate": Fsk(50000, 25000)}, "TX_FREQ", None),
        ({"power_dbm": -20}, "TX_POWER", None),
        ({"power_dbm": 29}, "NONE", ("TX_POWER", 27)),
        ({"power_dbm": 14}, "NONE", None),
        ({"tmst": None, "gps_ms": 1_474_035_000_000}, "GPS_UNLOCKED", None),
    ],
)
def test_what_a_gateway_cannot_do(site, fields, error, warning):
    ack = site.ask(**{"tmst": 1_000_000, **fields})
    assert (ack.error, ack.warning) == (error, warning and warning[0])
    assert ack.value == (warning and warning[1])


def test_a_time_of_gps(make):
    site = make(gps=True)
    gps_ms = site.time.unix_ns() // MS - 315_964_800_000 + 18_000
    assert site.ask(gps_ms=gps_ms + 500).error == "NONE"
    site.time.advance(NS)
    assert [frame.start_ns for frame in site.down] == [500 * MS]


def test_collisions_and_what_goes_out_at_once(site):
    assert site.ask(tmst=SECOND_US, payload=bytes(100)).error == "NONE"
    assert site.ask(tmst=SECOND_US + 100_000).error == "COLLISION_PACKET"
    assert site.ask(tmst=SECOND_US - 70_000).error == "COLLISION_PACKET"
    assert site.ask(immediately=True).error == "NONE"
    site.time.advance(NS + 10 * MS)
    # The first is on the air, no longer in the queue: this one is lost without a word.
    assert site.ask(tmst=SECOND_US + 60_000).error == "NONE"
    site.time.advance(NS)
    assert [frame.start_ns // MS for frame in site.down] == [80, 1000]
    assert site.forwarder.dropped == 1


def test_it_hears_nothing_while_it_sends(site):
    site.ask(tmst=SECOND_US, rate=Lora(9, 125_000), payload=bytes(50))
    site.time.move_to(1_100 * MS)
    site.air.transmit("node", b"unheard", Modulation(868_300_000, 7), 14.0)
    site.time.advance(NS)
    assert site.server.take(PushData) == []


def test_what_is_no_datagram_does_no_harm(site):
    site.server.take(PullData)
    for raw in (b"", b"\x02\0\0\x03{}", b"\x02\0\0\x09", b"\x02\0\1\x01", bytes(3000)):
        site.server.socket.sendto(raw, site.server.way)
    site.time.advance(0)
    assert site.server.take(TxAck) == []
    assert site.ask(tmst=SECOND_US).error == "NONE"


def test_a_server_that_is_not_there_yet(make):
    site = make()
    site.server.socket.close()
    site.air.transmit("node", b"lost", Modulation(868_100_000, 7), 14.0)
    site.time.advance(25 * NS)
    site.server.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    site.server.socket.bind(site.server.address)
    site.server.socket.setblocking(False)
    site.time.advance(10 * NS)
    assert site.server.take(PullData)


def test_no_such_host():
    time = WorldTime()
    forwarder = Forwarder(time, Gateway(Air(time)), ("no-such-host.invalid", 1700), EUI)
    with pytest.raises(CitynodeError, match=r"no way to no-such-host\.invalid:1700"):
        forwarder.open()


# -- the bench network behind it ----------------------------------------------------------------


class Town:
    """Two forwarded gateways, the bench network behind a socket, a node."""

    def __init__(self):
        self.time = WorldTime()
        self.air = Air(self.time)
        self.network = Network(self.time)
        self.server = SemtechServer(self.time, self.network, port=0)
        self.server.open()
        self.node = Node(self.air)
        self.told = []
        self.network.observe(self.told.append)
        self.device = self.network.register(
            self.node.dev_eui, JOIN_EUI, self.node.app_key, profile=Profile(adr=False)
        )
        address = "127.0.0.1", self.server.port
        self.forwarders = [
            Forwarder(self.time, Gateway(self.air, name), address, name.encode(), counter=counter)
            for name, counter in (("gatewayA", 0xFFF00000), ("gatewayB", 7))
        ]
        for forwarder in self.forwarders:
            forwarder.open()
        self.air.links.place("gatewayA", 300, 0)
        self.air.links.place("gatewayB", 900, 0)
        self.air.links.place("node-0", 0, 0)
        self.down = []
        self.air.observe(self._note)

    def _note(self, event):
        if event.kind == "sent" and event.frame.sender.startswith("gateway"):
            self.down.append(event.frame.sender)

    def of(self, kind):
        return [event.body for event in self.told if event.kind == kind]

    def close(self):
        for closing in (*self.forwarders, self.server):
            closing.close()


@pytest.fixture
def town():
    town = Town()
    yield town
    town.close()


def test_a_node_joins_and_talks_through_two_gateways(town):
    town.node.join()
    town.device.enqueue(b"down", 3, confirmed=True)
    told = town.node.send(b"up", 2, True)
    assert [event.payload for event in told if isinstance(event, Deliver)] == [b"down"]
    assert [event.acked for event in told if isinstance(event, Sent)] == [True]
    town.node.send(b"again", 2)
    assert [len(body["rxInfo"]) for body in town.of("up")] == [2, 2]
    assert [body.get("acknowledged") for body in town.of("ack")] == [True]
    assert town.down == ["gatewayA", "gatewayA"]
    assert [body["gatewayId"] for body in town.of("txack")] == [b"gatewayA".hex()] * 2
    town.time.advance(30 * NS)
    assert town.server.antennas[b"gatewayA"].stat.tx == 2


def test_what_one_gateway_refuses_the_next_one_sends(town):
    town.node.join()
    busy = TxPacket(868_500_000, Lora(12, 125_000), bytes(50), immediately=True)
    best, refusals = town.server.antennas[b"gatewayA"], []

    def keep_busy(uplink):
        town.server.ask(best, busy, town.time.now_ns() + NS, refusals.append)

    town.device.on_uplink = keep_busy
    told = town.node.send(b"up", 2, True)
    assert [event.acked for event in told if isinstance(event, Sent)] == [True]
    assert town.down == ["gatewayA", "gatewayA", "gatewayB"]
    assert refusals == ["NONE"]


def test_a_gateway_that_has_not_asked_gets_no_downlinks(town):
    for forwarder in town.forwarders:
        forwarder.close()
    town.node.do(town.node.mac.join(0))
    packet = RxPacket(1, 868_100_000, SF7, town.node.sent[0][0].payload, -50)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(encode(PushData(5, EUI, (packet,))), ("127.0.0.1", town.server.port))
        town.time.advance(NS)
        assert decode(sender.recv(100)) == PushAck(5)
    (told,) = town.of("log")
    assert told["context"] == {"reason": "NO_ROUTE"}

"""The bench network server, with the firmware's MAC as the device: all on the air, in no time."""

import base64
import functools
import json
import sys
from pathlib import Path

import pytest
from air_node import Bench, Node
from citynode.fleet.events import uplink as read_event
from citynode.phy import crypto
from citynode.virtual.air.network import Heard, Profile, region
from hypothesis import given, settings
from hypothesis import strategies as st
from node.lorawan.actions import Deliver, JoinFailed, Sent
from radio_bench import MS, NS

sys.path.append(str(Path(__file__).parents[1] / "host"))

import outside_tools

QUIET = Profile(adr=False)


@pytest.fixture
def bench():
    return Bench(profile=QUIET).joined()


def delivered(told):
    return [(event.port, event.payload) for event in told if isinstance(event, Deliver)]


def outcome(told):
    (sent,) = [event for event in told if isinstance(event, Sent)]
    return sent


def raw_uplink(bench):
    """Return the bytes of the node's last transmission."""
    return bench.node.sent[-1][0].payload


def again(bench, phy):
    """Let somebody else put bytes on the air as an uplink."""
    modulation = bench.node.sent[-1][0].modulation
    bench.air.transmit("attacker", phy, modulation, 14.0)
    bench.time.advance(5 * NS)


def logs(bench):
    return [body["code"] for body in bench.of("log")]


# -- joins --------------------------------------------------------------------------------------


def test_a_join_grants_a_session_with_the_profile(bench):
    session = bench.device.session or bench.device.joining
    node = bench.node.mac.session
    assert int.from_bytes(node.dev_addr, "little") == session.dev_addr
    assert (node.nwk_key, node.app_key) == (session.nwk_skey, session.app_skey)
    assert node.mask == 0xFF
    (told,) = bench.of("join")
    assert told["devAddr"] == f"{session.dev_addr:08x}"
    assert told["deviceInfo"]["devEui"] == bench.node.dev_eui.hex()


@pytest.mark.parametrize(("delay_s", "offset", "rx2_rate"), [(1, 0, 0), (5, 2, 3), (15, 5, 5)])
def test_both_windows_of_any_profile_are_hit(delay_s, offset, rx2_rate):
    bench = Bench(profile=Profile(delay_s, offset, rx2_rate, adr=False)).joined()
    for window in (1, 2):
        bench.device.craft(f_port=7, payload=bytes((window,)), window=window)
        assert delivered(bench.send(b"x", 1)) == [(7, bytes((window,)))]
    first, second = (frame.start_ns for frame in bench.down()[-2:])
    ends = [sent.end_ns for sent, _ in bench.node.sent[-2:]]
    assert (first - ends[0], second - ends[1]) == (delay_s * NS, (delay_s + 1) * NS)


def test_a_device_that_is_refused_joins_when_it_may(bench):
    bench.device.accept_joins = False
    before = bench.device.dev_nonce
    bench.node.do(bench.node.mac.join(bench.time.now_ns() // MS, True))
    bench.time.advance(60 * NS)
    assert bench.node.of(JoinFailed)
    assert bench.device.dev_nonce > before
    bench.device.accept_joins = True
    bench.node.settle()
    assert len(bench.of("join")) == 2
    assert bench.device.joining.f_cnt_up == -1


def test_nonces_go_up_and_an_old_request_gets_nothing(bench):
    request = bench.node.sent[0][0].payload
    again(bench, request)
    (told,) = bench.of("log")
    assert (told["level"], told["code"]) == ("ERROR", "OTAA")
    assert (len(bench.down()), bench.device.join_nonce) == (1, 1)
    bench.node.do(bench.node.mac.join(bench.time.now_ns() // MS, True))
    bench.node.settle()
    assert (bench.device.join_nonce, bench.device.dev_nonce) == (2, 1)
    assert bench.send(b"x", 1)
    assert bench.device.session.dev_addr == int.from_bytes(
        bench.node.mac.session.dev_addr, "little"
    )


@pytest.mark.parametrize("spoil", ["mic", "join_eui", "stranger", "short"])
def test_a_wrong_join_request_gets_nothing(bench, spoil):
    request = bytearray(bench.node.sent[0][0].payload)
    request[17] += 1
    at = {"mic": 22, "join_eui": 1, "stranger": 9, "short": 0}[spoil]
    if spoil == "short":
        request.pop()
    else:
        request[at] ^= 1
    again(bench, bytes(request))
    assert len(bench.down()) == 1
    assert logs(bench) == (["OTAA"] if spoil in ("mic", "join_eui") else [])
    assert bench.network.strangers == (spoil in ("stranger", "short"))


def test_the_old_session_lives_until_the_new_one_is_used(bench):
    bench.send(b"x", 1)
    old = bench.device.session
    bench.device.craft(raw=b"\x20" + bytes(16))  # an accept that nobody can read
    bench.node.do(bench.node.mac.join(bench.time.now_ns() // MS, True))
    bench.time.advance(10 * NS)
    bench.node.do(bench.node.mac.cancel(bench.time.now_ns() // MS))
    assert outcome(bench.send(b"y", 1, True)).acked
    assert bench.device.session is old
    assert len(bench.of("join")) == 1


# -- uplinks ------------------------------------------------------------------------------------


def test_an_uplink_is_told_once_with_all_gateways_the_best_first():
    bench = Bench(gateways=3, profile=QUIET)
    for number, distance in enumerate((1000, 200, 600)):
        bench.air.links.place(f"gateway-{number}", distance, 0)
    bench.air.links.place("node-0", 0, 0)
    bench.joined().send(b"hello", 5, True)
    (told,) = bench.of("up")
    euis = [bench.network.antennas[number].eui.hex() for number in (1, 2, 0)]
    assert [info["gatewayId"] for info in told["rxInfo"]] == euis
    assert {frame.sender for frame in bench.down()} == {"gateway-1"}
    assert base64.b64decode(told["data"]) == b"hello"
    assert (told["fPort"], told["dr"], told["confirmed"]) == (5, 5, True)
    assert "fCnt" not in told  # as ChirpStack leaves out what is 0
    event = read_event(json.loads(json.dumps(told)))
    assert (event.payload, event.dev_eui, event.f_cnt) == (b"hello", bench.node.dev_eui.hex(), 0)


def test_a_repetition_is_answered_again_and_told_once(bench):
    bench.device.command("LinkADRReq", data_rate=5, tx_power=0, ch_mask=0xFF, nb_trans=3)
    bench.send(b"so that it repeats", 1)
    bench.air.lose(lambda frame: frame.sender == "gateway-0")
    told = bench.send(b"once", 2, True)
    assert (outcome(told).acked, outcome(told).transmissions) == (True, 2)
    assert len(bench.of("up")) == 2
    assert logs(bench) == ["UPLINK_F_CNT_RETRANSMISSION"]


def test_replays_and_forgeries_are_refused(bench):
    bench.send(b"one", 1, True)
    old = raw_uplink(bench)
    bench.send(b"two", 1, True)
    sent = len(bench.down())
    again(bench, old)
    forged = raw_uplink(bench)[:-1] + b"\0"
    again(bench, forged)
    again(bench, b"\x40" + bytes(4) + forged[5:])
    assert logs(bench) == ["UPLINK_F_CNT_RESET", "UPLINK_MIC"]
    assert bench.network.strangers == 1
    assert (len(bench.of("up")), len(bench.down())) == (2, sent)
    last = raw_uplink(bench)
    for _ in range(17):
        again(bench, last)
    # As often as NbTrans allows, and no more.
    assert (len(bench.of("up")), len(bench.down())) == (2, sent + 15)


def test_the_counter_goes_beyond_16_bits(bench):
    bench.send(b"x", 1)
    for session in (bench.node.mac.session, bench.device.session):
        name = "fcnt_up" if hasattr(session, "fcnt_up") else "f_cnt_up"
        setattr(session, name, 0xFFFE - (name == "f_cnt_up"))
    bench.node.mac.session.fcnt_limit = 0xFFFE
    for _ in range(4):
        assert outcome(bench.send(b"x", 1, True)).acked
    assert [body["fCnt"] for body in bench.of("up")[1:]] == [0xFFFE, 0xFFFF, 0x10000, 0x10001]
    again(bench, raw_uplink(bench)[:6] + b"\0\0" + raw_uplink(bench)[8:])
    assert logs(bench) == ["UPLINK_MIC"]


# -- downlinks ----------------------------------------------------------------------------------


def test_the_queue_goes_out_one_by_one_and_is_acknowledged(bench):
    first = bench.device.enqueue(b"plain", 3)
    second = bench.device.enqueue(b"sure", 4, confirmed=True)
    third = bench.device.enqueue(b"unheard", 5, confirmed=True)
    assert delivered(bench.send(b"a", 1)) == [(3, b"plain")]
    assert delivered(bench.send(b"b", 1)) == [(4, b"sure")]
    bench.air.lose(lambda frame: frame.sender == "gateway-0")
    assert delivered(bench.send(b"c", 1)) == []
    bench.send(b"d", 1)
    acks = [(body["queueItemId"], body.get("acknowledged", False)) for body in bench.of("ack")]
    assert acks == [(second, True), (third, False)]
    items = [body.get("queueItemId") for body in bench.of("txack")]
    assert items == [None, first, second, third]
    assert [body.get("fCntDown", 0) for body in bench.of("txack")[1:]] == [0, 1, 2]


def test_what_does_not_fit_is_refused_or_waits():
    bench = Bench(profile=QUIET, adr=False).joined()
    bench.node.mac.use_rate(0)
    bench.device.enqueue(bytes(52), 9)
    bench.device.enqueue(bytes(51), 10)
    for _ in range(4):
        bench.device.command("DevStatusReq")
    bench.send(b"x", 1)  # 51 bytes and four commands are too much at once
    assert logs(bench) == ["DOWNLINK_PAYLOAD_SIZE"]
    assert delivered(bench.send(b"x", 1)) == [(10, bytes(51))]
    assert len(bench.of("status")) == 1


def test_one_gateway_sends_one_frame_at_a_time():
    bench = Bench(profile=QUIET).joined()
    other = Node(bench.air, 1)
    bench.register(other, QUIET)
    other.join()
    before = len(bench.down())
    for node in (bench.node, other):
        node.do(node.mac.send(bench.time.now_ns() // MS, 1, b"at once", True))
    bench.time.advance(10 * NS)
    assert [node.of(Sent)[-1].acked for node in (bench.node, other)] == [True, True]
    first, second = bench.down()[before:]  # RX1 of the one, and for the other there is only RX2
    assert second.start_ns >= first.end_ns + 42 * MS
    assert second.modulation.freq_hz == 869_525_000 != first.modulation.freq_hz


def test_a_gateway_keeps_its_duty_cycle():
    bench = Bench(profile=QUIET, network={"duty_cycle": True}).joined()
    for number in range(300):
        bench.device.enqueue(bytes(200), 1)
        bench.send(b"x", 1)
        bench.time.advance(NS)
        if number > 20 and "DOWNLINK_GATEWAY" in logs(bench):
            break
    (told,) = bench.of("log")
    assert told["context"] == {"reason": "DUTY_CYCLE_OVERFLOW"}
    assert len(bench.device.queue) == 1
    by_band = {}
    for frame in bench.down():
        band = frame.modulation.freq_hz < 868_000_000
        by_band[band] = by_band.get(band, 0) + frame.end_ns - frame.start_ns
    assert max(by_band.values()) <= 36 * NS
    assert max(by_band.values()) > 35 * NS


def test_silences():
    bench = Bench(profile=QUIET).joined()
    bench.device.silence = 1
    assert not outcome(bench.send(b"a", 1)).heard
    assert outcome(bench.send(b"b", 1, True)).acked
    bench.network.mute(20)
    assert not outcome(bench.send(b"c", 1, True)).acked
    bench.network.black_out(20)
    before = len(bench.of("up"))
    bench.send(b"d", 1)
    assert len(bench.of("up")) == before
    bench.time.advance(20 * NS)
    assert outcome(bench.send(b"e", 1, True)).acked
    bench.device.wrong_mics = 1
    assert not outcome(bench.send(b"f", 1, True)).acked
    assert outcome(bench.send(b"g", 1, True)).acked


def test_by_hand(bench):
    bench.device.craft(f_port=7, payload=b"by hand", f_opts=b"\x06", confirmed=True)
    assert delivered(bench.send(b"a", 1)) == [(7, b"by hand")]
    bench.device.craft(raw=b"\xe0 what nobody knows")
    assert not outcome(bench.send(b"b", 1)).heard
    assert [command.name for command in bench.device.uplinks[-1].commands] == ["DevStatusAns"]
    bench.device.craft(f_port=7, payload=b"old", f_cnt=0)
    assert delivered(bench.send(b"c", 1)) == []
    bench.device.craft(f_port=7, payload=b"bad", wrong_mic=True)
    assert delivered(bench.send(b"d", 1)) == []
    bench.device.craft(f_port=7, payload=b"good")
    assert delivered(bench.send(b"e", 1)) == [(7, b"good")]


def test_an_uplink_can_be_answered_at_once(bench):
    bench.device.on_uplink = lambda uplink: bench.device.enqueue(uplink.payload[::-1], 2)
    assert delivered(bench.send(b"abc", 1)) == [(2, b"cba")]


# -- whatever comes -----------------------------------------------------------------------------


@functools.cache
def world():
    """Return one bench for all the frames: it takes them one after the other."""
    bench = Bench(profile=QUIET, network={"duty_cycle": False}).joined()
    bench.send(b"x", 1)
    return bench


@given(
    st.binary(max_size=60),
    st.booleans(),
    st.integers(0, 255),
    st.integers(0, 6),
    st.sampled_from((0, 1, 2)),
)
@settings(max_examples=300, deadline=None)
def test_any_frame_is_taken_or_left(body, confirmed, f_ctrl, rate, how):
    """`how`: bytes as they are, a frame of a known device with a wrong MIC, with a right one."""
    bench = world()
    session = bench.device.session
    phy = body
    if how:
        f_cnt = (session.f_cnt_up + 1) & 0xFFFF
        head = bytes((0x80 if confirmed else 0x40,)) + session.dev_addr.to_bytes(4, "little")
        phy = head + bytes((f_ctrl,)) + f_cnt.to_bytes(2, "little") + body
        mic = crypto.data_mic(session.nwk_skey, True, session.dev_addr, session.f_cnt_up + 1, phy)
        phy += mic if how == 2 else bytes(4)
    sf, bw_hz = region.RATES[rate]
    before, heard = len(bench.down()), len(bench.of("up"))
    antenna, now = bench.network.antennas[0], bench.time.now_ns()
    bench.network.hear(Heard(antenna, phy, 868_100_000, sf, bw_hz, 1, -80, 5.0, now, now))
    bench.time.advance(10 * NS)
    known = how == 2 and f_ctrl & 0x0F <= len(body)
    assert len(bench.of("up")) - heard <= known
    for frame in bench.down()[before:]:
        m = frame.modulation
        room = region.MAX_PAYLOAD[region.RATES.index((m.sf, m.bw_hz))]
        assert known
        assert len(frame.payload) <= room + 13


# -- an independent reader ----------------------------------------------------------------------


def test_lora_packet_reads_what_the_network_sends(bench):
    bench.device.enqueue(b"for the application", 10, confirmed=True)
    bench.device.command("DevStatusReq")
    bench.device.enqueue(b"", 11)
    bench.send(b"a", 1, True)
    bench.send(b"b", 1)
    bench.device.session.f_cnt_down = bench.node.mac.session.fcnt_down = 0x20001
    for _ in range(16):
        bench.device.command("DevStatusReq")
    bench.send(b"c", 1, True)
    session, (accept, *data) = bench.device.session, bench.down()
    keys = {"nwk": session.nwk_skey.hex(), "app": session.app_skey.hex()}
    jobs = [
        {"accept": accept.payload.hex(), "key": bench.node.app_key.hex()},
        *({"phy": frame.payload.hex(), "msb": "0000", **keys} for frame in data[:2]),
        {"phy": data[2].payload.hex(), "msb": "0200", **keys},
    ]
    script = Path(__file__).with_name("lora_packet_down.js")
    grant, *read = json.loads(outside_tools.run(script, stdin=json.dumps(jobs)))
    address = f"{session.dev_addr:08x}"
    assert grant == {
        "type": "Join Accept", "good": True, "nonce": "000001", "addr": address, "delay": 1,
        "cflist": "184f84e85684b85e84886684586e8400",
    }  # fmt: skip
    common = {"good": True, "addr": address, "options": ""}
    assert read == [
        {**common, "type": "Confirmed Data Down", "fcnt": 0, "ack": True, "pending": True,
         "options": "06", "port": 10, "payload": b"for the application".hex()},
        {**common, "type": "Unconfirmed Data Down", "fcnt": 1, "ack": False, "pending": False,
         "port": 11, "payload": ""},
        {**common, "type": "Unconfirmed Data Down", "fcnt": 1, "ack": True, "pending": False,
         "port": 0, "payload": "06" * 16},
    ]  # fmt: skip


def test_keys_show_nowhere(bench):
    bench.send(b"x", 1)
    said = repr([bench.device, bench.device.session, bench.network, bench.told])
    for secret in (bench.node.app_key, bench.device.session.nwk_skey):
        assert secret.hex() not in said
        assert repr(secret) not in said


def test_the_example_of_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "network.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    names = {}
    exec(compile(code, "docs/network.md", "exec"), names)
    names["engine"].close()
    kinds = [kind for kind, _ in names["events"]]
    assert kinds == ["join", "txack"]

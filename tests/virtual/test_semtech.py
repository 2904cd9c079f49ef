"""Semtech's UDP protocol: its own examples, both ways, and whatever bytes there may be."""

import base64
import json

import pytest
from citynode.virtual.air.jit import ROOM, TX_ADVANCE_US, TX_LEAD_US, JitQueue, Slot
from citynode.virtual.air.semtech import (
    Fsk,
    Lora,
    PullAck,
    PullData,
    PullResp,
    PushAck,
    PushData,
    RxPacket,
    SemtechError,
    Stat,
    TxAck,
    TxPacket,
    decode,
    encode,
)
from hypothesis import given, settings
from hypothesis import strategies as st

EUI = bytes.fromhex("aa555a0000000101")

# Chapters 4 and 6 of PROTOCOL.TXT (Lora-net/packet_forwarder): payloads of 43 letters, no padding.
RXPK = """{"rxpk":[
 {"time":"2013-03-31T16:21:17.528002Z","tmst":3512348611,"chan":2,"rfch":0,"freq":866.349812,
  "stat":1,"modu":"LORA","datr":"SF7BW125","codr":"4/6","rssi":-35,"lsnr":5.1,"size":32,
  "data":"-DS4CGaDCdG+48eJNM3Vai-zDpsR71Pn9CPA9uCON84"},
 {"time":"2013-03-31T16:21:17.530974Z","tmst":3512348514,"chan":9,"rfch":1,"freq":869.1,
  "stat":1,"modu":"FSK","datr":50000,"rssi":-75,"size":16,"data":"VEVTVF9QQUNLRVRfMTIzNA=="},
 {"time":"2013-03-31T16:21:17.532038Z","tmst":3316387610,"chan":0,"rfch":0,"freq":863.00981,
  "stat":1,"modu":"LORA","datr":"SF10BW125","codr":"4/7","rssi":-38,"lsnr":5.5,"size":32,
  "data":"ysgRl452xNLep9S1NTIg2lomKDxUgn3DJ7DE+b00Ass"}]}"""
STAT = """{"stat":{"time":"2014-01-12 08:59:28 GMT","lati":46.24000,"long":3.25230,"alti":145,
 "rxnb":2,"rxok":2,"rxfw":2,"ackr":100.0,"dwnb":2,"txnb":2}}"""
TXPK = """{"txpk":{"imme":true,"freq":864.123456,"rfch":0,"powe":14,"modu":"LORA",
 "datr":"SF11BW125","codr":"4/6","ipol":false,"size":32,
 "data":"H3P3N2i9qc4yt7rK7ldqoeCVJGBybzPY5h1Dd7P7p8v"}}"""
TXPK_FSK = """{"txpk":{"imme":true,"freq":861.3,"rfch":0,"powe":12,"modu":"FSK","datr":50000,
 "fdev":3000,"size":32,"data":"H3P3N2i9qc4yt7rK7ldqoeCVJGBybzPY5h1Dd7P7p8v"}}"""

UP = decode(b"\x02\x12\x34\x00" + EUI + RXPK.encode())
DOWN = base64.b64decode("H3P3N2i9qc4yt7rK7ldqoeCVJGBybzPY5h1Dd7P7p8s=")


def test_the_uplinks_of_the_specification():
    one, two, three = UP.packets
    assert (UP.token, UP.eui, UP.stat) == (0x1234, EUI, None)
    assert (one.tmst, one.freq_hz, one.rate) == (3512348611, 866_349_812, Lora(7, 125_000, 2))
    assert (one.rssi_dbm, one.snr_db, one.channel, one.crc) == (-35, 5.1, 2, 1)
    assert one.payload[:4].hex() == "f834b808"
    assert (two.rate, two.payload, two.rf_chain) == (Fsk(50000), b"TEST_PACKET_1234", 1)
    assert (three.freq_hz, three.rate, len(three.payload)) == (
        863_009_810,
        Lora(10, 125_000, 3),
        32,
    )


def test_the_state_of_the_specification():
    told = decode(b"\x01\0\0\x00" + EUI + STAT.encode())
    assert told.stat == Stat("2014-01-12 08:59:28 GMT", 2, 2, 2, 100.0, 2, 2, 46.24, 3.2523, 145)
    assert (told.version, told.packets) == (1, ())


@pytest.mark.parametrize(
    ("text", "freq_hz", "rate", "power"),
    [(TXPK, 864_123_456, Lora(11, 125_000, 2), 14), (TXPK_FSK, 861_300_000, Fsk(50000, 3000), 12)],
)
def test_the_downlinks_of_the_specification(text, freq_hz, rate, power):
    packet = decode(b"\x02\0\x07\x03" + text.encode()).packet
    assert (packet.freq_hz, packet.rate, packet.power_dbm) == (freq_hz, rate, power)
    assert (packet.immediately, packet.tmst, packet.iq_inverted) == (True, None, False)
    assert (packet.no_crc, packet.preamble) == (False, None)
    assert packet.payload == DOWN


TX = TxPacket(868_100_000, Lora(7, 125_000), b"down", tmst=1 << 31, power_dbm=14, iq_inverted=True)


@pytest.mark.parametrize(
    ("datagram", "raw"),
    [  # headers as chapters 3 and 5 have them
        (PushAck(0xABCD), b"\x02\xab\xcd\x01"),
        (PullAck(0xABCD, version=1), b"\x01\xab\xcd\x04"),
        (PullData(1, EUI), b"\x02\x00\x01\x02" + EUI),
        (TxAck(1, EUI), b"\x02\x00\x01\x05" + EUI),
        (TxAck(1, EUI, "TOO_LATE"),
         b"\x02\x00\x01\x05" + EUI + b'{"txpk_ack":{"error":"TOO_LATE"}}'),
        (TxAck(1, EUI, warning="TX_POWER", value=20),
         b"\x02\x00\x01\x05" + EUI + b'{"txpk_ack":{"warn":"TX_POWER","value":20}}'),
        (PushData(1, EUI, (RxPacket(7, 868_300_000, Lora(12, 125_000), b"up", -120, -7.5),)),
         b"\x02\x00\x01\x00" + EUI + b'{"rxpk":[{"tmst":7,"chan":0,"rfch":0,"freq":868.3,"stat":1,'
         b'"modu":"LORA","datr":"SF12BW125","codr":"4/5","lsnr":-7.5,"rssi":-120,"size":2,'
         b'"data":"dXA="}]}'),
        (PullResp(1, TX),
         b'\x02\x00\x01\x03{"txpk":{"imme":false,"tmst":2147483648,"freq":868.1,"rfch":0,'
         b'"powe":14,"modu":"LORA","datr":"SF7BW125","codr":"4/5","ipol":true,"ncrc":false,'
         b'"size":4,"data":"ZG93bg=="}}'),
    ],
)  # fmt: skip
def test_bytes_both_ways(datagram, raw):
    assert encode(datagram) == raw
    assert decode(raw) == datagram


@pytest.mark.parametrize(
    ("raw", "datagram"),
    [  # as another implementation writes them: pamoja-gateway 0.2.0 of PyPI
        (b"\x02\x12\x34\x00" + EUI + b'{"rxpk":[{"chan":0,"codr":"4/5","data":"ZnJhbWU=",'
         b'"datr":"SF9BW125","freq":868.1,"lsnr":-3.2,"modu":"LORA","rfch":0,"rssi":-97,"size":5,'
         b'"stat":1,"tmst":3512348611}],"stat":{"ackr":100.0,"dwnb":0,"rxfw":1,"rxnb":2,"rxok":1,'
         b'"txnb":0}}',
         PushData(0x1234, EUI, (
             RxPacket(3512348611, 868_100_000, Lora(9, 125_000), b"frame", -97, -3.2),
         ), Stat("", 2, 1, 1, 100.0))),
        (b'\x02\x00\xab\x03{"txpk":{"codr":"4/5","data":"YW5zd2Vy","datr":"SF9BW125","freq":868.1,'
         b'"imme":false,"ipol":true,"modu":"LORA","powe":14,"rfch":0,"size":6,"tmst":3513348611}}',
         PullResp(0xAB, TxPacket(868_100_000, Lora(9, 125_000), b"answer", tmst=3513348611,
                                 power_dbm=14, iq_inverted=True))),
        (b"\x02\x00\xab\x05" + EUI + b'{"txpk_ack":{"error":"NONE"}}', TxAck(0xAB, EUI)),
        (b"\x02\x7a\x01\x02" + EUI, PullData(0x7A01, EUI)),
    ],
)  # fmt: skip
def test_what_others_write(raw, datagram):
    assert decode(raw) == datagram


def test_a_tx_ack_may_say_that_nothing_is_wrong():
    for rest in (b"", b"\0", b'{"txpk_ack":{"error":"NONE"}}'):
        assert decode(b"\x02\0\x01\x05" + EUI + rest) == TxAck(1, EUI)


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"\x02\0\0", b"\x03\0\0\x01", b"\0\0\0\x01", b"\x02\0\0\x06",
        b"\x02\0\0\x02" + EUI[:7],
        b"\x02\0\0\x00" + EUI, b"\x02\0\0\x00" + EUI + b"[]", b"\x02\0\0\x00" + EUI + b"{",
        b"\x02\0\0\x00" + EUI + b"\xff{}", b"\x02\0\0\x00" + EUI + b"[" * 50000,
        b"\x02\0\0\x00" + EUI + b'{"rxpk":{}}', b"\x02\0\0\x00" + EUI + b'{"rxpk":[1]}',
        b"\x02\0\0\x00" + EUI + b'{"stat":[]}', b"\x02\0\0\x03{}", b"\x02\0\0\x03", bytes(70000),
    ],
)  # fmt: skip
def test_what_is_no_datagram(raw):
    with pytest.raises(SemtechError):
        decode(raw)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tmst", 1 << 32), ("tmst", -1), ("tmst", 0.5), ("tmst", True), ("tmst", None),
        ("freq", "868.1"), ("freq", 5000), ("modu", "LR-FHSS"), ("datr", "SF13BW125"),
        ("datr", "SF7BW126"), ("datr", 50000), ("codr", "4/9"), ("codr", None), ("size", 5),
        ("size", None), ("data", "!"), ("data", 1), ("data", "AAAAA"), ("imme", 1), ("ipol", "yes"),
        ("powe", 1e9), ("prea", -1), ("ncrc", 0), ("rfch", 300),
    ],
)  # fmt: skip
def test_fields_that_are_wrong(key, value):
    packet = json.loads(encode(PullResp(0, TX))[4:])["txpk"] | {key: value}
    if key == "tmst" and value is None:
        packet["imme"] = False
    with pytest.raises(SemtechError):
        decode(b"\x02\0\0\x03" + json.dumps({"txpk": packet}).encode())


LORA = st.builds(
    Lora, st.integers(5, 12), st.sampled_from((125_000, 250_000, 500_000)), st.integers(1, 4)
)
HERTZ = st.integers(1, 2_500_000_000)
U32 = st.integers(0, 0xFFFFFFFF)
PACKETS = st.builds(
    RxPacket, U32, HERTZ, LORA | st.builds(Fsk, st.integers(1, 300_000)), st.binary(max_size=255),
    st.integers(-140, 0), st.just(0.0), st.sampled_from((-1, 0, 1)),
)  # fmt: skip
DOWNLINKS = st.builds(
    TxPacket, HERTZ, LORA | st.builds(Fsk, st.integers(1, 300_000), st.integers(0, 99_999)),
    st.binary(max_size=255), st.just(True), st.none() | U32, st.none() | U32,
    st.none() | st.integers(-10, 30), st.integers(0, 1), st.booleans(),
    st.none() | st.integers(0, 65535), st.booleans(),
)  # fmt: skip
TOKENS, EUIS = st.integers(0, 0xFFFF), st.binary(min_size=8, max_size=8)


@given(
    st.builds(PushData, TOKENS, EUIS, st.lists(PACKETS, max_size=3).map(tuple))
    | st.builds(PullResp, TOKENS, DOWNLINKS)
    | st.builds(TxAck, TOKENS, EUIS, st.sampled_from(("NONE", "TX_FREQ", "GPS_UNLOCKED")))
)
@settings(max_examples=150, deadline=None)
def test_everything_comes_back(datagram):
    assert decode(encode(datagram)) == datagram


FIELDS = st.sampled_from(
    (
        "rxpk", "stat", "txpk", "txpk_ack", "error", "warn", "value", "tmst", "tmms", "time",
        "freq", "chan", "rfch", "modu", "datr", "codr", "rssi", "lsnr", "size", "data", "imme",
        "powe", "ipol", "prea", "ncrc", "fdev", "rxnb", "ackr", "lati", "alti",
    )
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=12,
)


@given(
    st.integers(0, 6), st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode())
)
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_a_datagram_or_an_error(kind, rest):
    for raw in (rest, b"\x02\0\0" + bytes((kind,)) + (b"" if kind == 3 else EUI) + rest):
        try:
            datagram = decode(raw)
        except SemtechError:
            continue
        assert decode(encode(datagram)).token == datagram.token


# -- just in time -------------------------------------------------------------------------------

AIRTIME_US = 50_000


@pytest.mark.parametrize(
    ("now", "ahead", "want"),
    [
        (0, 1_000_000, None),
        (0xFFFFFF00, 1_000_000, None),  # over the end of the counter
        (0, TX_LEAD_US, "TOO_LATE"),
        (0, TX_LEAD_US + 1, None),
        (0, 0, "TOO_LATE"),
        (5_000_000, -1_000_000, "TOO_LATE"),
        (0, -1, "TOO_LATE"),
        (0, TX_ADVANCE_US, None),
        (0, TX_ADVANCE_US + 1, "TOO_EARLY"),
    ],
)
def test_times_that_a_gateway_takes(now, ahead, want):
    got = JitQueue().enqueue(now, now + ahead & 0xFFFFFFFF, AIRTIME_US)
    assert got == want if want else isinstance(got, Slot)


def test_packets_keep_clear_of_each_other():
    queue = JitQueue()
    first = queue.enqueue(0, 1_000_000, AIRTIME_US)
    least = AIRTIME_US + TX_LEAD_US
    for apart in (0, 1, least, -1, -least):
        assert queue.enqueue(0, 1_000_000 + apart, AIRTIME_US) == "COLLISION_PACKET"
    assert isinstance(queue.enqueue(0, 1_000_000 + least + 1, AIRTIME_US), Slot)
    soon = queue.enqueue_soon(900_000, AIRTIME_US)
    assert soon.start_us > 1_000_000 + 2 * least
    queue.take(first)
    assert isinstance(queue.enqueue(0, 1_000_000, AIRTIME_US), Slot)
    assert queue.enqueue_soon(0, AIRTIME_US).start_us < 100_000


def test_a_full_queue_takes_no_more():
    queue = JitQueue()
    taken = [queue.enqueue(0, 1_000_000 * (n + 1), AIRTIME_US) for n in range(ROOM + 1)]
    assert taken[-1] == "COLLISION_PACKET"
    assert all(isinstance(slot, Slot) for slot in taken[:-1])

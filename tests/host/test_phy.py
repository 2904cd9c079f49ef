"""LoRaWAN messages on the host: public vectors, another implementation's frames, any bytes."""

import base64
import json
import random
from contextlib import suppress

import outside_tools
import pytest
from citynode.phy import crypto, mac
from citynode.phy.keys import Device, KeyRing, Session
from citynode.phy.message import MType, PhyError, parse
from citynode.phy.reader import Mic, Reader
from citynode.wire import frame
from citynode.wire.schema import CLIMATE

MAC = "24587cc0ffee"
ONES, TWOS = bytes([1] * 16), bytes([2] * 16)
COUNTED = bytes(range(1, 17))
FRAME = frame.encode(CLIMATE, 12345, 1750000000, 1, [21.37, 48.2])


def phy(text):
    return bytes.fromhex(text)


def ring(app_key=None, nwk_skey=None, app_skey=None):
    devices = [] if app_key is None else [Device("n", None, app_key)]
    sessions = [] if nwk_skey is app_skey is None else [Session("n", None, nwk_skey, app_skey)]
    return KeyRing(devices, sessions)


# RFC 4493 section 4, examples 1 to 4.
@pytest.mark.parametrize(
    ("size", "mac"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_cmac(size, mac):
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    data = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    assert crypto.cmac(key, data[:size]).hex() == mac


LORA_PACKET = {
    "nwk_skey": bytes.fromhex("44024241ed4ce9a68c6a8bc055233fd3"),
    "app_skey": bytes.fromhex("ec925802ae430ca77fd3dd73cb2cc588"),
}
LORA_PACKET_APP_KEY = bytes.fromhex("98929b92c49edba9676d646d3b612456")
LORA_RS = {"nwk_skey": TWOS, "app_skey": ONES}

# Name of the public source, message, keys, and what it holds. lora-packet: the tests of npm's
# lora-packet (mic, parse, decrypt). brocaar: phypayload_test.go of brocaar/lorawan. lora-rs:
# lorawan-encoding/tests/lorawan.rs of lora-rs.
DATA = [
    ("lora-packet", "40f17dbe4900020001954378762b11ff0d", LORA_PACKET,
     {"phy": "unconfirmed_up", "dev_addr": "49be7df1", "f_cnt": 2, "f_port": 1, "f_ctrl": [],
      "payload": b"test".hex(), "encrypted": "95437876"}),
    ("lora-packet, empty", "40f17dbe49000300012a3518af", LORA_PACKET,
     {"phy": "unconfirmed_up", "f_cnt": 3, "f_port": 1, "payload": "", "encrypted": ""}),
    ("lora-packet, large",
     "40f17dbe490004000155332de41a11adc072553544429ce7787707d1c316e027e7e5e334263376affb8aa17ad30075"
     "293f28dea8a20af3c5e7", LORA_PACKET,
     {"f_cnt": 4, "payload": b"The quick brown fox jumps over the lazy dog.".hex()}),
    ("lora-packet, ack", "60f17dbe4920020001f9d65d27", LORA_PACKET,
     {"phy": "unconfirmed_down", "f_ctrl": ["ack"], "f_cnt": 2, "payload": "", "mac": []}),
    ("brocaar and lora-rs", base64.b64decode("QAQDAgGAAQABppRkJhXWw7WC").hex(), LORA_RS,
     {"phy": "unconfirmed_up", "dev_addr": "01020304", "f_ctrl": ["adr"], "f_cnt": 1, "f_port": 1,
      "payload": b"hello".hex()}),
    ("brocaar, confirmed", bytes((128, 4, 3, 2, 1, 0, 0, 0, 10, 226, 100, 212, 247, 181, 106, 14,
                                  117)).hex(), {"nwk_skey": COUNTED, "app_skey": COUNTED[::-1]},
     {"phy": "confirmed_up", "dev_addr": "01020304", "f_cnt": 0, "f_port": 10,
      "payload": "01020304"}),
    ("lora-rs, 32-bit counter", "a00403020180ff2a2a0af1a36a05d0125f885d881d49e1", LORA_RS,
     {"phy": "confirmed_down", "dev_addr": "01020304", "f_ctrl": ["adr"], "f_cnt": 76543,
      "f_port": 42, "payload": b"hello lora".hex(), "records": [], "problem": None}),
    ("lora-rs, commands on port 0", "40040302010000000069369eee6aa508",
     {"nwk_skey": ONES, "app_skey": bytes(16)},
     {"f_port": 0, "mac": [
         {"name": "LinkCheckReq", "cid": 2},
         {"name": "LinkADRAns", "cid": 3, "channel_mask_ack": True, "data_rate_ack": False,
          "power_ack": True}]}),
    ("lora-rs, commands in FOpts", "4004030201030000020305d7fa0c6c",
     {"nwk_skey": ONES, "app_skey": bytes(16)},
     {"f_port": None, "payload": None, "mac": [
         {"name": "LinkCheckReq", "cid": 2},
         {"name": "LinkADRAns", "cid": 3, "channel_mask_ack": True, "data_rate_ack": False,
          "power_ack": True}]}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "keys", "told"), [row[1:] for row in DATA], ids=[row[0] for row in DATA]
)
def test_data_frames_of_public_sources(message, keys, told):
    reading = Reader(ring(**keys)).read(phy(message)).to_json()
    assert reading["mic"] == "ok"
    assert {key: reading[key] for key in told} == told
    wrong = Reader(ring(**{**keys, "nwk_skey": bytes(16)})).read(phy(message))
    assert (wrong.mic, wrong.plain, wrong.records) == (Mic.WRONG, None, ())
    assert "MIC" in wrong.problem
    unknown = Reader(KeyRing()).read(phy(message))
    assert (unknown.mic, unknown.plain, unknown.problem) == (Mic.UNCHECKED, None, None)


# Of the same sources; the names are those of DATA.
JOINS = [
    ("brocaar and lora-rs", base64.b64decode("AAQDAgEEAwIBBQQDAgUEAwItEGqZDhI=").hex(), ONES,
     {"phy": "join_request", "join_eui": "0102030401020304", "dev_eui": "0203040502030405",
      "dev_nonce": 0x102D}),
    ("brocaar, example", bytes((0, *[1] * 8, *[2] * 8, 3, 3, 9, 185, 123, 50)).hex(), COUNTED,
     {"phy": "join_request", "join_eui": "01" * 8, "dev_eui": "02" * 8, "dev_nonce": 0x0303}),
    ("lora-packet", "0039363463336913aa05693574323831330489c65b1304", LORA_PACKET_APP_KEY,
     {"join_eui": "aa13693363343639", "dev_eui": "3331383274356905", "dev_nonce": 0x8904}),
    ("brocaar and lora-rs, accept", "20493eeb51fba2116f810edb3742975142",
     bytes.fromhex("00112233445566778899aabbccddeeff"),
     {"phy": "join_accept", "join_nonce": 0x570BC7, "net_id": "221101", "dev_addr": "02031980",
      "rx1_dr_offset": 0, "rx2_data_rate": 0, "delay_s": 1, "frequencies_hz": []}),
    ("lora-rs, accept with channels",
     "20e45673b63cb4b9cecb2aa83f0333e615d2ac89eea1659837c3aa6df9689889cf", ONES,
     {"join_nonce": 0x010203, "rx1_dr_offset": 1, "rx2_data_rate": 2, "delay_s": 3,
      "opt_neg": False, "frequencies_hz": [867100000, 867300000, 867500000, 867700000, 867900000]}),
    ("lora-packet, accept of zeros", "20e3de108795f776b8037610ef7869b5b3", bytes(16),
     {"join_nonce": 0, "net_id": "000000", "dev_addr": "00000000"}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("message", "app_key", "told"), [row[1:] for row in JOINS], ids=[row[0] for row in JOINS]
)
def test_joins_of_public_sources(message, app_key, told):
    reading = Reader(ring(app_key)).read(phy(message)).to_json()
    assert (reading["mic"], reading["problem"]) == ("ok", None)
    assert {key: reading[key] for key in told} == told
    assert Reader(ring(TWOS)).read(phy(message)).mic is Mic.WRONG
    assert Reader(KeyRing()).read(phy(message)).mic is Mic.UNCHECKED


def test_a_plain_join_accept_has_its_mic():
    """lora-packet's mic_test.ts; it is not encrypted there."""
    message = phy("20386337ccbbaae7cd2c010000d9d0a6e7")
    assert crypto.join_mic(LORA_PACKET_APP_KEY, message[:-4]) == message[-4:]


@pytest.mark.parametrize(
    ("app_key", "join_nonce", "net_id", "dev_nonce", "nwk_skey", "app_skey"),
    [
        # lora-packet's key_gen_test.ts
        (LORA_PACKET_APP_KEY.hex(), 0x376338, 0xAABBCC, 0xF18E,
         "4e3d6e6afbcc67af2ba3c8e8ec4acf4b", "610897aa6f1460623443b527d3ac6a9d"),
        # lora-rs, test_derive_nwkskey and test_derive_appskey
        ("00112233445566778899aabbccddeeff", 0x570BC7, 0x221101, 0x102D,
         "7bb25f89e0d1371e1fbf4d997e1468a3", "148820dfb1e0c9d6289cde16c1af249f"),
    ],
)  # fmt: skip
def test_session_keys_of_public_sources(app_key, join_nonce, net_id, dev_nonce, nwk_skey, app_skey):
    keys = crypto.session_keys(bytes.fromhex(app_key), join_nonce, net_id, dev_nonce)
    assert [key.hex() for key in keys] == [nwk_skey, app_skey]


# The first is of lora-rs (test_mac_command_in_downlink), TXParamSetupReq of brocaar/lorawan
# (mac_command_payload_test.go); the others follow TS001-1.0.4. A flag that is not set has a "!".
COMMANDS = [
    ("down", "0300000070",
     "LinkADRReq data_rate=0 tx_power=0 ch_mask=0x0000 ch_mask_cntl=7 nb_trans=0"),
    ("down", "030000ff00",
     "LinkADRReq data_rate=0 tx_power=0 ch_mask=0xff00 ch_mask_cntl=0 nb_trans=0"),
    ("down", "0352070001",
     "LinkADRReq data_rate=5 tx_power=2 ch_mask=0x0007 ch_mask_cntl=0 nb_trans=1"),
    ("down", "0917", "TXParamSetupReq !downlink_dwell_time uplink_dwell_time max_eirp=7"),
    ("down", "0927", "TXParamSetupReq downlink_dwell_time !uplink_dwell_time max_eirp=7"),
    ("down", "020a03", "LinkCheckAns margin_db=10 gateways=3"),
    ("down", "040f", "DutyCycleReq max_duty_cycle=15"),
    ("down", "0523d2ad84",
     "RXParamSetupReq rx1_dr_offset=2 rx2_data_rate=3 frequency_hz=869525000"),
    ("down", "06", "DevStatusReq"),
    ("down", "0703184f8450",
     "NewChannelReq channel=3 frequency_hz=867100000 max_data_rate=5 min_data_rate=0"),
    ("down", "0800", "RXTimingSetupReq delay_s=1"),
    ("down", "080f", "RXTimingSetupReq delay_s=15"),
    ("down", "0a01184f84", "DlChannelReq channel=1 frequency_hz=867100000"),
    ("down", "0d00ca9a3b80", "DeviceTimeAns gps_s=1000000000 fraction_s=0.5"),
    ("down", "10", "PingSlotInfoAns"),
    ("down", "11184f8403", "PingSlotChannelReq frequency_hz=867100000 data_rate=3"),
    ("down", "120a0001", "BeaconTimingAns delay_30ms=10 channel=1"),
    ("down", "13184f84", "BeaconFreqReq frequency_hz=867100000"),
    ("up", "02", "LinkCheckReq"),
    ("up", "0305", "LinkADRAns channel_mask_ack !data_rate_ack power_ack"),
    ("up", "04", "DutyCycleAns"),
    ("up", "0506", "RXParamSetupAns !channel_ack rx2_data_rate_ack rx1_dr_offset_ack"),
    ("up", "06ff3f", "DevStatusAns battery=255 margin_db=-1"),
    ("up", "06001f", "DevStatusAns battery=0 margin_db=31"),
    ("up", "060120", "DevStatusAns battery=1 margin_db=-32"),
    ("up", "0702", "NewChannelAns !channel_frequency_ok data_rate_range_ok"),
    ("up", "08", "RXTimingSetupAns"),
    ("up", "09", "TXParamSetupAns"),
    ("up", "0a01", "DlChannelAns channel_frequency_ok !uplink_frequency_exists"),
    ("up", "0d", "DeviceTimeReq"),
    ("up", "1005", "PingSlotInfoReq periodicity=5"),
    ("up", "1102", "PingSlotChannelAns !channel_frequency_ok data_rate_ok"),
    ("up", "12", "BeaconTimingReq"),
    ("up", "1301", "BeaconFreqAns beacon_frequency_ok"),
    # What is unknown or cut ends the list.
    ("up", "8002", "unknown not read: 8002"),
    ("down", "03520700", "LinkADRReq not read: 03520700"),
]  # fmt: skip


@pytest.mark.parametrize("direction", ["up", "down"])
def test_mac_commands(direction):
    rows = [(phy(data), told) for way, data, told in COMMANDS if way == direction]
    data = b"".join(data for data, _ in rows)
    commands = list(mac.read(data, direction == "up"))
    assert [str(command) for command in commands] == [told for _, told in rows]
    assert [command.to_json()["cid"] for command in commands] == [data[0] for data, _ in rows]
    assert list(mac.read(b"", direction == "up")) == []
    known = {cid for cid, uplink in mac.COMMANDS if uplink == (direction == "up")}
    assert known <= {data[0] for data, _ in rows}


def test_messages_of_another_implementation():
    """npm's lora-packet makes them with random fields and keys; all is found again."""
    chance = random.Random(1004)
    wanted, keys = [], []
    for _ in range(300):
        app_key, nwk_skey, app_skey = (chance.randbytes(16) for _ in range(3))
        keys.append({"app_key": app_key, "nwk_skey": nwk_skey, "app_skey": app_skey})
        fields = {"MType": chance.randrange(6)}
        high = chance.choice((0, 0, 1, 255))
        if fields["MType"] == 0:
            fields |= {"AppEUI": chance.randbytes(8), "DevEUI": chance.randbytes(8),
                       "DevNonce": chance.randbytes(2)}  # fmt: skip
        elif fields["MType"] == 1:
            frequencies = chance.randbytes(15) + b"\0"
            fields |= {"AppNonce": chance.randbytes(3), "NetID": chance.randbytes(3),
                       "DevAddr": chance.randbytes(4), "DLSettings": chance.randrange(128),
                       "RxDelay": chance.randrange(16),
                       "CFList": chance.choice((b"", frequencies))}  # fmt: skip
        else:
            port = chance.choice((0, 1, 2, 224, chance.randrange(256)))
            flags = {"ADR": chance.random() < 0.5, "ACK": chance.random() < 0.5}
            fields |= {"DevAddr": chance.randbytes(4), "FCnt": chance.randrange(65536),
                       "FPort": port, "FOpts": chance.randbytes(chance.randrange(16) * (port > 0)),
                       "payload": chance.randbytes(chance.randrange(1, 200)),
                       "FCtrl": flags}  # fmt: skip
        wanted.append((fields, high))

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return {"hex": value.hex()} if isinstance(value, bytes) else value

    made = json.loads(
        outside_tools.run(
            "lora_packet.js",
            stdin=json.dumps(
                [
                    {
                        "fields": plain(fields),
                        "nwkSKey": plain(key["nwk_skey"]),
                        "appSKey": plain(key["app_skey"]),
                        # With an AppKey it takes data on port 0 for LoRaWAN 1.1.
                        **({"appKey": plain(key["app_key"])} if fields["MType"] < 2 else {}),
                        "msb": plain(high.to_bytes(2, "little")),
                    }
                    for (fields, high), key in zip(wanted, keys, strict=True)
                ]
            ),
        )
    )
    for (fields, high), key, message in zip(wanted, keys, made, strict=True):
        reading = Reader(ring(**key)).read(phy(message))
        told = reading.to_json()
        assert reading.mic is Mic.OK, message
        assert reading.message.mtype == fields["MType"]
        if fields["MType"] == 0:
            assert told["join_eui"] == fields["AppEUI"].hex()
            assert told["dev_eui"] == fields["DevEUI"].hex()
            assert told["dev_nonce"] == int.from_bytes(fields["DevNonce"])
        elif fields["MType"] == 1:
            grant = reading.grant
            assert grant.join_nonce == int.from_bytes(fields["AppNonce"])
            assert grant.net_id == int.from_bytes(fields["NetID"])
            assert grant.dev_addr == int.from_bytes(fields["DevAddr"])
            assert grant.rx1_dr_offset << 4 | grant.rx2_data_rate == fields["DLSettings"]
            assert grant.delay_s == (fields["RxDelay"] or 1)
            raw = b"".join((hz // 100).to_bytes(3, "little") for hz in grant.frequencies_hz)
            assert raw == fields["CFList"][:15]
        else:
            assert told["dev_addr"] == fields["DevAddr"].hex()
            assert told["f_cnt"] == high << 16 | fields["FCnt"]
            assert told["f_port"] == fields["FPort"]
            assert reading.plain == fields["payload"]
            assert reading.message.f_opts == fields["FOpts"]
            assert ("adr" in told["f_ctrl"]) == fields["FCtrl"]["ADR"]
            assert ("ack" in told["f_ctrl"]) == fields["FCtrl"]["ACK"]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("", "empty"),
        ("40", "at least 12 bytes"),
        # The first with data, and that with another version, are of lora-rs.
        ("400403020185 0100 d6c3b582", "longer than the frame"),
        ("810403020100ff0102030405", "major version 1"),
        ("00" * 22, "23 bytes, not 22"),
        ("20" + "00" * 17, "17 or 33 bytes, not 18"),
        ("c0" + "00" * 18, "MType 6"),
        ("e0" + "00" * 18, "proprietary"),
        ("40" + "00" * 255, "256 bytes"),
    ],
)
def test_malformed_messages_are_named(message, told):
    with pytest.raises(PhyError, match=told):
        parse(phy(message))


def test_any_bytes_are_a_message_or_an_error():
    chance = random.Random(1)
    good = [phy(row[1]) for row in (*DATA, *JOINS)]
    keys = KeyRing(
        [Device(None, None, ONES)],
        [Session(None, 0x01020304, TWOS, ONES), Session(None, 0x49BE7DF1, None, ONES)],
    )
    reader = Reader(keys)
    kinds = set()
    for number in range(2000):
        data = bytearray(chance.choice(good) if number % 2 else chance.randbytes(number % 60))
        if data and number % 4 < 2:
            data[chance.randrange(len(data))] = chance.randrange(256)
        if number % 5 == 0:
            del data[chance.randrange(len(data) + 1) :]
        with suppress(PhyError):
            reading = reader.read(bytes(data))
            kinds.add((reading.message.mtype, reading.mic))
            json.dumps(reading.to_json())
    assert {kind for kind, _ in kinds} == set(MType)
    assert {mic for _, mic in kinds} == set(Mic)

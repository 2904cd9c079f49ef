"""The node's code held against what others make of the same bytes; on CPython alone."""

import asyncio

import pytest
from amqtt.adapters import BufferReader
from amqtt.mqtt.connack import ConnackPacket
from amqtt.mqtt.connect import ConnectPacket
from amqtt.mqtt.pingreq import PingReqPacket
from amqtt.mqtt.pingresp import PingRespPacket
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.publish import PublishPacket
from citynode.boards import board_ids, load_board
from citynode.commands import Command, payload
from citynode.errors import CitynodeError
from citynode.identity import Identity
from citynode.nodefiles import config_cbor
from citynode.profiles import LorawanUplink, check_fits, load_profile, profile_ids
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given
from hypothesis import strategies as st
from node.core import commands, config
from node.lorawan.crypto import Key
from node.net import packets

texts = st.text(st.characters(exclude_categories=["C"]), max_size=40)
topics = st.text(st.characters(exclude_categories=["C"], exclude_characters="+#"), min_size=1)


def read(kind, data):
    """Have amqtt decode a packet."""
    return asyncio.run(kind.from_stream(BufferReader(data)))


@given(
    client=texts.filter(bool),
    user=st.none() | texts,
    password=texts,
    keepalive_s=st.integers(0, 0xFFFF),
    topic=topics,
    will=st.binary(max_size=300),
)
def test_another_broker_understands_connect(client, user, password, keepalive_s, topic, will):
    data = packets.connect(client, user, password, keepalive_s, topic, will)
    got = read(ConnectPacket, data)
    assert (got.proto_name, got.proto_level, got.keep_alive) == ("MQTT", 4, keepalive_s)
    assert (got.client_id, got.will_topic, got.will_message) == (client, topic, will)
    assert (got.will_flag, got.will_qos, got.will_retain_flag) == (True, 1, True)
    assert got.clean_session_flag
    assert not got.reserved_flag
    assert got.username == user
    assert got.password == (None if user is None else password)
    assert got.to_bytes() == data


@given(
    topic=topics,
    payload=st.binary(max_size=300),
    packet_id=st.integers(1, 0xFFFF),
    retain=st.booleans(),
)
def test_another_broker_understands_publish(topic, payload, packet_id, retain):
    data = packets.publish(topic, payload, packet_id, retain)
    got = read(PublishPacket, data)
    assert (got.topic_name, got.data or b"", got.packet_id) == (topic, payload, packet_id)
    assert (got.qos, got.retain_flag, got.dup_flag) == (1, retain, False)
    assert got.to_bytes() == data


@given(packet_ids=st.lists(st.integers(1, 0xFFFF), max_size=9), cut=st.integers(0, 40))
def test_what_another_broker_says_is_understood(packet_ids, cut):
    data = ConnackPacket.build(0, 0).to_bytes()
    data += b"".join(PubackPacket.build(packet_id).to_bytes() for packet_id in packet_ids)
    data += PingRespPacket.build().to_bytes()
    parser = packets.Parser()
    greeting, *acks = parser.feed(data[:cut]) + parser.feed(data[cut:])
    packets.connack(greeting)
    assert [packets.answer(packet) for packet in acks] == [*packet_ids, 0]


def test_what_another_client_says_is_what_the_node_says():
    assert PingReqPacket().to_bytes() == packets.PINGREQ
    got = packets.Parser().feed(PublishPacket.build("t", b"hi", 7, False, 1, False).to_bytes())
    assert packets.puback_for(got[0]) == PubackPacket.build(7).to_bytes()


@pytest.mark.parametrize("profile", profile_ids())
@pytest.mark.parametrize("board", board_ids())
def test_every_board_and_profile_is_a_configuration_without_faults(board, profile):
    made, given = load_board(board), load_profile(profile)
    over_the_air = isinstance(given.uplink, LorawanUplink)
    if over_the_air and made.radio is None:
        with pytest.raises(
            CitynodeError, match=f"{profile} sends over LoRaWAN, and the board {board}"
        ):
            config_cbor(made, given)
        return
    try:
        check_fits(made, given)
    except CitynodeError:
        with pytest.raises(CitynodeError, match="needs"):
            config_cbor(made, given)
        return
    c = config.load(config_cbor(made, given))
    assert c.faults == []
    assert (c.board, c.site, c.interval_s) == (board, given.site, given.interval_s)
    if over_the_air:
        radio = made.radio
        assert c.lorawan.airtime_s == given.uplink.airtime_s_per_day
        assert c.lorawan.radio.chip == radio.chip
        assert c.lorawan.radio.pins == (radio.sck, radio.mosi, radio.miso, radio.cs, radio.reset)
        assert c.lorawan.radio.busy == radio.busy
        assert c.lorawan.radio.tcxo_mv == (1800 if radio.tcxo_v else 0)
    else:
        assert (c.host, c.lorawan) == (given.uplink.host, None)
    assert [(s.chip, s.address) for s in c.sensors] == [
        (s.chip, s.address or 0) for s in given.sensors
    ]
    assert c.i2c == (made.i2c.scl, made.i2c.sda, made.i2c.freq)


def aes_ecb(key):
    """Return a block function as the node's `cryptolib` has it."""
    update = Cipher(AES128(key), ECB()).encryptor().update

    def encrypt(source, target):
        target[:] = update(bytes(source))

    return encrypt


class Marks(dict):
    """The node's NVS."""

    def get(self, key):
        return super().get(key, 0)

    def set(self, key, number):
        self[key] = number


OPERATED = Identity("n1", dev_eui=bytes.fromhex("70b3d57ed0001000"), command_key=bytes(range(16)))
SECONDS_2024 = 1_704_067_200


def test_the_example_of_the_docs():
    data = payload(OPERATED, Command.INTERVAL, 900, SECONDS_2024 + 5)
    assert data.hex() == "0105000000840300009deed4b24804da59"


@given(
    what=st.sampled_from(Command),
    interval_s=st.just(0) | st.integers(10, 86_400),
    counter=st.integers(1, 0x7FFFFFFF),
    at=st.integers(0, 200),
)
def test_the_node_obeys_what_the_host_signs_and_nothing_else(what, interval_s, counter, at):
    key, marks = Key(aes_ecb(OPERATED.command_key)), Marks()
    node = commands.Commands(key, OPERATED.dev_eui, marks)
    seconds = interval_s if what is Command.INTERVAL else None
    data = payload(OPERATED, what, seconds, SECONDS_2024 + counter)
    spoilt = bytearray(data)
    spoilt[at % len(data)] ^= 1 << at % 8
    assert node.take(10, bytes(spoilt)) is None
    assert node.take(11, data) is None
    assert commands.Commands(None, OPERATED.dev_eui, marks).take(10, data) is None
    assert commands.Commands(key, bytes(8), marks).take(10, data) is None
    assert node.take(10, data) == (what.code, seconds or 0)
    assert node.take(10, data) is None
    assert commands.Commands(key, OPERATED.dev_eui, marks).take(10, data) is None


@given(st.binary(max_size=60))
def test_any_bytes_are_no_command(data):
    key = Key(aes_ecb(bytes(16)))
    assert commands.Commands(key, bytes(8), Marks()).take(10, data) is None

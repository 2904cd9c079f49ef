"""MQTT 3.1.1 packets (OASIS standard of 29 October 2014): the bytes of its tables and examples."""

from node.net import packets
from node.net.packets import CONNACK, PINGRESP, PUBACK, PUBLISH, MqttError, Parser
from node_tools import Chance, kind_of


def unhex(text):
    return bytes([int(pair, 16) for pair in text.split()])


def test_connect_as_in_section_3_1():
    data = packets.connect("n1", "user", b"pw", 10, "s", b"off")
    # Figure 3.6 has this variable header, with the user's and the password's flag, a will with
    # QoS 1 that is not retained (here it is: 0x20) and a clean session.
    assert data == unhex("10 20 00 04 4d 51 54 54 04 ee 00 0a") + (
        b"\0\2n1" + b"\0\1s" + b"\0\3off" + b"\0\4user" + b"\0\2pw"
    )


def test_flags_of_connect_follow_what_is_given():
    for user, password, flags, tail in (
        (None, None, 0x2E, b""),
        ("u", None, 0xAE, b"\0\1u"),
        ("u", "p", 0xEE, b"\0\1u\0\1p"),
        ("", "", 0xEE, b"\0\0\0\0"),
        # Section 3.1.2.9: no password without a user.
        (None, "p", 0x2E, b""),
    ):
        data = packets.connect("n", user, password, 65535, "s", b"")
        assert data[9] == flags
        assert data[10:12] == b"\xff\xff"
        assert data[12:] == b"\0\1n\0\1s\0\0" + tail
        assert data[1] == len(data) - 2


def test_strings_are_utf_8_with_their_length():
    # Figure 1.2: "A" and U+2A6D4.
    assert packets.connect("A\U0002a6d4", None, None, 0, "", b"")[12:19] == unhex(
        "00 05 41 f0 aa 9b 94"
    )
    for make in (
        lambda: packets.publish("t" * 65536, b"", 1),
        lambda: packets.connect("c" * 65536, None, None, 0, "", b""),
    ):
        try:
            make()
        except ValueError:
            continue
        raise AssertionError("too long")


def test_publish_as_in_section_3_3():
    # Figure 3.11: topic a/b, packet identifier 10.
    assert packets.publish("a/b", b"hello", 10) == unhex("32 0c 00 03 61 2f 62 00 0a") + b"hello"
    assert packets.publish("a/b", b"", 0xFFFF, True) == unhex("33 07 00 03 61 2f 62 ff ff")


def test_remaining_lengths_of_table_2_4():
    for length, field in (
        (0, "00"),
        (127, "7f"),
        (128, "80 01"),
        (16383, "ff 7f"),
        (16384, "80 80 01"),
        (2097151, "ff ff 7f"),
        (2097152, "80 80 80 01"),
    ):
        field = unhex(field)
        if length > 4:
            data = packets.publish("", bytes(length - 4), 1)
            assert data[1 : 1 + len(field)] == field
            assert len(data) == 1 + len(field) + length
        content = bytes(length)
        assert Parser(1 << 22).feed(b"\x30" + field + content) == [(PUBLISH, 0, content)]


# What a broker (mosquitto) sends a publisher: greeting, two acknowledgements, a ping's answer,
# a message with QoS 0 and one with QoS 1.
EXCHANGE = (
    ("20 02 00 00", (CONNACK, 0, b"\0\0")),
    ("40 02 00 01", (PUBACK, 0, b"\0\1")),
    ("40 02 ff ff", (PUBACK, 0, b"\xff\xff")),
    ("d0 00", (PINGRESP, 0, b"")),
    ("30 05 00 01 74 68 69", (PUBLISH, 0, b"\0\1thi")),
    ("32 07 00 01 74 12 34 68 69", (PUBLISH, 2, b"\0\1t\x12\x34hi")),
)


def test_an_exchange_is_read_whole_byte_by_byte_and_in_any_pieces():
    data = b"".join([unhex(text) for text, _ in EXCHANGE])
    expected = [packet for _, packet in EXCHANGE]
    assert Parser().feed(data) == expected
    parser = Parser()
    found = []
    for i in range(len(data)):
        found += parser.feed(data[i : i + 1])
    assert found == expected
    chance = Chance(1)
    for _ in range(200):
        parser, found, at = Parser(), [], 0
        while at < len(data):
            end = at + chance.below(8)
            found += parser.feed(data[at:end])
            at = end
        assert found == expected


def test_the_start_of_a_packet_waits_for_the_rest():
    data = unhex("30 85 01") + bytes(133)
    for cut in range(len(data)):
        parser = Parser()
        assert parser.feed(data[:cut]) == []
        assert parser.feed(data[cut:] + b"\xd0") == [(PUBLISH, 0, bytes(133))]
        assert parser.feed(b"\0") == [(PINGRESP, 0, b"")]


def test_lengths_that_are_too_long_or_malformed():
    for text, kind in (
        ("30 80 02", None),
        ("30 81 02", "oversized"),
        ("30 ff ff ff 7f", "oversized"),
        ("30 80 80 80 80", "malformed"),  # section 2.2.3: four bytes at most
        ("30 ff ff ff ff 01", "malformed"),
    ):
        assert kind_of(MqttError, Parser().feed, unhex(text)) == kind, text


def refused(call, *args):
    """Return what an MqttError says, None where there was none."""
    try:
        call(*args)
    except MqttError as error:
        return error.kind, error.code
    return None


def test_connack_as_in_section_3_2():
    assert refused(packets.connack, (CONNACK, 0, b"\0\0")) is None
    for code in (1, 2, 3, 4, 5, 255):
        assert refused(packets.connack, (CONNACK, 0, bytes((0, code)))) == ("refused", code)
    for packet in (
        (CONNACK, 0, b"\0"),
        (CONNACK, 0, b"\0\0\0"),
        (CONNACK, 1, b"\0\0"),
        (CONNACK, 0, b"\1\0"),  # a session, where a clean one was asked for (section 3.2.2.2)
    ):
        assert refused(packets.connack, packet) == ("malformed", None)
    assert refused(packets.connack, (PUBACK, 0, b"\0\1")) == ("unexpected", PUBACK)


def test_answers_of_sections_3_4_and_3_13():
    assert packets.answer((PUBACK, 0, b"\x12\x34")) == 0x1234
    assert packets.answer((PINGRESP, 0, b"")) == 0
    for packet in (
        (PUBACK, 0, b"\0\0"),  # section 2.3.1: never zero
        (PUBACK, 0, b"\1"),
        (PUBACK, 2, b"\0\1"),
        (PINGRESP, 0, b"\0"),
        (PINGRESP, 8, b""),
    ):
        assert refused(packets.answer, packet) == ("malformed", None)
    for kind in (0, 1, CONNACK, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15):
        assert refused(packets.answer, (kind, 0, b"\0\1")) == ("unexpected", kind)


def test_messages_that_come_are_acknowledged_as_their_quality_asks():
    for flags, body, reply in (
        (0, b"\0\1thi", b""),
        (1, b"\0\1t", b""),
        (2, b"\0\1t\x12\x34hi", b"\x40\2\x12\x34"),
        (0xA, b"\0\1t\x12\x34", b"\x40\2\x12\x34"),
    ):
        assert packets.puback_for((PUBLISH, flags, body)) == reply
    for flags, body in (
        (4, b"\0\1t\0\1"),
        (6, b"\0\1t\0\1"),
        (2, b"\0\1t\1"),
        (0, b"\0"),
        (0, b"\0\2t"),
    ):
        assert refused(packets.puback_for, (PUBLISH, flags, body)) == ("malformed", None)


def test_any_bytes_give_packets_or_the_error():
    chance = Chance(5)
    whole = b"".join([unhex(text) for text, _ in EXCHANGE])
    outcomes = {}
    for number in range(4000):
        data = bytearray(whole if number % 2 else chance.bytes(chance.below(60)))
        for _ in range(chance.below(4)):
            if data:
                data[chance.below(len(data))] = chance.below(256)
        data = bytes(data)
        results = []
        for pieces in (1, len(data) or 1):
            parser, found, error = Parser(), [], None
            step = -(-len(data) // pieces) or 1
            try:
                for at in range(0, len(data), step):
                    for packet in parser.feed(data[at : at + step]):
                        found.append(packet)
                        assert len(packet[2]) <= 256
                        for take in (packets.connack, packets.answer, packets.puback_for):
                            refused(take, packet)
            except MqttError as caught:
                error = caught.kind
            results.append((found, error))
        # Fed whole, packets in front of a malformed one go down with it.
        assert results[0][1] == results[1][1]
        assert results[0][1] or results[0][0] == results[1][0]
        outcomes[results[0][1]] = outcomes.get(results[0][1], 0) + 1
    assert min(outcomes[None], outcomes["malformed"], outcomes["oversized"]) > 50

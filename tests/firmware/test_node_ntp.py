"""Answers of time servers (RFC 4330): what is checked, and the time that they give."""

import struct

from node.net import ntp
from node_tools import Chance, kind_of

NONCE = b"\x01\x23\x45\x67\x89\xab\xcd\xef"
EPOCH = 2208988800  # 1970 in seconds since 1900 (section 3)
T = 1717200000


def stamp(unix_s):
    """Return a time as 64 bits (section 3); what is behind 2036 has wrapped."""
    seconds = int(unix_s)
    fraction = int((unix_s - seconds) * 65536) << 16
    return struct.pack(">II", (seconds + EPOCH) & 0xFFFFFFFF, fraction)


def answer(
    received=T, sent=T, first=0x24, stratum=2, origin=NONCE, reference=b"GPS\0", extension=b""
):
    """Return a server's packet: leap 0, version 4, mode 4 (section 4)."""
    packet = bytes((first, stratum, 6, 0xEC)) + bytes(8) + reference + stamp(T - 100)
    return packet + origin + stamp(received) + stamp(sent) + extension


def test_a_request_is_a_client_packet_with_the_nonce_for_a_time():
    packet = ntp.request(NONCE)
    assert packet == b"\x23" + bytes(39) + NONCE
    assert len(packet) == 48


def test_the_time_is_that_of_the_server_and_half_of_the_way():
    for received, sent, elapsed, expected in (
        (T, T, 0, T * 1000),
        (T, T, 80, T * 1000 + 40),
        (T, T + 0.5, 580, T * 1000 + 540),
        (T + 0.25, T + 0.75, 300, T * 1000 + 750),  # a server whose stay is longer than our wait
        (T, T, 3000, T * 1000 + 1500),
    ):
        assert ntp.unix_ms(answer(received, sent), NONCE, elapsed) == expected


def test_the_era_that_begins_in_2036():
    for unix_s in (
        (1 << 32) - EPOCH - 1,  # the last second of the first era
        (1 << 32) - EPOCH + 1,
        (1 << 32) - EPOCH + 0x7FFFFFFF,  # 2104
        0x80000000 - EPOCH,  # 1968
    ):
        assert ntp.unix_ms(answer(unix_s, unix_s), NONCE, 0) == unix_s * 1000


def test_what_is_no_answer_is_refused():
    for packet, kind in (
        (answer()[:47], "length"),
        (b"", "length"),
        (answer(first=0x23), "mode"),  # a client
        (answer(first=0x25), "mode"),  # broadcast
        (answer(origin=bytes(8)), "origin"),
        (answer(origin=NONCE[:7] + b"\0"), "origin"),
        (answer(stratum=0, reference=b"RATE"), "stratum"),  # kiss-o'-death (section 8)
        (answer(stratum=16), "stratum"),
        (answer(stratum=255), "stratum"),
        (answer(first=0xE4), "leap"),  # not synchronised
        (answer(received=T + 1, sent=T), "time"),
        (answer(received=-EPOCH, sent=-EPOCH), "time"),  # a time of zero
    ):
        assert kind_of(ntp.NtpError, ntp.unix_ms, packet, NONCE, 10) == kind, kind


def test_leap_seconds_ahead_versions_and_extensions_are_no_reason():
    for packet in (
        answer(first=0x64),
        answer(first=0xA4),
        answer(first=0x1C),
        answer(stratum=1),
        answer(stratum=15),
        answer(extension=bytes(20)),
    ):
        assert ntp.unix_ms(packet, NONCE, 0) == T * 1000


def test_any_bytes_give_a_time_or_the_error():
    chance = Chance(3)
    good = answer()
    times = 0
    for _ in range(3000):
        packet = bytearray(good)
        for _ in range(1 + chance.below(4)):
            packet[chance.below(48)] = chance.below(256)
        packet = bytes(packet[: chance.below(60)] if chance.below(3) == 0 else packet)
        if kind_of(ntp.NtpError, ntp.unix_ms, packet, NONCE, 10) is None:
            times += 1
            assert 0 <= ntp.unix_ms(packet, NONCE, 10) + 70 * 10**9 < 1 << 43
    assert 300 < times < 2500

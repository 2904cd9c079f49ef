"""Frames of SPS30, PMS5003 and SDS011: what their makers write, and any noise around them."""

import random

import pytest
from citynode.virtual.chips.sps30 import stuffed, unstuffed
from node.sensors import pms5003, sds011, sps30_uart
from node.sensors.frames import Scanner
from sensors_bench import Bytes


def test_sps30_frames_of_the_datasheet():
    # SPS30 datasheet 1.0, section 5.3: what the host sends.
    for command, data, sent in (
        (0x00, b"\x01\x03", "7e0000020103f97e"),
        (0x01, b"", "7e000100fe7e"),
        (0x03, b"", "7e000300fc7e"),
        (0x10, b"", "7e001000ef7e"),
        (0x56, b"", "7e005600a97e"),
        (0x80, b"\0", "7e008001007d5e7e"),
        (0xD0, b"\0", "7e00d001002e7e"),
        (0xD1, b"", "7e00d1002e7e"),
    ):
        assert sps30_uart.frame(command, data) == bytes.fromhex(sent)
        content = bytes((0, command, len(data))) + data
        assert stuffed(content) == bytes.fromhex(sent)
        assert unstuffed(bytes.fromhex(sent)[1:-1]) == content
    every = bytes(range(256))
    assert unstuffed(stuffed(every)[1:-1]) == every
    # The datasheet's wake-up frame has its 0x11 in the clear, where others stuff it: both are read,
    # also behind the end of a frame whose beginning was lost.
    unstuffer = sps30_uart.Unstuffer(64)
    got = []
    for byte in bytes.fromhex(
        "00fc7e 7e00110000ee7e 7e007d310000ee7e 7e000300047d5e7d5d7d317d33d97e 7e0003000400f87e"
    ):
        if unstuffer.push(byte):
            got.append(bytes(unstuffer.content[: unstuffer.length]))
    assert got == [
        b"\0\x11\0\0",
        b"\0\x11\0\0",
        b"\0\x03\0\x04\x7e\x7d\x11\x13",
        b"\0\x03\0\x04\0",
    ]
    assert unstuffer.damaged == 0


def test_plantower_frames():
    # PMS5003 manual V2.3, appendix I, and the sums that go with its commands.
    assert pms5003.command(0xE4, 0) == bytes.fromhex("424de400000173")
    assert pms5003.command(0xE4, 1) == bytes.fromhex("424de400010174")
    assert pms5003.command(0xE1, 0) == bytes.fromhex("424de100000170")
    # A frame of the manual's form (appendix I), its sum made here as the manual says.
    frame = bytes.fromhex("424d001c000500090000000500090000046201610023")
    body = frame + bytes(30 - len(frame))
    body += (sum(body) & 0xFFFF).to_bytes(2, "big")
    assert pms5003.judge(body, 32) == 32
    for count in range(1, 32):
        assert pms5003.judge(body, count) == 0
    for place in range(32):
        damaged = bytearray(body)
        damaged[place] ^= 0x01
        assert pms5003.judge(damaged, 32) != 32


def test_sds011_frames_of_the_protocol():
    # Laser Dust Sensor Control Protocol V1.3, the examples to "any sensor ID" and an answer.
    for code, setting, value, sent in (
        (2, 1, 1, "aab402010100000000000000000000ffff02ab"),
        (4, 0, 0, "aab404000000000000000000000000ffff02ab"),
        (6, 1, 0, "aab406010000000000000000000000ffff05ab"),
        (6, 1, 1, "aab406010100000000000000000000ffff06ab"),
        (8, 1, 0, "aab408010000000000000000000000ffff07ab"),
    ):
        assert sds011.command(code, setting, value) == bytes.fromhex(sent)
    frame = bytes.fromhex("aac0d4043a0aa1601dab")
    assert sds011.judge(frame, 10) == 10
    assert (frame[2] | frame[3] << 8, frame[4] | frame[5] << 8) == (1236, 2618)
    for place in range(10):
        damaged = bytearray(frame)
        damaged[place] ^= 0x10
        assert sds011.judge(damaged, 10) == -1


ECHO = bytes.fromhex("424d0004e1000174")


def pms_frame(rng):
    body = b"BM\0\x1c" + rng.randbytes(26)
    return body + (sum(body) & 0xFFFF).to_bytes(2, "big")


def sds_frame(rng):
    data = rng.randbytes(6)
    return b"\xaa\xc0" + data + bytes((sum(data) & 0xFF, 0xAB))


@pytest.mark.parametrize(
    ("frame", "judge", "size", "heads"),
    [
        (
            pms_frame,
            pms5003.judge,
            32,
            (b"\x42", b"\x42\x4d", b"\x42\x4d\0", b"\x42\x4d\0\x1c", ECHO),
        ),
        (sds_frame, sds011.judge, 10, (b"\xaa", b"\xaa\xaa", b"\xaa\xc0", b"\xaa\xc5")),
    ],
)
def test_every_frame_is_found_behind_any_noise(frame, judge, size, heads):
    rng = random.Random(5)
    for _ in range(200):
        frames, stream = [], b""
        for _ in range(rng.randint(1, 5)):
            parts = [rng.choice((*heads, rng.randbytes(3))) for _ in range(rng.randint(0, 6))]
            frames.append(frame(rng))
            stream += b"".join(parts) + frames[-1]
        # What a false beginning has asked for has to come before it can be seen to be none.
        scanner = Scanner(Bytes(stream + bytes(size)), size, judge)
        found = []
        while length := scanner.poll():
            found.append(bytes(scanner.frame[:length]))
        assert [one for one in found if one in frames] == frames

"""The loaders' protocol, byte by byte: what ROM and stub say to right and wrong requests."""

import hashlib
import random
import struct
import zlib

import pytest
from citynode.virtual.soc.actions import Busy, Reset, SetBaud, Transmit
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.loader import Op, checksum
from citynode.virtual.soc.slip import BROKEN, Decoder, encode
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_tool import MAC, SIZE, STUBS, SYNC, Tool

every_chip = pytest.mark.parametrize("chip", list(CHIPS))


@pytest.fixture
def tool(request, tmp_path):
    tool = Tool(getattr(request, "param", "esp32"), tmp_path)
    yield tool
    tool.flash.close()


@pytest.fixture
def stub(tool):
    assert tool.load_stub("2")[-1] == b"OHAI"
    return tool


# -- SLIP -----------------------------------------------------------------------------------------


@given(packets=st.lists(st.binary(min_size=1, max_size=200)), cuts=st.integers(1, 50))
def test_slip_gives_back_what_was_sent(packets, cuts):
    line = b"noise" + b"".join(map(encode, packets)) + b"more"
    decoder = Decoder(200)
    got = [p for at in range(0, len(line), cuts) for p in decoder.feed(line[at : at + cuts])]
    assert got == packets


@pytest.mark.parametrize("bad", [b"\xdb", b"\xdb\x00", b"a\xdb\xdbb", b"x" * 21, b"x" * 500])
def test_slip_tells_a_broken_packet_and_takes_the_next(bad):
    decoder = Decoder(20)
    assert decoder.feed(b"\xc0" + bad + b"\xc0" + encode(b"good")) == [BROKEN, b"good"]


def test_slip_finds_its_way_back_after_a_cut_packet():
    decoder = Decoder(20)
    cut = encode(b"first")[:-3]
    assert decoder.feed(cut + encode(b"second") + encode(b"third")) == [b"fir", b"third"]


@given(st.binary(max_size=3000))
def test_checksum_is_the_parity_of_all_bytes(data):
    expected = 0xEF
    for byte in data:
        expected ^= byte
    assert checksum(data) == expected


# -- the ROM --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", list(CHIPS), indirect=True)
def test_sync_is_answered_eight_times_with_a_value(tool):
    packets = tool.send(encode(struct.pack("<BBHI", 0, Op.SYNC, 36, 0) + SYNC))
    assert packets == [bytes.fromhex("010804000707122000000000")] * 8


def test_answer_to_a_register_read_is_the_recorded_one(tool):
    packets = tool.send(bytes.fromhex("c0000a0400000000000ca0f53fc0"))
    assert packets == [bytes.fromhex("010a040000a2000000000000")]


@pytest.mark.parametrize(
    ("packet", "answer"),
    [
        ("00ff000000000000", "010504"),  # no such operation
        ("0014000000000000", "010504"),  # none on the ESP32
        ("00d0000000000000", "010504"),  # stub only
        ("010a040000000000000c0000", "010504"),  # an answer, not a request
        ("000a0500000000000ca0f53f", "010504"),  # length does not match
        ("000a04", "010504"),  # shorter than a header
        ("0008", "010504"),
    ],
)
def test_what_is_no_request_is_refused_in_the_name_of_the_last_one(tool, packet, answer):
    tool.ok(Op.MEM_BEGIN, 0, 0, 0, 0x3FFB0000)
    assert tool.send(encode(bytes.fromhex(packet))) == [
        bytes.fromhex(answer + "00" + "00000000" + "01050000")
    ]


def test_after_a_sync_an_unknown_request_is_refused_eight_times(tool):
    tool.send(encode(struct.pack("<BBHI", 0, Op.SYNC, 36, 0) + SYNC))
    packets = tool.send(encode(struct.pack("<BBHI", 0, Op.GET_SECURITY_INFO, 0, 0)))
    assert packets == [bytes.fromhex("010804000000000001050000")] * 8


@every_chip
def test_errors_of_the_rom(chip, tmp_path):
    tool = Tool(chip, tmp_path)
    data = b"0123456789abcdef"
    words = (len(data), 0, 0, 0)
    assert tool.refused(Op.READ_REG, 0, 0) == "01050000"
    assert tool.refused(Op.SYNC, 1) == "01050000"
    assert tool.refused(Op.MEM_DATA, *words, data=data, check=checksum(data)) == "01060000"
    ram = {"esp32": 0x3FFB0000}.get(chip, 0x3FC90000)
    assert tool.refused(Op.MEM_BEGIN, 16, 1, 16, 0x1000) == "010f0000"
    tool.ok(Op.MEM_BEGIN, 16, 1, 16, ram)
    assert tool.refused(Op.MEM_DATA, *words, data=data, check=checksum(data) ^ 1) == "01070000"
    assert tool.refused(Op.MEM_DATA, *words, data=data[1:], check=1) == "01050000"
    tool.block(Op.MEM_DATA, 0, data)
    assert tool.refused(Op.MEM_DATA, *words, data=data, check=checksum(data)) == "010e0000"
    # Flash before it is attached, and beyond what the ROM was told of it.
    assert tool.refused(Op.SPI_FLASH_MD5, 0, 16, 0, 0) == "01060000"
    tool.ok(Op.SPI_ATTACH, 0, 0)
    assert tool.refused(Op.FLASH_BEGIN, 4096, 4, 1024, 2 << 20) == "01060000"
    assert tool.refused(Op.READ_FLASH_SLOW, 0, 65) == "010a0000"
    tool.attach()
    tool.ok(Op.FLASH_BEGIN, 4096, 4, 1024, 3 << 20)
    assert tool.refused(Op.FLASH_DATA, *words, data=data, check=0) == "01070000"
    assert tool.refused(Op.FLASH_DATA, 16, 9, 0, 0, data=data, check=checksum(data)) == "01080000"
    if chip == "esp32":
        assert tool.refused(Op.FLASH_BEGIN, 4096, 4, 1024, 0, 0) == "01050000"  # a word too many
    else:
        tool.ok(Op.FLASH_BEGIN, 4096, 4, 1024, 0, 1)  # encrypted: in whole blocks
        odd = data[:-1]
        words_odd = (len(odd), 0, 0, 0)
        check = checksum(odd)
        assert tool.refused(Op.FLASH_DATA, *words_odd, data=odd, check=check) == "01080000"
        assert tool.refused(Op.FLASH_DEFL_BEGIN, 4096, 4, 1024, 0, 1) == "01640000"
    tool.ok(Op.FLASH_DEFL_BEGIN, 4096, 1, 1024, 0)
    assert tool.refused(Op.FLASH_DEFL_DATA, *words, data=data, check=checksum(data)) == "010b0000"
    assert tool.refused(Op.CHANGE_BAUDRATE, 0, 0) == "01010000"
    tool.flash.close()


@pytest.mark.parametrize("chip", ["esp32s3", "esp32c3"])
def test_secure_download_mode_takes_data_and_gives_none(chip, tmp_path):
    efuse = EFuse(CHIPS[chip], MAC)
    for register, value in ((0x10, 1 << 5), (0x1CC, 0x5A5A), (0x1D4, 2)):
        efuse.write(register, value)
    tool = Tool(chip, tmp_path, efuse)
    assert tool.ok(Op.GET_SECURITY_INFO)[0] == 1 << 2
    tool.attach()
    tool.ok(Op.FLASH_BEGIN, 16, 1, 0x400, 0x1000, 0)
    tool.block(Op.FLASH_DATA, 0, b"0123456789abcdef")
    assert tool.flash.read(0x1000, 16) == b"0123456789abcdef"
    for op in (Op.READ_REG, Op.WRITE_REG, Op.MEM_BEGIN, Op.READ_FLASH_SLOW, Op.SPI_FLASH_MD5):
        (packet,) = tool.send(encode(struct.pack("<BBHI", 0, op, 4, 0) + bytes(4)))
        assert packet[-4:] == bytes.fromhex("01050000")
    tool.flash.close()


def test_rom_erases_at_once_and_writes_block_by_block(tool):
    tool.attach()
    tool.flash.program(0x10000, bytes(0x3000))
    tool.ok(Op.FLASH_BEGIN, 0x1800, 6, 0x400, 0x10000)
    assert tool.flash.read(0x10000, 0x3000) == b"\xff" * 0x2000 + bytes(0x1000)
    assert [action.ns for action in tool.actions if isinstance(action, Busy)] == [90_000_000]
    second, first = random.Random(1).randbytes(0x400), random.Random(2).randbytes(0x400)
    tool.block(Op.FLASH_DATA, 1, second)
    tool.block(Op.FLASH_DATA, 0, first)
    assert tool.flash.read(0x10000, 0x800) == first + second
    digest = tool.ok(Op.SPI_FLASH_MD5, 0x10000, 0x800, 0, 0)
    assert digest == hashlib.md5(first + second).hexdigest().encode()
    assert tool.ok(Op.READ_FLASH_SLOW, 0x10000, 10) == first[:10] + bytes(54)


def test_rom_speed_comes_after_the_answer_and_is_right_in_spite_of_its_crystal(tool):
    # 921491 is what esptool asks for when it wants 921600 of this chip.
    tool.ok(Op.CHANGE_BAUDRATE, 921491, 0)
    kinds = [type(action) for action in tool.actions]
    assert kinds == [Transmit, SetBaud]
    assert abs(tool.actions[-1].baud - 921600) < 3


@pytest.mark.parametrize(("flag", "cause"), [(0, "sw"), (1, "run_app")])
def test_end_of_flashing_restarts_the_chip(tool, flag, cause):
    tool.attach()
    tool.ok(Op.FLASH_BEGIN, 0, 0, 1024, 0)
    tool.ok(Op.FLASH_END, flag)
    assert tool.actions[-1] == Reset(cause)


def test_requests_behind_a_restart_are_lost(tool):
    tool.attach()
    tool.ok(Op.FLASH_BEGIN, 0, 0, 1024, 0)
    end = encode(struct.pack("<BBHII", 0, Op.FLASH_END, 4, 0, 0))
    read = bytes.fromhex("c0000a0400000000000ca0f53fc0")
    assert len(tool.send(end + read)) == 1


@every_chip
def test_registers_that_reset_the_chip(chip, tmp_path):
    tool = Tool(chip, tmp_path)
    base = 0x3FF48000 if chip == "esp32" else 0x60008000
    config, protect = {
        "esp32": (0x8C, 0xA4),
        "esp32s3": (0x98, 0xB0),
        "esp32c3": (0x90, 0xA8),
    }[chip]
    enable = 1 << 31 | 5 << 28 | 2
    tool.ok(Op.WRITE_REG, base + protect, 0, 0xFFFFFFFF, 0)
    tool.ok(Op.WRITE_REG, base + config, enable, 0xFFFFFFFF, 0)
    assert not [action for action in tool.actions if isinstance(action, Reset)]
    tool.ok(Op.WRITE_REG, base + protect, 0x50D83AA1, 0xFFFFFFFF, 0)
    tool.ok(Op.WRITE_REG, base + config, enable, 0xFFFFFFFF, 0)
    (reset,) = [action for action in tool.actions if isinstance(action, Reset)]
    assert reset.cause == "rtc_wdt"
    assert reset.delay_ns > 0
    tool.ok(Op.WRITE_REG, base, 1 << 31, 0x80000000, 0)
    assert tool.actions[-1] == Reset("sw")
    tool.flash.close()


def test_flash_on_other_pins_is_not_there(tool):
    tool.ok(Op.SPI_ATTACH, 6 | 7 << 6 | 8 << 12 | 11 << 18 | 9 << 24, 0)
    assert tool.refused(Op.SPI_FLASH_MD5, 0, 16, 0, 0) == "01060000"


def test_what_is_not_in_the_address_space_reads_as_zero(tool):
    for address in (0, 0x3, 0x80000000, 0xFFFFFFFF, 0x40000000):
        tool.ok(Op.WRITE_REG, address, 0x12345678, 0xFFFFFFFF, 0)
        assert tool.ok(Op.READ_REG, address) == 0


# -- programs in RAM ------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", list(CHIPS), indirect=True)
@pytest.mark.parametrize("version", sorted(path.name for path in STUBS.iterdir()))
def test_every_stub_greets_and_speaks_without_a_value(tool, version):
    assert tool.load_stub(version)[-1] == b"OHAI"
    packets = tool.send(encode(struct.pack("<BBHI", 0, Op.SYNC, 36, 0) + SYNC))
    assert packets == [bytes.fromhex("01080200000000000000")] * 8


def test_another_program_is_silent_until_the_reset(tool):
    code = random.Random(3).randbytes(400)
    tool.ok(Op.MEM_BEGIN, len(code), 1, len(code), 0x40080000)
    tool.block(Op.MEM_DATA, 0, code)
    tool.ok(Op.MEM_END, 0, 0x40080000)
    assert tool.send(encode(struct.pack("<BBHI", 0, Op.SYNC, 36, 0) + SYNC)) == []


def test_program_can_be_left_alone(tool):
    tool.ok(Op.MEM_BEGIN, 0, 0, 0, 0x40080000)
    tool.ok(Op.MEM_END, 1, 0)
    assert tool.ok(Op.READ_REG, 0x40001000) == 0x00F01D83


# -- the stub -------------------------------------------------------------------------------------


def test_errors_of_the_stub(stub):
    data = b"0123456789abcdef"
    words = (len(data), 0, 0, 0)
    assert stub.refused(0xFF) == "c300"
    assert stub.refused(Op.READ_FLASH_SLOW, 0, 0) == "c300"
    assert stub.refused(Op.READ_REG, 0, 0) == "c000"
    assert stub.refused(Op.GET_SECURITY_INFO) == "ff00"
    assert stub.refused(Op.FLASH_DATA, *words, data=data, check=checksum(data)) == "c600"
    assert stub.refused(Op.FLASH_END, 1) == "c600"
    assert stub.refused(Op.ERASE_REGION, 1, 4096) == "c000"
    stub.ok(Op.FLASH_BEGIN, 16, 1, 0x4000, 0)
    assert stub.refused(Op.FLASH_DATA, *words, data=data, check=1) == "c100"
    assert stub.refused(Op.FLASH_DATA, *words, data=data + b"x", check=1) == "c900"
    assert stub.refused(Op.FLASH_DATA, 1, 0, data=b"") == "c800"
    assert stub.refused(Op.FLASH_END, 1) == "c000"  # too early
    wrong = encode(struct.pack("<BBHI", 0, Op.READ_REG, 9, 0) + bytes(4))
    assert stub.send(wrong) == [bytes.fromhex("010a020000000000c000")]
    answer = encode(struct.pack("<BBHI", 1, Op.READ_REG, 4, 0) + bytes(4))
    assert stub.send(answer) == [bytes.fromhex("010a020000000000c300")]
    assert stub.send(encode(b"\x00\x08")) == []
    assert stub.send(b"\xc0\xdb\x00\xc0") == []


def test_stub_erases_as_it_goes_and_answers_first(stub):
    stub.flash.program(0, bytes(0x50000))
    data = random.Random(4).randbytes(0x4000)
    stub.ok(Op.FLASH_BEGIN, 0x30000, 12, 0x4000, 0x8000)
    stub.block(Op.FLASH_DATA, 0, data)
    assert [type(action) for action in stub.actions] == [Transmit, Busy]
    assert stub.flash.read(0x8000, 0x4000) == data
    assert stub.flash.read(0x10000, 0x40000) == bytes(0x40000)  # its turn has not come
    for sequence in range(1, 12):
        stub.block(Op.FLASH_DATA, sequence, data)
    stub.ok(Op.FLASH_END, 1)
    assert stub.flash.read(0x8000, 0x30000) == data * 12
    assert stub.flash.read(0x38000, 0x18000) == bytes(0x18000)


def test_stub_does_not_write_the_padding_of_the_last_block(stub):
    stub.flash.program(0x1000, bytes(0x2000))
    stub.ok(Op.FLASH_BEGIN, 0x10, 1, 0x4000, 0x1000)
    stub.block(Op.FLASH_DATA, 0, b"x" * 0x10 + b"\xff" * 0x3FF0)
    assert stub.flash.read(0x1000, 0x2000) == b"x" * 16 + b"\xff" * 0xFF0 + bytes(0x1000)


@pytest.mark.parametrize(
    ("packed", "code"),
    [
        (b"this is not what zlib makes", "c700"),
        (zlib.compress(bytes(5000)), "c900"),  # more than was announced
        (zlib.compress(b"x" * 100)[:-1] + b"?", "c700"),  # Adler-32 is wrong
    ],
)
def test_stub_tells_a_failed_inflation_with_the_next_answer(stub, packed, code):
    stub.ok(Op.FLASH_DEFL_BEGIN, 100, 1, 0x4000, 0x1000)
    stub.block(Op.FLASH_DEFL_DATA, 0, packed)
    assert stub.refused(Op.READ_REG, 0x40001000) == code
    assert stub.ok(Op.READ_REG, 0x40001000) == 0x00F01D83


def test_stub_reads_packet_by_packet(stub):
    data = random.Random(5).randbytes(10_000)
    stub.flash.program(0x2345, data)
    request = struct.pack("<BBHIIIII", 0, Op.READ_FLASH, 16, 0, 0x2345, 10_000, 4096, 64)
    answer, first = stub.send(encode(request))
    assert answer == bytes.fromhex("01d202000000000000 00".replace(" ", ""))
    got = first
    (second,) = stub.send(encode(struct.pack("<I", len(got))))
    got += second
    (third,) = stub.send(encode(struct.pack("<I", len(got))))
    got += third
    (digest,) = stub.send(encode(struct.pack("<I", len(got))))
    assert got == data
    assert digest == hashlib.md5(data).digest()
    assert stub.ok(Op.READ_REG, 0x40001000) == 0x00F01D83


def test_stub_ends_a_read_when_something_else_comes(stub):
    request = struct.pack("<BBHIIIII", 0, Op.READ_FLASH, 16, 0, 0, 10_000, 4096, 64)
    _, first = stub.send(encode(request))
    (digest,) = stub.send(encode(struct.pack("<BBHI", 0, Op.SYNC, 36, 0) + SYNC))
    assert digest == hashlib.md5(first).digest()


def test_stub_refuses_to_read_in_packets_that_it_has_no_room_for(stub):
    for packet_size in (0, 4097):
        assert stub.ok(Op.READ_FLASH, 0, 100, packet_size, 1) == 0
        assert stub.refused(Op.READ_REG, 0) == "c000"


def test_flash_addresses_wrap_at_the_end_of_the_chip(stub):
    stub.ok(Op.FLASH_BEGIN, 32, 1, 0x4000, SIZE - 16)
    stub.block(Op.FLASH_DATA, 0, b"at the end.....!from the start..")
    assert stub.flash.read(SIZE - 16, 16) == b"at the end.....!"
    assert stub.flash.read(0, 16) == b"from the start.."


# -- anything -------------------------------------------------------------------------------------


def requests():
    word = st.one_of(
        st.sampled_from(
            [0, 1, 16, 4096, 65536, SIZE, SIZE - 1, 0xFFFFFFFF, 0x3FFB0000, 0x40080000]
        ),
        st.sampled_from([0x3FF42000, 0x3FF42024, 0x3FF4201C, 0x3FF5A104, 0x3FF4808C, 0x40001000]),
        st.integers(0, 0xFFFFFFFF),
    )
    body = st.one_of(
        st.binary(max_size=100),
        st.lists(word, max_size=6).map(lambda words: struct.pack(f"<{len(words)}I", *words)),
        st.binary(max_size=300).map(
            lambda data: struct.pack("<4I", len(data), 0, 0, 0) + data,
        ),
        st.binary(max_size=300).map(
            lambda data: struct.pack("<4I", len(zlib.compress(data)), 0, 0, 0) + zlib.compress(data)
        ),
    )

    def pack(op, data, lie, right):
        check = checksum(data[16:]) if right else 7
        return encode(struct.pack("<BBHI", 0, op, (len(data) + lie) & 0xFFFF, check) + data)

    ops = st.one_of(st.sampled_from(list(Op)), st.integers(0, 255))
    lies = st.sampled_from([0, 0, 0, 0, 1])
    return st.builds(pack, ops, body, lies, st.booleans())


@given(
    chip=st.sampled_from(list(CHIPS)),
    stub=st.booleans(),
    stream=st.lists(st.one_of(requests(), st.binary(max_size=60)), max_size=30),
    cut=st.integers(1, 400),
)
@settings(max_examples=250, deadline=None)
def test_no_input_makes_the_loader_fail(tmp_path_factory, chip, stub, stream, cut):
    tool = Tool(chip, tmp_path_factory.mktemp("rom"))
    tool.attach()
    if stub:
        tool.load_stub("2")
    data = b"".join(stream)
    for at in range(0, len(data), cut):
        for action in tool.loader.receive(data[at : at + cut]):
            assert isinstance(action, Transmit | Busy | SetBaud | Reset)
            if isinstance(action, Busy):
                assert 0 <= action.ns < 1e15
    if not any(packet[2:3] == bytes([Op.MEM_END]) for packet in stream):
        # No other program was started: what listens must still do so. The first request may be
        # taken for an acknowledgement, the second be told of an earlier failure.
        tool.loader.receive(b"\xc0\xc0")
        sync = encode(struct.pack("<BBHI", 0, Op.SYNC, 36, 0) + SYNC)
        answers = [tool.send(sync) for _ in range(3)]
        assert [packet[:2] for packet in answers[2]] == [bytes([1, Op.SYNC])] * 8
    tool.flash.close()


def test_a_whole_image_is_taken_in_a_moment(stub):
    data = random.Random(6).randbytes(1_700_000)
    stub.ok(Op.FLASH_BEGIN, len(data), 104, 0x4000, 0x10000)
    for sequence, at in enumerate(range(0, len(data), 0x4000)):
        stub.block(Op.FLASH_DATA, sequence, data[at : at + 0x4000])
    assert stub.flash.read(0x10000, len(data)) == data

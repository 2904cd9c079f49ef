"""The CBOR codec on its vectors and at its limits; runs on CPython and on MicroPython."""

import binascii

from cbor_vectors import BOTH_WAYS, BROKEN, DECODED, REFUSED
from citynode.wire import cbor
from citynode.wire.cbor import UNDEFINED, CborError
from wire_tools import error_of, fold, put


def test_appendix_a_is_encoded():
    for text, value in BOTH_WAYS:
        assert put(value) == binascii.unhexlify(text), text


def test_appendix_a_is_decoded():
    for text, value in BOTH_WAYS + DECODED:
        assert fold(cbor.decode(binascii.unhexlify(text))) == fold(value), text


def test_what_is_not_ours_is_refused_by_name():
    for text, kind in REFUSED + BROKEN:
        assert error_of(CborError, cbor.decode, binascii.unhexlify(text)) == kind, text


def test_every_kind_of_buffer_is_decoded():
    data = binascii.unhexlify("a261614161616262c3bc")
    for view in (data, bytearray(data), memoryview(data)):
        value = cbor.decode(view)
        assert value == {"a": b"a", "b": "\u00fc"}
        assert type(value["a"]) is bytes


def test_every_cut_of_a_value_is_an_error():
    data = put({"a": [1, 300, 70000, 1 << 40, None], "bytes": b"1234", "t": "text", "m": {"x": 0}})
    for end in range(len(data)):
        assert error_of(CborError, cbor.decode, data[:end]) == "truncated"
    assert error_of(CborError, cbor.decode, data + b"\0") == "trailing"


def test_integers_have_their_shortest_form_at_every_border():
    for bits, size in ((0, 1), (8, 2), (16, 3), (32, 5), (64, 9)):
        low, high = ((0, 23) if bits == 0 else (24, 255)) if bits < 16 else (0, 0)
        if bits >= 16:
            low, high = 1 << bits // 2, (1 << bits) - 1
        for value in (low, high):
            for number in (value, -1 - value):
                data = put(number)
                assert len(data) == size, number
                assert cbor.decode(data) == number
                assert cbor.get_int(b"\xff" + data, 1) == (number, 1 + size)


def test_depth_is_limited():
    nested = 0
    for _ in range(8):
        nested = [nested]
    assert cbor.decode(put(nested)) == nested
    assert error_of(CborError, put, [nested]) == "depth"
    assert error_of(CborError, cbor.decode, b"\x81" * 8 + b"\x00", 7) == "depth"
    for first in (b"\x81", b"\xa1\x60"):
        assert error_of(CborError, cbor.decode, first * 30000 + b"\x00") == "depth"
    loop = []
    loop.append(loop)
    assert error_of(CborError, put, loop) == "depth"


def test_items_are_limited():
    data = put([0] * 99)
    assert cbor.decode(data, 1, 100) == [0] * 99
    assert error_of(CborError, cbor.decode, data, 1, 99) == "items"
    assert error_of(CborError, cbor.decode, put([[0] * 9] * 9), 2, 90) == "items"
    assert error_of(CborError, cbor.decode, put({"a": {"b": 1}}), 2, 4) == "items"
    assert error_of(CborError, cbor.decode, b"\x99\x10\x00" + b"\0" * 4096) == "items"


def test_errors_tell_where():
    for text, offset in (("82010018", 3), ("8201f0", 2), ("a161611817", 3), ("82006218", 3)):
        try:
            cbor.decode(binascii.unhexlify(text))
        except CborError as error:
            assert error.offset == offset, text
        else:
            raise AssertionError(text)


def test_what_has_no_encoding_is_an_error():
    for value in (1.5, {1: 2}, object(), {b"a": 1}):
        assert error_of(CborError, put, value) == "type"
    for value in (1 << 64, -1 - (1 << 64), [1 << 90]):
        assert error_of(CborError, put, value) == "range"


def test_a_full_buffer_is_an_error_and_nothing_is_written_behind_it():
    for value in (
        0,
        24,
        300,
        70000,
        1 << 40,
        "text",
        b"bytes",
        [1, 2],
        {"a": None},
        True,
        UNDEFINED,
    ):
        data = put(value)
        for size in range(len(data)):
            assert error_of(CborError, put, value, size) == "full"
        assert put(value, len(data)) == data


def test_map_keys_are_sorted_by_their_encoding():
    data = put({"b": 1, "aa": 2, "a": 3, "": 4, "\u00e4": 5})
    assert data == b"\xa5" + b"\x60\x04" + b"\x61a\x03" + b"\x61b\x01" + b"\x62aa\x02" + (
        b"\x62\xc3\xa4\x05"
    )


def test_every_half_float_is_exact():
    for bits in range(0x10000):
        exponent = (bits >> 10) & 31
        value = cbor.decode(bytes((0xF9, bits >> 8, bits & 0xFF)))
        sign = -1 if bits & 0x8000 else 1
        if exponent == 31:
            assert value != value if bits & 0x3FF else value == sign * float("inf")
        elif exponent:
            assert sign * value * (1 << 25) == (1024 + (bits & 1023)) << exponent
        else:
            assert sign * value * (1 << 24) == bits & 1023


def test_a_configuration_is_read():
    config = binascii.unhexlify(
        "a4617601"  # "v": 1
        "67626174746572" + "79" + "a2" + "6370696e" + "01" + "65726174696f" + "fb4000000000000000"
        "636c6564" + "f6"
        "6773656e736f7273"
        + "81"
        + "a2"
        + "6463686970"
        + "66626d65323830"
        + "6761646472657373"
        + "1876"
    )
    assert cbor.decode(config) == {
        "v": 1,
        "battery": {"pin": 1, "ratio": 2.0},
        "led": None,
        "sensors": [{"chip": "bme280", "address": 0x76}],
    }

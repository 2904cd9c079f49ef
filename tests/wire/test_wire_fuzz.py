"""Bytes at random and damaged frames: a value or the typed error; on CPython and MicroPython."""

import binascii

from citynode.wire import cbor, frame
from citynode.wire.cbor import CborError
from citynode.wire.frame import FrameError
from citynode.wire.schema import RECORDS
from wire_batches import pack, run_of
from wire_tools import Chance, fold

ROUNDS = 40000
# Bytes that matter more often than chance would have them.
_TELLING = (
    b"\x00\x17\x18\x19\x1a\x1b\x1f\x20\x38\x39\x40\x58\x5f\x60\x61\x78\x7f\x80\x81\x82\x84\x8b"
    b"\x98\x9b\x9f\xa0\xa1\xbb\xbf\xc0\xc2\xd8\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xff"
)


def noise(chance):
    """Return up to 40 bytes, half of them telling ones."""
    return bytes(
        [
            _TELLING[chance.below(len(_TELLING))] if chance.below(2) else chance.below(256)
            for _ in range(chance.below(40))
        ]
    )


def seeds():
    """Return a full frame and a batch of every type, and a configuration's kind of map."""
    found = []
    for kind in sorted(RECORDS):  # MicroPython's dicts have an order of their own
        rows = RECORDS[kind][1]
        values = [row[5] * row[3] / row[2] for row in rows]
        found.append(frame.encode(kind, 12345, 1750000000, 1, values))
        found.append(frame.encode(kind, 1, -5, 0, values[: len(values) // 2]))
        steps = [[low - zero + i for _, _, _, _, zero, low, _, _ in rows] for i in (0, 9, 1, 1)]
        steps[2][0] = None
        found.append(pack(run_of(kind, 12345, 1750000000, 1, 300, steps))[0])
    buffer = bytearray(100)
    size = cbor.put(buffer, 0, {"v": 1, "site": "Bochum \u00e4", "s": [{"a": None, "b": b"12"}]})
    return found + [bytes(buffer[:size])]


def damaged(chance, data):
    """Return the data with some bytes changed, cut out, doubled, or with noise in it."""
    data = bytearray(data)
    for _ in range(1 + chance.below(3)):
        at = chance.below(len(data)) if data else 0
        what = chance.below(5)
        if what == 0:
            data[at : at + 1] = bytes((chance.below(256),))
        elif what == 1:
            data[at : at + 1] = bytes((_TELLING[chance.below(len(_TELLING))],))
        elif what == 2:
            data = data[:at] + data[at + 1 + chance.below(4) :]
        elif what == 3:
            data = data[:at] + data[at:][: chance.below(9)] + data[at:]
        else:
            data = data[:at]
    return bytes(data)


def outcome(data):
    """Return all that the decoders say of some bytes, as bytes."""
    try:
        said = fold(cbor.decode(data))
    except CborError as error:
        said = b"%s@%d" % (error.kind.encode(), error.offset)
    try:
        for record in frame.decode(data):
            said += b"|%d %d %d" % (record.kind, record.seq, record.status) + fold(record.values)
            assert (record.t is None) != (record.age_s is None)
    except FrameError as error:
        said += b"|" + error.kind.encode() + fold(error.detail)
    try:
        said += b"|%d" % frame.peek(data)[2] + frame.restamp(data, 7)
    except FrameError as error:
        said += b"|" + error.kind.encode()
    return said


def digest(rounds=ROUNDS):
    """Return how many inputs were frames and a checksum of all outcomes."""
    chance = Chance(2024)
    grown = seeds()
    crc = frames = 0
    for number in range(rounds):
        for data in (noise(chance), damaged(chance, grown[number % len(grown)])):
            said = outcome(data)
            crc = binascii.crc32(said, crc)
            try:
                frames += len(frame.decode(data))
            except FrameError:
                pass
    return frames, crc


def test_seeds_are_good():
    *frames, config = seeds()
    for data in frames:
        assert len(frame.decode(data)) in (1, 4)
    assert cbor.decode(config)["site"] == "Bochum \u00e4"


def test_some_damaged_frames_are_still_frames():
    frames, _ = digest(1000)
    assert 20 < frames < 1500

"""Batches: there and back, sizes, limits, what ends one; runs on CPython and on MicroPython."""

import binascii

from citynode.wire import frame
from citynode.wire.batch import Packer
from citynode.wire.cbor import UNDEFINED
from citynode.wire.columns import MAX_RECORDS, BitWriter, fold, width
from citynode.wire.frame import FrameError
from citynode.wire.schema import CLIMATE, EVENT, HEALTH, RECORDS, TRAFFIC, WEATHER
from wire_batches import NOON, batches, open_frame, pack, random_run, run_of
from wire_tools import Chance, error_of, put

# Two hours of a climate node, and of what a traffic node counts.
CLIMATE_RUN = [
    [2137 - i * i % 7, 482 + i % 3, 1325 - i, 212 + 3 * i % 11, 79 + i % 4, 124 - i % 5, 191]
    for i in range(24)
]
TRAFFIC_RUN = [
    [5, 11 + i % 5, 142 - 7 * i % 23, 6, 4, 118 + i, 9, 87, 92, 105 - i % 3, 110, 15 + i % 2, 191]
    for i in range(24)
]

# Three records with all that there is; docs/frames.md takes this one to pieces.
SHOWN = "87211930391a684d6cc70119012c034811e642c9d1bc4500"


def told(record):
    return (record.kind, record.seq, record.t, record.age_s, record.status, record.values)


def alone(frames):
    """Return what the open frames say."""
    return [told(frame.decode(data)[0]) for data in frames]


def together(payload):
    """Return what a payload says."""
    return [told(record) for record in frame.decode(payload)]


def test_random_runs_go_there_and_back():
    packed = 0
    for run, payload in batches(400, 7):
        frames = run_of(*run)
        said = together(payload) if payload else []
        assert said == alone(frames[: len(said)])
        assert len(payload) <= sum([len(data) for data in frames[: len(said)]])
        packed += len(said) > 1
    assert packed > 200


def test_a_payload_holds_as_many_as_fit():
    chance = Chance(3)
    packer = Packer()
    for _ in range(12):
        run = random_run(chance)
        frames = run_of(*run)[:9]
        sizes = [len(pack(frames[: i + 1], 4000, packer)[0]) for i in range(len(frames))]
        for limit in range(0, max(sizes) + 2, 5):
            payload, last = pack(frames, limit, packer)
            assert len(payload) <= limit
            # A batch that is no shorter than its records counts for one.
            fit = [i for i, size in enumerate(sizes) if size <= limit and len(frames) > i]
            if not payload:
                assert (fit, last) == ([], 0) or len(frames[0]) > limit
            else:
                assert len(frame.decode(payload)) == last + 1 == packer.count
                assert last >= fit[-1] or len(pack(frames[: fit[-1] + 1], limit)[0]) <= limit


def test_sizes_that_are_a_mark():
    for rows, kind, n, most in (
        (CLIMATE_RUN, CLIMATE, 1, 27),
        (CLIMATE_RUN, CLIMATE, 4, 43),
        (CLIMATE_RUN, CLIMATE, 12, 75),
        (CLIMATE_RUN, CLIMATE, 24, 125),
        (TRAFFIC_RUN, TRAFFIC, 1, 30),
        (TRAFFIC_RUN, TRAFFIC, 12, 92),
    ):
        payload, last = pack(run_of(kind, 12345, NOON, 1, 300, rows[:n]))
        assert last == n - 1
        assert len(payload) <= most, (kind, n, len(payload))
    # What stays as it is takes a few bits, however often it is told.
    still = run_of(WEATHER, 1, NOON, 1, 300, [[0, 0, 0, 230, 0, 191]] * 64)
    assert len(pack(still)[0]) <= 30


def test_a_batch_goes_on_only_with_the_next_record_of_its_kind():
    def climate(seq, t, status=1, raw=5, kind=CLIMATE):
        return open_frame(kind, seq, t, status, [raw])

    first = [climate(7, NOON), climate(8, NOON + 300)]
    for third, count in (
        (climate(9, NOON + 600), 3),
        (climate(9, NOON + 600, raw=None), 3),
        (climate(9, NOON + 600, raw=UNDEFINED), 3),
        (climate(10, NOON + 600), 2),  # a gap in the numbers
        (climate(8, NOON + 600), 2),
        (climate(9, NOON + 601), 2),  # another interval
        (climate(9, NOON + 300), 2),
        (climate(9, NOON - 300), 2),
        (climate(9, -301), 2),  # the clock was lost
        (climate(9, NOON + 600, status=5), 3),
        (climate(9, NOON + 600, status=0xFFFF), 3),
        (climate(9, NOON + 600, kind=WEATHER), 2),
        (climate(9, NOON + 600, kind=9), 2),
        (open_frame(CLIMATE, 9, NOON + 600, 1, [5] * 16), 2),  # a field of a later schema
        (put([CLIMATE, 9, NOON + 600, 1, "x"]), 2),
        (put([CLIMATE, 9, NOON + 600, 1, True]), 2),
        (put([CLIMATE, 9, NOON + 600, 1, 12501]), 2),  # out of range
        (b"\x85\x01", 2),
        (b"", 2),
    ):
        packer = Packer()
        payload, last = pack(first + [third], 240, packer)
        assert last == count - 1
        assert len(frame.decode(payload)) == packer.count == count
        assert packer.closed == (count == 2)
    # Time may stand still, and run backwards in no batch.
    assert pack([climate(7, NOON), climate(8, NOON), climate(9, NOON)])[1] == 2
    assert pack([climate(7, NOON), climate(8, NOON - 1)])[1] == 0


def test_a_status_that_changes_takes_little():
    """A restart, or a sensor that fails every other time, is no reason for a payload more."""
    rows = CLIMATE_RUN[:12]
    still = len(pack(run_of(CLIMATE, 7, NOON, 1, 300, rows))[0])
    for statuses, more in (
        ([3] + [1] * 11, 5),
        ([1, 5] * 6, 9),
        ([1] * 6 + [9] * 6, 5),
        ([0xFFFF, 0] * 6, 40),
    ):
        frames = run_of(CLIMATE, 7, NOON, statuses, 300, rows)
        payload, last = pack(frames)
        assert last == 11
        assert together(payload) == alone(frames)
        assert len(payload) <= still + more, statuses


def test_records_of_before_the_clock_was_set_are_batched_by_age():
    rows = CLIMATE_RUN[:6]
    frames = run_of(CLIMATE, 0, frame.t_of_age(1500), 0, 300, rows)
    payload, last = pack(frames)
    assert last == 5
    assert [record.age_s for record in frame.decode(payload)] == [1500, 1200, 900, 600, 300, 0]
    assert together(payload) == alone(frames)
    # As the clock is set, so are the times of a batch: `restamp` works on it as on a frame.
    later = frame.restamp(payload, NOON)
    assert [record.t for record in frame.decode(later)] == [NOON + 300 * i for i in range(6)]
    assert frame.peek(later) == (-1 - CLIMATE, 0, NOON, 0)


def test_what_has_no_batch_goes_alone_as_it_is():
    good = run_of(EVENT, 4, NOON, 0, 1, [[1, 2], [3, 4]])
    for odd in (
        put([9, 3, NOON, 0, 1]),
        put([EVENT, 3, NOON, 0, 1, 2, "later"]),
        put([EVENT, 3, NOON, 0, 300]),
        b"\x87\x24\x01\x02\x03\x04\x01\x41\x00",
        b"\xff\xff\xff\xff",
        put([EVENT, -1, NOON, 0, 1]),
        put([EVENT, 1 << 32, NOON, 0, 1]),
        put([EVENT, 3, 1 << 32, 0, 1]),
        put([EVENT, 3, NOON, 1 << 16, 1]),
        put([EVENT, None, NOON, 0, 1]),
        b"\x84\x05\x01\x02\x19\x00",
        bytes(280),
    ):
        packer = Packer()
        assert pack([odd] + good, 300, packer) == (odd, 0)
        assert (packer.count, packer.closed) == (1, True)
        assert pack([odd], len(odd) - 1, packer) == (b"", 0)
        assert packer.count == 0
    assert pack([], 240) == (b"", -1)


def test_a_full_batch_has_64_records():
    frames = run_of(EVENT, 0, NOON, 0, 60, [[1, i % 3] for i in range(80)])
    packer = Packer()
    payload, last = pack(frames, 240, packer)
    assert last == MAX_RECORDS - 1
    assert packer.closed
    assert together(payload) == alone(frames[:MAX_RECORDS])


def test_the_ends_of_every_range_fit_their_columns():
    for kind, (_, rows) in RECORDS.items():
        lows = [row[5] - row[4] for row in rows]
        highs = [row[6] - row[4] for row in rows]
        frames = run_of(kind, 0xFFFFFFFF - 3, 0xFFFFFFFF - 3, 0xFFFF, 1, [lows, highs, lows, highs])
        payload, last = pack(frames)
        assert together(payload) == alone(frames[: last + 1])
        for row in rows:
            assert max(fold(row[5] - row[4]), fold(row[6] - row[4])) >> 33 == 0
            assert width(row[5] - row[4], row[6] - row[4]) <= 32, row[0]


def test_a_batch_in_all_its_bits():
    frames = run_of(CLIMATE, 12345, 1749904583, 1, 300, [[2137, 482], [2140, 482], [None, 481]])
    payload, last = pack(frames)
    assert last == 2
    assert binascii.hexlify(payload).decode() == SHOWN
    assert together(binascii.unhexlify(SHOWN)) == alone(frames)


def bits(*parts):
    """Return the bytes of `(value, bits)` pairs, filled up with zeros."""
    buffer = bytearray(64)
    writer = BitWriter()
    writer.begin(buffer, 0)
    for value, count in parts:
        writer.put(value, count)
    return bytes(buffer[: writer.pos])


def code(mode, rest, count):
    return bits(*(CODE + ((mode, 3), (rest, count))))


def batch(columns, n=2, seq=1, t=2, dt=4, kind=EVENT, later=()):
    return put([-1 - kind, seq, t, 3, dt, n, columns] + list(later))


# One complete column of events: `code` is 8 bits wide, and 255 has class 3.
CODE = ((1, 5), (1, 1), (0, 1), (3, 2), (255, 8))


def test_bad_batches_are_named():
    none = bits((0, 5), (1, 1))
    for data, kind in (
        (b"\x81\x20", "type"),
        (put([-1 - EVENT, 1, 2, 3, 4, 2]), "shape"),
        (put([-25, 1, 2, 3, 4, 2, none]), "type"),
        (put([-1 - EVENT, -1, 2, 3, 4, 2, none]), "seq"),
        (put([-1 - EVENT, 1, None, 3, 4, 2, none]), "t"),
        (put([-1 - EVENT, 1, 2, -3, 4, 2, none]), "status"),
        (batch(none, dt=-1), "dt"),
        (batch(none, dt=True), "dt"),
        (batch(none, dt=1 << 32), "dt"),
        (batch(none, n=0), "n"),
        (batch(none, n=MAX_RECORDS + 1), "n"),
        (batch(none, n=1 << 40), "n"),
        (batch(none, n=None), "n"),
        (batch(none, n=True), "n"),
        (batch(none, seq=0xFFFFFFFF), "seq"),
        (batch(none, t=0xFFFFFFFE), "t"),
        (batch(none, t=-4, dt=4), "t"),
        (batch(None), "columns"),
        (batch([]), "cbor"),
        (batch("a"), "columns"),
        (batch(b""), "columns"),
        (batch(bits((31, 5), (0, 1))), "columns"),
        (batch(bits((1, 5), (1, 1), (3, 2))), "columns"),  # no value
        (batch(bits((1, 5), (1, 1), (0, 1), (2, 2), (60, 6))), "columns"),  # no mode
        (batch(code(1, 0xF, 4)), "columns"),  # no difference
        (batch(code(0, 0, 0) + b"\0"), "columns"),
        (batch(code(0, 7, 3)), "columns"),  # ones at the end
        (batch(code(1, 6, 3)), "value"),  # 256
        (batch(code(1, 0x3FFFF, 18)), None),
        (batch(none, later=(1, "a", None, b"")), None),
        (b"\x88" + batch(none)[1:] + b"\xf9\x3c\x00", "value"),
    ):
        assert error_of(FrameError, frame.decode, data) == kind, data


def test_what_a_frame_makes_of_a_receiver_has_a_limit():
    """Equal values take no bits: n alone bounds what a few bytes become."""
    for columns in (bits((31, 5), (0, 2), (0x555, 12)), code(0, 0, 0), bits((0, 6))):
        records = frame.decode(batch(columns, n=MAX_RECORDS))
        assert len(records) == MAX_RECORDS


def test_a_batch_grows_with_its_schema():
    """An old decoder leaves later columns out; a new one has no value for what is missing."""
    name, rows = RECORDS[EVENT]
    old_frames = run_of(EVENT, 1, NOON, 0, 60, [[1, 5], [2, 6], [3, 5]])
    old = pack(old_frames)[0]
    later = (("extra", "", 1, 1, 0, 0, 1000, ()), ("more",) + rows[1][1:])
    RECORDS[EVENT] = (name, rows + later)
    try:
        new_frames = run_of(EVENT, 1, NOON, 0, 60, [[1, 5, 7, 1], [2, 6, None, 2], [3, 5, 9, 4]])
        new = pack(new_frames)[0]
        assert together(new) == alone(new_frames)
        assert [r.values["extra"] for r in frame.decode(old)] == [None] * 3
        assert [r.values["more"] for r in frame.decode(old)] == [None] * 3
        assert pack(old_frames)[0] == old
    finally:
        RECORDS[EVENT] = (name, rows)
    assert together(new) == together(old) == alone(old_frames)
    # After a rollback the spool has what the older program has no columns for.
    assert pack(new_frames) == (new_frames[0], 0)


def test_a_health_record_of_every_hour_is_batched_too():
    rows = [
        [10203, 1, 77, 12, 3600 * i, 6400 - i % 4, 3800, i, 0, 0, 1, 2, -97, 33, 130]
        for i in range(1, 9)
    ]
    frames = run_of(HEALTH, 1, NOON, 1, 3600, rows)
    payload, last = pack(frames, 222)
    assert last == 7
    assert together(payload) == alone(frames)
    assert len(payload) < sum([len(data) for data in frames]) // 3

"""Properties of batches, and both Python decoders held against each other; CPython only."""

import wire_batches
from citynode import frames
from citynode.wire import frame
from citynode.wire.cbor import UNDEFINED
from citynode.wire.columns import MAX_RECORDS
from citynode.wire.frame import FrameError
from citynode.wire.schema import RECORDS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_wire_fuzz import damaged, noise
from wire_tools import Chance

FUZZED = 4000


@st.composite
def runs(draw):
    """Return records that go together, as `wire_batches.run_of` takes them."""
    kind = draw(st.sampled_from(sorted(RECORDS)))
    dt = draw(st.integers(0, 90000))
    n = draw(st.integers(1, MAX_RECORDS) if draw(st.booleans()) else st.integers(1, 6))
    t = draw(st.integers(0, 0xFFFFFFFF - n * dt) | st.integers(-1 - 0xFFFFFFFF, -1 - n * dt))
    seq = draw(st.integers(0, 0xFFFFFFFF - n))
    statuses = st.integers(0, 0xFFFF)
    status = draw(statuses | st.lists(statuses, min_size=n, max_size=n))
    cells = []
    for _, _, _, _, zero, low, high, _ in RECORDS[kind][1]:
        middle = draw(st.integers(low, high))
        near = st.integers(max(low, middle - 40), min(high, middle + 40))
        values = draw(st.sampled_from((near, st.just(middle), st.integers(low, high))))
        holes = st.sampled_from((None, UNDEFINED))
        shifted = values.map(lambda steps, zero=zero: steps - zero)
        cells.append(draw(st.sampled_from((shifted, shifted | holes, holes))))
    rows = draw(st.lists(st.tuples(*cells), min_size=n, max_size=n))
    return kind, seq, t, status, dt, [list(row) for row in rows]


@given(runs(), st.integers(12, 260))
@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_what_is_packed_is_what_was_stored(run, limit):
    sent = wire_batches.run_of(*run)
    payload, last = wire_batches.pack(sent, limit)
    assert len(payload) <= limit
    if not payload:
        assert len(sent[0]) > limit
        return
    records = frames.decode(payload)
    assert records == [record for data in sent[: last + 1] for record in frames.decode(data)]
    assert len(payload) <= sum(map(len, sent[: last + 1]))


def outcome(decode, data):
    try:
        return [
            (each.kind, each.seq, each.t, each.age_s, each.status, dict(each.values))
            for each in decode(data)
        ]
    except FrameError:
        return None


def test_both_python_decoders_say_the_same_of_damaged_batches():
    chance = Chance(9)
    good = 0
    for _, payload in wire_batches.batches(FUZZED, 5):
        for data in (damaged(chance, payload), b"\x87" + payload[1:8] + noise(chance)):
            told = outcome(frames.decode, data)
            assert told == outcome(frame.decode, data), data.hex()
            good += told is not None
    assert FUZZED / 50 < good < FUZZED

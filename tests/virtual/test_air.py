"""The air: who hears what, and what disturbs it."""

import math
from pathlib import Path

import pytest
from air_bench import HZ, SF7, SYMBOL_NS, Ear, finish, missed
from citynode.virtual.air import Air, Gateway, Modulation
from citynode.virtual.engine import Engine
from radio_bench import MS, NS, SimTime

# -- hearing -------------------------------------------------------------------------------------


def test_a_frame_is_heard_in_its_parts_at_their_times(air):
    ear = Ear(air).open()
    frame = air.transmit("node", b"hello", SF7, 14.0, 10 * MS)
    finish(air)
    assert ear.heard == [(b"hello", True)]
    assert ear.stages == [
        (10 * MS + 5 * SYMBOL_NS, "preamble"),
        (10 * MS + 49 * SYMBOL_NS // 4, "sync"),
        (10 * MS + 81 * SYMBOL_NS // 4, "header"),
        (frame.end_ns, "end"),
    ]


@pytest.mark.parametrize(
    ("late_symbols", "reason"), [(-1, None), (0, None), (3, None), (3.01, "late"), (8, "late")]
)
def test_a_receiver_needs_five_symbols_of_the_preamble(air, events, late_symbols, reason):
    start = 10 * MS
    ear = Ear(air)
    air.transmit("node", b"hello", SF7, 14.0, start)
    opens = start + round(late_symbols * SYMBOL_NS)
    air.engine.call_at(opens, lambda: ear.open(opens))
    finish(air)
    assert (len(ear.heard) == 1) == (reason is None)
    assert missed(events) == ([] if reason is None else [reason])


def test_a_receiver_closed_before_the_end_hears_nothing(air):
    ear = Ear(air).open()
    frame = air.transmit("node", b"hello", SF7, 14.0, 0)
    air.engine.call_at(frame.end_ns - 1, lambda: air.deafen(ear))
    finish(air)
    assert ear.heard == []
    assert [stage for _, stage in ear.stages] == ["preamble", "sync", "header"]


@pytest.mark.parametrize(
    ("sf", "floor"), [(7, -124.5), (8, -127), (9, -129.5), (10, -132), (11, -134.5), (12, -137)]
)
def test_sensitivity_by_spreading_factor(air, events, sf, floor):
    # SX1261/2 datasheet rev. 2.1, table 3-8: -124 dBm at SF7, -137 dBm at SF12 and 125 kHz.
    m = Modulation(HZ, sf)
    ear = Ear(air, modulation=m).open()
    air.links.attenuate("node", "ear", 0.0)
    air.transmit("node", b"strong", m, floor + 0.2, 0)
    air.transmit("node", b"weak", m, floor - 0.2, 10 * NS)
    finish(air)
    assert ear.heard == [(b"strong", True)]
    assert missed(events) == ["weak"]


def test_path_loss_by_distance_and_by_pair(air):
    links = air.links
    for name, x in (("a", 0), ("b", 1000), ("c", 2000)):
        links.place(name, x, 0)
    assert links.loss_db("a", "b") == pytest.approx(128.95)
    assert links.loss_db("c", "a") - links.loss_db("b", "a") == pytest.approx(23.2 * math.log10(2))
    links.attenuate("b", "a", 42.0)
    assert links.loss_db("a", "b") == 42.0
    assert links.loss_db("a", "nowhere") == pytest.approx(128.95 - 23.2)  # 100 m


def test_shadowing_is_drawn_once_for_each_pair_and_seed():
    def loss(seed, a, b):
        return Air(SimTime(seed), shadowing_db=7.0).links.loss_db(a, b)

    assert loss(1, "a", "b") == loss(1, "b", "a") != loss(2, "a", "b")
    assert len({loss(1, "a", name) for name in "bcdef"}) == 5


# -- interference --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "other_dbm", "survives"),
    [
        (SF7, 14.0, False),
        (SF7, 8.1, False),
        (SF7, 7.9, True),  # 6 dB
        (Modulation(HZ, 8), 21.9, True),  # 8 dB stronger (Croce et al., table I)
        (Modulation(HZ, 8), 22.1, False),
        (Modulation(HZ, 12), 22.9, True),
        (Modulation(HZ, 12), 23.1, False),
        (Modulation(HZ, 7, iq_inverted=True), 20.0, True),
        (Modulation(HZ + 200_000, 7), 60.0, True),
        (Modulation(HZ + 100_000, 7), 60.0, False),  # the bands overlap
    ],
)
def test_what_a_frame_survives(air, other, other_dbm, survives):
    ear = Ear(air).open()
    wanted = air.transmit("node", b"wanted", SF7, 14.0, 0)
    air.transmit("other", b"x" * 10, other, other_dbm, wanted.modulation.header_ns)
    finish(air)
    assert len(ear.heard) == 1  # the header came through, the receiver follows to the end
    assert ear.heard[0][1] is survives
    assert (ear.heard[0][0] == b"wanted") is survives


def test_the_slowest_frame_survives_a_fast_one_that_is_25_db_stronger(air):
    for over_db, survives in ((24.9, True), (25.1, False)):
        m = Modulation(HZ, 12)
        ear = Ear(air, f"ear {over_db}", m).open()
        start = air.engine.now_ns()
        air.transmit("node", b"slow", m, 0.0, start)
        air.transmit("other", b"fast", SF7, over_db, start + 700 * MS)
        finish(air)
        assert [ok for _, ok in ear.heard] == [survives]
        air.deafen(ear)


def test_the_disturbance_of_several_adds_up(air):
    ear = Ear(air).open()
    air.transmit("node", b"wanted", SF7, 14.0, 0)
    for name in ("a", "b"):  # each is 7 dB weaker, both together 4 dB
        air.transmit(name, b"other", SF7, 7.0, 21 * MS)
    finish(air)
    assert [ok for _, ok in ear.heard] == [False]


def test_of_two_at_once_the_stronger_is_captured_and_equals_drown_each_other(air, events):
    ear = Ear(air).open()
    air.transmit("weak", b"weak", SF7, 8.0, 0)
    air.transmit("strong", b"strong", SF7, 14.0, 0)
    finish(air)
    assert ear.heard == [(b"strong", True)]
    assert missed(events) == ["collision"]
    now = air.engine.now_ns()
    for name in ("a", "b"):
        air.transmit(name, b"equal", SF7, 14.0, now)
    finish(air)
    assert len(ear.heard) == 1


def test_a_receiver_that_follows_a_frame_misses_the_next_but_not_the_one_after(air, events):
    ear = Ear(air).open()
    first = air.transmit("a", b"first", SF7, 14.0, 0)
    air.transmit("b", b"second", SF7, 0.0, 12 * SYMBOL_NS)
    # Begins within the first one, but enough of its preamble is left when that ends.
    air.transmit("c", b"third", SF7, 7.0, first.end_ns - 2 * SYMBOL_NS)
    finish(air)
    assert [payload for payload, _ in ear.heard] == [b"first", b"third"]
    assert missed(events)[0] == "busy"


def test_a_header_that_is_drowned_frees_the_receiver(air, events):
    ear = Ear(air).open()
    air.transmit("a", b"first", SF7, 14.0, 0)
    air.transmit("b", b"x", SF7, 14.0, SF7.sync_ns)
    finish(air)
    assert ear.heard == []
    assert "header" in missed(events)


def test_another_sync_word_frees_the_receiver(air, events):
    ear = Ear(air).open()
    air.transmit("a", b"first", Modulation(HZ, 7, sync_word=0x12), 14.0, 0)
    finish(air)
    assert ear.heard == []
    assert missed(events) == ["sync"]


def test_a_sender_that_gives_up_spoils_its_frame(air):
    ear = Ear(air).open()
    frame = air.transmit("a", b"first", SF7, 14.0, 0)
    air.engine.call_at(30 * MS, lambda: air.cut(frame))
    never = air.transmit("a", b"never", SF7, 14.0, 2 * NS)
    air.cut(never)
    finish(air)
    assert [ok for _, ok in ear.heard] == [False]
    assert frame.end_ns == 30 * MS
    assert never.end_ns == never.start_ns


# -- all of it -----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_events():
    def run(seed):
        sim = SimTime(seed)
        air = Air(sim, shadowing_db=8.0)
        log = []
        air.observe(lambda e: log.append((e.at_ns, e.kind, e.receiver, e.reason, repr(e.frame))))
        Gateway(air)
        air.links.place("gateway", 0, 0)
        chance = sim.rng("test")
        for n in range(200):
            name = f"node {n}"
            air.links.place(name, chance.uniform(-3e3, 3e3), chance.uniform(-3e3, 3e3))
            modulation = Modulation(HZ + 200_000 * chance.randrange(3), chance.randrange(7, 13))
            air.transmit(name, bytes(23), modulation, 14.0, chance.randrange(60 * NS))
        finish(air)
        return log

    log = run(3)
    assert log == run(3)
    assert log != run(4)
    assert {e[3] for e in log} >= {"", "weak", "collision"}


def test_the_example_of_the_documentation_runs():
    text = (Path(__file__).parents[2] / "docs" / "air.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    assert len(code.splitlines()) <= 20
    names = {}
    exec(compile(code, "docs/air.md", "exec"), names)
    assert isinstance(names["engine"], Engine)
    names["engine"].close()

"""The air: times, who hears what, and what stands in for the network."""

import importlib
import math
from pathlib import Path

import pytest
from citynode.resources import firmware
from citynode.virtual.air import Air, Gateway, Modulation
from citynode.virtual.air.frames import CHIP_NS
from citynode.virtual.engine import Engine
from hypothesis import given, settings
from hypothesis import strategies as st
from radio_bench import MS, NS, US, SimTime

HZ = 868_100_000
SF7 = Modulation(HZ, 7)
SYMBOL_NS = SF7.symbol_ns


class Ear:
    """A receiver that is tuned to one modulation and writes down what it hears."""

    capacity = 1
    noise_figure_db = 6.0

    def __init__(self, air, name="ear", modulation=SF7):
        self.name = name
        self.modulation = modulation
        self.heard = []
        self.stages = []
        self._air = air

    def open(self, at_ns=0):
        self._air.listen(self, at_ns)
        return self

    def tuned(self, modulation):
        own = self.modulation
        return (own.sf, own.freq_hz) == (modulation.sf, modulation.freq_hz)

    def on_preamble(self, reception):
        self.stages.append((reception.detected_ns, "preamble"))

    def on_sync(self, reception):
        self.stages.append((self._air.engine.now_ns(), "sync"))
        return reception.frame.modulation.sync_word == self.modulation.sync_word

    def on_header(self, reception):
        self.stages.append((self._air.engine.now_ns(), "header"))
        return reception.header_ok

    def on_end(self, reception):
        self.stages.append((self._air.engine.now_ns(), "end"))
        self.heard.append((reception.payload, reception.payload_ok))


@pytest.fixture
def air():
    return Air(SimTime())


@pytest.fixture
def events(air):
    seen = []
    air.observe(seen.append)
    return seen


def missed(events, receiver="ear"):
    return [e.reason for e in events if e.kind == "missed" and e.receiver == receiver]


def finish(air):
    air.engine.advance(100 * NS)


# -- times ---------------------------------------------------------------------------------------

# PHY payload of (11, 29, 51, 115, 222) bytes and 13 bytes of LoRaWAN, in ms at DR0 to DR5, as
# facts and operators' calculators have them.
LORAWAN_MS = {
    11: (1483, 823, 371, 206, 113, 62),
    29: (2138, 1151, 535, 288, 154, 87),
    51: (2793, 1561, 698, 390, 216, 118),
    115: (None, None, None, 677, 379, 215),
    222: (None, None, None, None, 656, 369),
}
# Semtech's SX1261 calculator (as quoted in the tests of micropython-lib's lora):
# (sf, bw, cr, preamble, payload, explicit, crc) and µs.
CALCULATOR_US = [
    ((12, 500_000, 1, 8, 1, True, True), 206_848),
    ((12, 500_000, 1, 12, 64, True, True), 649_216),
    ((12, 500_000, 1, 8, 192, True, True), 1_476_608),
    ((12, 500_000, 1, 12, 16, False, False), 280_576),
    ((8, 125_000, 2, 8, 1, True, True), 53_760),
    ((8, 125_000, 2, 8, 3, True, False), 53_760),
    ((8, 125_000, 2, 8, 253, True, True), 827_904),
    ((8, 125_000, 2, 12, 5, False, True), 61_952),
    ((5, 500_000, 1, 2, 1, True, False), 1_360),
    ((5, 500_000, 1, 12, 253, False, True), 34_000),
    ((5, 125_000, 4, 12, 253, False, True), 213_568),
    ((12, 7_812, 4, 128, 253, True, True), 287_440_896),
    ((11, 10_417, 3, 25, 16, True, True), 12_828_672),
]


@pytest.fixture(scope="module")
def base():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(firmware()))
        yield importlib.import_module("node.radio.base")


@pytest.mark.parametrize("payload", LORAWAN_MS)
def test_time_on_air_of_lorawan_frames(base, payload):
    for dr, expected in enumerate(LORAWAN_MS[payload]):
        if expected is not None:
            sf = 12 - dr
            ns = Modulation(HZ, sf).airtime_ns(payload + 13)
            assert round(ns / MS) == expected
            assert base.airtime_us(sf, 125, payload + 13) * US == ns


@pytest.mark.parametrize(("case", "us"), CALCULATOR_US)
def test_time_on_air_of_the_calculator(case, us):
    sf, bw, cr, preamble, length, explicit, crc = case
    m = Modulation(HZ, sf, bw, cr, preamble=preamble, implicit=not explicit, crc=crc)
    assert m.airtime_ns(length) == us * US


@settings(deadline=None)
@given(
    sf=st.integers(7, 12),
    bw_hz=st.sampled_from(sorted(CHIP_NS)),
    cr=st.integers(1, 4),
    preamble=st.integers(6, 100),
    implicit=st.booleans(),
    crc=st.booleans(),
    length=st.integers(0, 255),
)
def test_time_on_air_is_the_formula_of_an1200_13(sf, bw_hz, cr, preamble, implicit, crc, length):
    m = Modulation(HZ, sf, bw_hz, cr, preamble, implicit=implicit, crc=crc)
    bandwidth = 1e9 / CHIP_NS[bw_hz]
    assert bandwidth == pytest.approx(bw_hz, abs=1)
    symbol_s = 2**sf / bandwidth
    de = symbol_s >= 0.016
    numerator = 8 * length - 4 * sf + 28 + 16 * crc - 20 * implicit
    blocks = max(math.ceil(numerator / (4 * (sf - 2 * de))), 0)
    symbols = preamble + 4.25 + 8 + blocks * (cr + 4)
    assert m.airtime_ns(length) == pytest.approx(symbols * symbol_s * 1e9, rel=1e-12)


@settings(deadline=None)
@given(sf=st.integers(7, 12), bw_khz=st.sampled_from((125, 250, 500)), length=st.integers(1, 255))
def test_the_firmware_has_the_same_times(base, sf, bw_khz, length):
    m = Modulation(HZ, sf, bw_khz * 1000)
    assert base.airtime_us(sf, bw_khz, length) * US == m.airtime_ns(length)
    assert base.symbol_us(sf, bw_khz) * US == m.symbol_ns


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


# -- the network ---------------------------------------------------------------------------------


def test_a_gateway_collects_uplinks_with_their_exact_times(air):
    seen = []
    gateway = Gateway(air, on_uplink=seen.append)
    frames = [
        air.transmit(f"n{sf}", bytes(10), Modulation(HZ, sf), 14.0, sf * MS) for sf in range(7, 13)
    ]
    finish(air)
    assert seen == list(gateway.uplinks)
    assert {(u.sf, u.start_ns, u.end_ns) for u in seen} == {
        (f.modulation.sf, f.start_ns, f.end_ns) for f in frames
    }
    assert [u.end_ns for u in seen] == sorted(u.end_ns for u in seen)
    assert seen[0].rssi_dbm == pytest.approx(14.0 - 105.75)
    assert seen[0].snr_db == 12.0


@pytest.mark.parametrize(
    "change",
    [{"iq_inverted": True}, {"sync_word": 0x12}, {"implicit": True}, {"sf": 12, "ldro": False}],
)
def test_a_gateway_hears_no_downlinks_other_networks_or_wrong_settings(air, change):
    gateway = Gateway(air)
    air.transmit("node", b"x", Modulation(HZ, **({"sf": 7} | change)), 14.0, 0)
    finish(air)
    assert not gateway.uplinks


def test_a_gateway_follows_eight_frames_and_none_while_it_sends(air, events):
    gateway = Gateway(air)
    for n in range(10):
        air.transmit(f"n{n}", bytes(20), Modulation(HZ + 200_000 * n, 7), 14.0, n * US)
    finish(air)
    assert len(gateway.uplinks) == 8
    assert missed(events, "gateway") == ["busy"] * 2
    gateway.uplinks.clear()
    now = air.engine.now_ns()
    gateway.send(b"down", at_ns=now + 30 * MS, freq_hz=869_525_000, sf=9)
    air.transmit("n1", bytes(50), SF7, 14.0, now)
    finish(air)
    assert not gateway.uplinks
    assert gateway.crc_errors == 1


def test_answers_and_downlinks_have_exact_times_and_a_downlinks_settings(air):
    gateway = Gateway(air)
    air.transmit("node", b"up", Modulation(HZ, 9), 14.0, 5 * MS)
    uplink = gateway.next_uplink(1.0)
    rx1 = gateway.answer(uplink, b"one")
    rx2 = gateway.answer(uplink, b"two", 2.0, freq_hz=869_525_000, sf=12, cr=2)
    assert rx1.start_ns == uplink.end_ns + NS
    assert rx1.modulation == Modulation(HZ, 9, iq_inverted=True, crc=False)
    assert rx2.start_ns == uplink.end_ns + 2 * NS
    assert rx2.modulation == Modulation(869_525_000, 12, cr=2, iq_inverted=True, crc=False)


def test_a_frame_has_255_bytes_at_most(air):
    gateway = Gateway(air)
    gateway.send(bytes(255), at_ns=0, freq_hz=HZ, sf=7)
    with pytest.raises(ValueError, match="256"):
        gateway.send(bytes(256), at_ns=0, freq_hz=HZ, sf=7)


def test_a_downlink_cannot_be_sent_in_the_past(air):
    gateway = Gateway(air)
    air.engine.advance(NS)
    with pytest.raises(ValueError, match="1 ns too late"):
        gateway.send(b"x", at_ns=NS - 1, freq_hz=HZ, sf=7)


def test_waiting_for_an_uplink_that_does_not_come_ends(air):
    gateway = Gateway(air)
    with pytest.raises(TimeoutError):
        gateway.next_uplink(3.0)
    assert air.engine.now_ns() == 3 * NS


def test_frames_are_lost_and_spoilt_as_asked_for(air):
    first, second = Gateway(air, "first"), Gateway(air, "second")
    air.lose(lambda frame: frame.payload == b"a", at="first")
    air.corrupt(lambda frame: frame.sender == "node", 2, at="second")
    for n, payload in enumerate((b"a", b"a", b"b")):
        air.transmit("node", payload, SF7, 14.0, n * NS)
    finish(air)
    assert [u.payload for u in first.uplinks] == [b"a", b"b"]
    assert [u.payload for u in second.uplinks] == [b"b"]
    assert second.crc_errors == 2
    first.close()
    air.transmit("node", b"c", SF7, 14.0)
    finish(air)
    assert [u.payload for u in first.uplinks] == [b"a", b"b"]


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

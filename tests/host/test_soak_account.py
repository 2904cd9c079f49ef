"""The ledger of a soak and its verdict: arithmetic over what ports and broker have told."""

import base64
import json
import math

import pytest
from citynode.frames import decode
from citynode.soak.account import Account
from citynode.soak.ledger import Ledger
from citynode.soak.verdict import Plan, judge
from citynode.wire import frame
from citynode.wire.cbor import UNDEFINED
from citynode.wire.schema import CLIMATE, HEALTH
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_batches import pack

P, Q = "/dev/p", "/dev/q"
PLAN = Plan(duration_s=600, silence_s=300, heap_loss=1000)


def climate(seq, temperature=20.0):
    return frame.encode(CLIMATE, seq, 1_800_000_000, 0, {"temperature_c": temperature})


def health(seq, uptime_s, free):
    values = {"uptime_s": uptime_s, "heap_free_b": free}
    return frame.encode(HEALTH, seq, 1_800_000_000, 0, values)


def batch(*seqs):
    """Return one payload of several climate records."""
    return pack([climate(seq, 20 + seq) for seq in seqs])[0]


def start(node="a-1", cause="hard", up="0.004"):
    return f"I {up} app: citynode 0.1.0 node {node} reset {cause}"


class Story:
    """Tells a ledger what ports and broker have to say; a second passes before each word."""

    def __init__(self, *ports, **options):
        self.ledger = Ledger(ports or (P,), **options)
        self.now = 0.0
        self.kinds = []

    def _took(self, events):
        self.kinds += [event.kind for event in events]
        return self

    def wait(self, seconds):
        self.now += seconds
        return self

    def line(self, *texts, port=P):
        for text in texts:
            self.now += 1
            self._took(self.ledger.line(port, text, self.now))
        return self

    def accepts(self, *frames, port=P):
        return self.line(*(f"I 1.000 frame: {each.hex()}" for each in frames), port=port)

    def sends(self, *frames, node="a-1"):
        for each in frames:
            self.now += 1
            self._took(self.ledger.message(f"citynode/{node}/up", each, self.now))
        return self

    def both(self, *seqs, node="a-1", port=P):
        frames = [climate(seq) for seq in seqs]
        return self.accepts(*frames, port=port).sends(*frames, node=node)

    def facts(self):
        return [account.to_json() for account in self.ledger.judged(self.now)]

    @property
    def fact(self):
        (fact,) = self.facts()
        return fact

    def wrong(self, broker=True, plan=PLAN):
        return [judge(account, plan, broker=broker) for account in self.ledger.judged(self.now)]


# -- arithmetic -----------------------------------------------------------------------------------

numbers = st.integers(0, 60)


@given(accepted=st.lists(numbers), received=st.lists(numbers))
def test_what_is_known_to_exist_is_expected_and_what_did_not_arrive_is_lost(accepted, received):
    account = Account()
    for number in accepted:
        account.accept(number)
    account.received.update(received)
    between = set(range(min(received), max(received) + 1)) if received else set()
    known = set(accepted) | between
    assert account.expected == len(known)
    assert account.delivered == len(set(received))
    assert list(account.missing) == sorted(known - set(received))
    assert account.lost == len(known - set(received))
    assert account.repeated == len(received) - len(set(received))
    assert account.highest == max(known, default=-1)


def test_numbers_that_are_far_apart_take_no_time():
    story = Story(names={P: "a-1"}).sends(climate(0), climate(0xFFFFFFFF))
    assert story.fact["lost"] == 0xFFFFFFFE
    assert story.wrong() == [["4294967294 records lost (number 1, 2, 3, 4, 5)"]]


@pytest.mark.parametrize(
    ("tell", "facts"),
    [
        (lambda s: s.both(5, 6, 7), {"expected": 3, "received": 3, "lost": 0, "repeated": 0}),
        # The broker has what was accepted before we came.
        (lambda s: s.sends(climate(3), climate(4)).both(5), {"expected": 3, "lost": 0}),
        (lambda s: s.both(5).accepts(climate(6)).both(7), {"expected": 3, "received": 2}),
        (lambda s: s.both(5, 6).accepts(climate(7)), {"expected": 3, "received": 2, "lost": 1}),
        # The port missed 6 and 7, the broker too: they are known by what is around them.
        (lambda s: s.both(5, 8), {"expected": 4, "received": 2, "lost": 2}),
        (lambda s: s.both(5, 6).sends(climate(5), climate(5)), {"expected": 2, "repeated": 2}),
        # A payload may hold several records, and some of them again.
        (
            lambda s: s.accepts(*map(climate, range(5, 9))).sends(batch(5, 6), batch(6, 7, 8)),
            {"expected": 4, "received": 4, "lost": 0, "repeated": 1, "bad_frames": 0},
        ),
        (lambda s: s.both(5).sends(batch(7, 8)), {"expected": 4, "received": 3, "lost": 1}),
        # Numbers go on through a restart.
        (
            lambda s: s.both(5).line(start(cause="wdt")).both(6),
            {"expected": 2, "lost": 0, "restarts": {"wdt": 1}, "renumbered": 0},
        ),
        (lambda s: s.both(5, 6).line(start()).both(0, 1), {"renumbered": 1}),
        (
            lambda s: s.line(start(), start(cause="deepsleep"), start(cause="*noise*"), start()),
            {"restarts": {"hard": 2, "deepsleep": 1, "unknown": 1}, "node": "a-1"},
        ),
        (
            lambda s: s.line("rst:0x10 (RTCWDT_RTC_RESET),boot:0x13", "W 1.000 i2c: x", "E 1.0"),
            {"rom_resets": {"RTCWDT_RTC_RESET": 1}, "warnings": 1, "errors": 0},
        ),
        (
            lambda s: s.line("I 1.000 frame: 8601", "I 1.000 frame: xyz").both(5),
            {"bad_lines": 2, "bad_frames": 0, "expected": 1},
        ),
        (lambda s: s.both(5).sends(b"", b"\x86\x01"), {"bad_lines": 0, "bad_frames": 2}),
        (
            lambda s: s.accepts(frame.encode(CLIMATE, 1, 1, 0, {"temperature_c": UNDEFINED})),
            {"sensor_faults": 1},
        ),
        (
            lambda s: s.both(5).wait(100).sends(climate(6)).wait(50).both(6),
            {"longest_silence_s": 101},
        ),
        (lambda s: s.wait(200).both(5), {"longest_silence_s": 201}),
        (lambda s: s.both(5).wait(400), {"longest_silence_s": 400}),
    ],
)
def test_a_node_in_numbers(tell, facts):
    found = tell(Story(names={P: "a-1"})).fact
    assert {key: found[key] for key in facts} == facts


TTS, CHIRPSTACK = "v3/city@ttn/devices/a-1/up", "application/7/device/70b3d57ed0001000/event/up"


def tts(payload, device="a-1", port=1):
    """What The Things Stack publishes of an uplink (v3 ApplicationUp)."""
    return {
        "end_device_ids": {"device_id": device, "dev_eui": "70B3D57ED0001000"},
        "uplink_message": {"f_port": port, "f_cnt": 3, "frm_payload": base64_of(payload)},
    }


def chirpstack(payload, device="a-1", port=1):
    """What ChirpStack publishes of an uplink (v4, JSON)."""
    info = {"deviceName": device, "devEui": "70b3d57ed0001000"}
    return {"deduplicationId": "x", "deviceInfo": info, "fPort": port, "data": base64_of(payload)}


def base64_of(payload):
    return base64.b64encode(payload).decode()


@pytest.mark.parametrize(
    ("topic", "event", "node"),
    [
        (TTS, tts(batch(5, 6)), "a-1"),
        (CHIRPSTACK, chirpstack(batch(5, 6)), "a-1"),
        # What the server calls a device need not be a node's id.
        (TTS, tts(batch(5, 6), device="Mast 7, Rathaus"), "70b3d57ed0001000"),
        (CHIRPSTACK, chirpstack(batch(5, 6), device="Mast 7"), "70b3d57ed0001000"),
        (TTS, tts(batch(5, 6), port=224), None),
        (CHIRPSTACK, chirpstack(batch(5, 6), port=10), None),
        (CHIRPSTACK.replace("up", "join"), chirpstack(batch(5, 6)), None),
        ("citynode/a-1/status", tts(batch(5, 6)), None),
        (TTS, [], None),
        (TTS, {"end_device_ids": 7, "uplink_message": {}}, None),
        (CHIRPSTACK, {**chirpstack(b""), "data": "*"}, None),
        (CHIRPSTACK, chirpstack(bytes(1 << 16)), None),
    ],
)
def test_nodes_behind_a_lorawan_network_server(topic, event, node):
    ledger = Ledger(())
    ledger.message(topic, json.dumps(event).encode(), 1.0)
    found = {account.node_id: account.to_json()["received"] for account in ledger.accounts}
    assert found == ({node: 2} if node else {})


def test_silence_is_when_neither_port_nor_broker_hears_anything():
    story = Story(names={P: "a-1"}).both(1)
    for seq in range(2, 20):  # the port is gone, the node goes on
        story.wait(99).sends(climate(seq))
    assert story.both(20).fact["longest_silence_s"] == 100


@pytest.mark.parametrize(
    ("reports", "slope"),
    [
        ([(0, 100_000), (3600, 96_000)], None),  # two points are no line
        ([(0, 100_000), (300, 99_000), (599, 98_000)], None),
        ([(0, 100_000), (1800, 98_000), (3600, 96_000)], -4000),
        ([(0, 100_000), (1800, 100_000), (3600, 100_000)], 0),
        # A restart begins a new line.
        ([(0, 90_000), (9000, 50_000), (0, 100_000), (1800, 101_600), (3600, 103_200)], 3200),
    ],
)
def test_the_slope_of_the_heap(reports, slope):
    story = Story(names={P: "a-1"})
    for seq, (uptime_s, free) in enumerate(reports):
        story.accepts(health(seq, uptime_s, free)).sends(health(seq, uptime_s, free))
    assert story.fact["heap_bytes_per_hour"] == slope
    assert ["heap" in " ".join(wrong) for wrong in story.wrong()] == [slope == -4000]


# -- which node is where --------------------------------------------------------------------------


def told_apart():
    """Two ports whose nodes are known by nothing but their frames, some of them equal."""
    story = Story(P, Q)
    for seq in range(5):
        story.accepts(climate(seq, 20 + seq)).accepts(climate(seq, 30 - seq), port=Q)
    story.sends(*(climate(seq, 20 + seq) for seq in range(5)), node="a-1")
    return story.sends(*(climate(seq, 30 - seq) for seq in range(5)), node="b-1")


@pytest.mark.parametrize(
    ("story", "places"),
    [
        (told_apart(), [(P, "a-1", 5, 5), (Q, "b-1", 5, 5)]),
        # Ports show records one by one, the broker has them together.
        (
            Story(P, Q)
            .accepts(*(climate(seq, 20 + seq) for seq in range(5)), port=Q)
            .sends(batch(0, 1, 2, 3, 4)),
            [(P, None, 0, 0), (Q, "a-1", 5, 5)],
        ),
        (Story().both(1), [(P, "a-1", 1, 1)]),
        (Story().line(start("b-1")).both(1), [(P, "b-1", 1, 0), (None, "a-1", 1, 1)]),
        (Story(names={P: "b-1"}).both(1, node="b-1"), [(P, "b-1", 1, 1)]),
        # Equal bytes from two nodes tell nothing until one of them says who it is.
        (
            Story(P, Q).both(1).both(1, node="b-1", port=Q),
            [(P, None, 1, 0), (Q, None, 1, 0), (None, "a-1", 1, 1), (None, "b-1", 1, 1)],
        ),
        (
            Story(P, Q).both(1).both(1, node="b-1", port=Q).line(start("b-1")),
            [(P, "b-1", 1, 1), (Q, "a-1", 1, 1)],
        ),
        # Another board was put to the port: the first keeps what it had.
        (
            Story(names={P: "a-1"}).both(1, 2).line(start("b-1")).both(7, node="b-1"),
            [(P, "b-1", 1, 1), (P, "a-1", 2, 2)],
        ),
        (Story().line(start("NOT\x1b[2J")).both(1), [(P, "a-1", 1, 1)]),
    ],
)
def test_nodes_are_put_to_their_ports(story, places):
    keys = ("port", "node", "expected", "received")
    assert [tuple(each[key] for key in keys) for each in story.facts()] == places


# -- the end --------------------------------------------------------------------------------------


def test_after_the_end_only_what_is_known_still_counts():
    story = Story(names={P: "a-1"}).both(1, 2).accepts(climate(3))
    story.ledger.close(story.now)
    story.wait(999).both(4).sends(climate(3), climate(6))
    assert (story.fact["expected"], story.fact["received"]) == (3, 3)
    assert story.wrong() == [[]]


@pytest.mark.parametrize(
    ("tell", "wrong"),
    [
        (lambda s: s.both(1, 2), []),
        (lambda s: s, ["said nothing"]),
        (lambda s: s.line("ets Jul 29 2019", "invalid header: 0xffffffff"), ["said nothing"]),
        (lambda s: s.both(1).wait(301), ["silent for 301 s"]),
        (lambda s: s.accepts(climate(1)), ["nothing arrived at the broker"]),
        (lambda s: s.both(1, 3, 5), ["2 records lost (number 2, 4)"]),
        (lambda s: s.both(1).line(start(cause="wdt")).both(2), ["restarted (wdt 1)"]),
        (lambda s: s.both(1).line(start(cause="deepsleep")).both(2), []),
        (
            lambda s: s.both(1).line(*["rst:0x9 (RTCWDT_SYS_RESET),boot:0x13"] * 3),
            ["did not start after resets (RTCWDT_SYS_RESET 3)"],
        ),
        (
            lambda s: s.both(5).line(start(cause="deepsleep")).both(0),
            ["4 records lost (number 1, 2, 3, 4)", "its record numbers went back 1 times"],
        ),
        (lambda s: s.both(1).sends(b"\x86"), ["1 frames at the broker are wrong"]),
        (lambda s: s.both(1).line("I 2.000 frame: 86"), []),  # noise: the broker has it all
    ],
)
def test_the_verdict_names_what_is_wrong(tell, wrong):
    assert tell(Story(names={P: "a-1"})).wrong() == [wrong]


@pytest.mark.parametrize(
    ("tell", "wrong"),
    [
        (lambda s: s.accepts(climate(1)), []),
        (lambda s: s.line("I 1.000 wifi: connected"), ["no record was accepted"]),
        (
            lambda s: s.accepts(climate(1)).line("I 2.000 frame: 86"),
            ["1 frames on the port are wrong"],
        ),
    ],
)
def test_without_a_broker_the_port_is_judged(tell, wrong):
    assert tell(Story()).wrong(broker=False) == [wrong]


@pytest.mark.parametrize(
    ("tell", "wrong"),
    [
        (lambda s: s.line(start()).both(1), []),
        (lambda s: s.both(1).line(start()).both(2), ["restarted (hard 1)"]),
        (lambda s: s.line(start(), start(cause="wdt")).both(1), ["restarted (hard 1, wdt 1)"]),
    ],
)
def test_nodes_that_the_soak_starts_may_start_once(tell, wrong):
    plan = Plan(600, 300, started=True)
    assert tell(Story(names={P: "a-1"})).wrong(plan=plan) == [wrong]


# -- noise ----------------------------------------------------------------------------------------

frames = st.one_of(
    st.binary(max_size=40),
    st.builds(climate, st.integers(0, 0xFFFFFFFF), st.floats(allow_nan=True)),
    st.builds(health, st.integers(0, 9), st.integers(0, 9**9), st.integers(0, 9**9)),
)
words = st.one_of(
    st.text(max_size=80),
    st.builds("I 1.000 frame: {}".format, st.one_of(st.text(max_size=20), frames.map(bytes.hex))),
    st.builds(start, st.text(max_size=8), st.sampled_from(["wdt", "x", "\x1b"])),
    st.builds("rst:0x1 ({})".format, st.text(max_size=8)),
)
topics = st.one_of(
    st.text(max_size=30),
    st.builds("citynode/{}/up".format, st.one_of(st.text(max_size=8), st.sampled_from("abc"))),
)
told = st.lists(st.one_of(words, st.tuples(topics, frames)), max_size=40)


@settings(deadline=None)
@given(told, st.booleans())
def test_whatever_is_said_the_books_balance(words, ends):
    story = Story(P, Q)
    for number, word in enumerate(words):
        if ends and number == len(words) // 2:
            story.ledger.close(story.now)
        if isinstance(word, str):
            story.line(word, port=(P, Q)[number % 2])
        else:
            story._took(story.ledger.message(*word, story.now))
    for account, wrong in zip(story.ledger.judged(story.now), story.wrong(), strict=True):
        facts = json.loads(json.dumps(account.to_json(), allow_nan=False))
        assert 0 <= facts["received"] <= facts["expected"]
        assert facts["lost"] == facts["expected"] - facts["received"]
        assert (account.node_id or "a").isprintable()
        assert all(each.isprintable() for each in wrong)
        assert account.heap_slope is None or math.isfinite(account.heap_slope)


def test_a_climate_record_is_the_last_one_that_is_shown():
    story = Story(names={P: "a-1"}).both(1).accepts(health(2, 1, 1)).sends(health(2, 1, 1))
    (account,) = story.ledger.accounts
    assert account.last == decode(climate(1))[0]
    assert story.kinds == ["accepted", "received"] * 2

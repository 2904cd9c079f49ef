"""Delivery: a record is forgotten when the broker has acknowledged it, and never before."""

from node.wire import frame
from node_bench import YEAR_2024, Board, Node
from node_broker import text
from node_tools import Chance, steps
from node_uplink import STATUS, Desk, desk, settings


def test_what_is_there_is_delivered_in_order_and_released():
    with Node() as node:
        d = desk(node, user="bench", password="pass word")
        d.accept(30)
        d.run(2)
        assert d.delivered() == d.released == list(range(30))
        assert node.spool.pending == 0
        assert d.broker.got[0] == (STATUS, b"online", 1)
        # Section 3.1.2: MQTT, level 4; user, password, retained will with QoS 1, clean session.
        (body,) = d.broker.connects
        assert body[:10] == b"\0\4MQTT\4\xee\0\x3c"
        fields, at = [], 10
        while at < len(body):
            field, at = text(body, at)
            fields.append(field)
        assert fields == [b"n1", STATUS.encode(), b"offline", b"bench", b"pass word"]
        assert d.broker.goodbyes == 1
        assert len(d.broker.closings) == 1


def test_a_new_record_goes_at_once():
    with Node() as node:
        d = desk(node)
        seen = []

        def note():
            seen.append((node.spool.pending, len(d.delivered())))

        d.run(3000, (1, note), (1000, d.accept), (1000.1, note), (2900, d.accept), (2900.1, note))
        assert seen == [(0, 0), (0, 1), (0, 2)]
        assert len(d.broker.connections) == 1


def test_no_more_than_four_wait_for_their_acknowledgement():
    with Node() as node:
        d = desk(node)
        d.broker.takes = lambda payload: payload == b"online"
        d.accept(10)
        d.run(5)
        assert d.delivered() == [0, 1, 2, 3]
        assert d.broker.most_unacked == 4
        assert node.spool.pending == 10


def test_a_lost_acknowledgement_ends_the_connection_and_the_rest_comes_again():
    with Node() as node:
        d = desk(node)
        lost = []

        def takes(payload):
            if payload == b"online" or frame.peek(payload)[1] != 2 or lost:
                return True
            lost.append(payload)
            return False

        d.broker.takes = takes
        d.accept(6)
        d.run(19)
        # Only 0 and 1: what was acknowledged behind a gap is not given up.
        assert d.released == [0, 1]
        d.run(5)
        assert d.released == [0, 1, 2, 3, 4, 5]
        assert d.delivered() == [0, 1, 2, 3, 4, 5, 2, 3, 4, 5]
        assert node.spool.pending == 0


def test_acknowledgements_that_come_late_and_out_of_order():
    with Node() as node:
        d = desk(node)
        seen = []
        d.broker.takes = lambda payload: payload == b"online"
        d.accept(3)

        def answer(*order):
            seen.append(list(d.released))
            for seq in order:
                d.broker.acked.append(d.broker.got[1 + seq][1])
                # The first packet was `online`.
                d.broker.say(b"\x40\x02\x00" + bytes((2 + seq,)))

        d.run(15, (5, lambda: answer(2)), (10, lambda: answer(1, 0)), (11, answer))
        assert seen == [[], [], [0, 1, 2]]


def test_refusals_are_told_and_tried_again_ever_more_rarely():
    for code in (1, 2, 3, 4, 5):
        with Node() as node:
            d = desk(node)
            d.broker.greeting = b"\x20\x02\x00" + bytes((code,))
            d.accept()
            d.run(1000)
            assert d.gaps() == [1, 2, 4, 8, 16, 32, 64] + [120] * 7
            assert d.broker.got == []
            assert node.spool.pending == 1
            assert any("refused %d" % code in line for line in node.lines)
            assert d.link.renewals == len(d.broker.connections) // 5
            assert node.counters.broker_reconnects == len(d.broker.connections) - 1
            # In the end it works, and the next failure is a first one again.
            d.broker.greeting = b"\x20\x02\x00\x00"
            made = len(d.broker.connections)
            d.run(125, (122, d.broker.hang_up))
            assert node.spool.pending == 0
            assert d.gaps()[made:] == [123]


def test_jitter_spreads_the_attempts():
    for value, gaps in ((0.0, [500, 1000, 2000, 4000]), (0.999, [1499, 2998, 5996, 11992])):
        with Node() as node:
            d = desk(node, rng=lambda value=value: value)
            d.broker.unreachable = OSError(113)
            d.run(24)
            assert steps(d.broker.connections)[:4] == gaps


def test_every_wait_is_bounded():
    rows = (
        # what goes wrong from the start, seconds until it is given up
        ({"unreachable": OSError(111)}, 0),
        ({"unreachable": 3600000}, 15),
        ({"greeting": None}, 15),
        ({"greeting": b"\x20\x02\x00"}, 15),
        ({"stalled": True}, 15),
        ({"deaf": True}, 15),
        ({"takes": lambda payload: False}, 20),
    )
    for values, limit in rows:
        with Node() as node:
            d = desk(node)
            d.accept()
            settings(d.broker, **values)()
            d.run(limit + 1.5)
            first, second = d.broker.connections
            assert limit * 1000 <= second - first - 1000 <= limit * 1000 + 100, values.keys()
            assert node.spool.pending == 1
            d.broker.__init__(node.clock)
            d.run(130)
            assert node.spool.pending == 0


def test_a_connection_that_dies_silently():
    rows = (
        # what happens at 100 s, when there is a new record, when it is noticed
        ({"deaf": True}, 110, 130),  # no acknowledgement for 20 s
        ({"stalled": True}, 110, 120),  # not even sent for 10 s
        ({"deaf": True}, None, 145),  # no answer to the ping that is due every 45 s
        ({"stalled": True}, None, 145),
        ({"pongs": False}, None, 145),
    )
    for values, record, noticed in rows:
        with Node() as node:
            d = desk(node)
            events = [(100, settings(d.broker, **values))]
            if record:
                events.append((record, d.accept))
            events.append((noticed - 0.5, lambda: None))
            d.run(noticed + 3, *events)
            assert len(d.broker.connections) >= 2, values
            gone = d.broker.closings[0] - d.broker.connections[0]
            # Where writes stall, its DISCONNECT has another second.
            assert 0 <= gone - 1000 * noticed <= 1001, (values, gone)
            d.broker.__init__(node.clock)
            d.run(200)
            assert node.spool.pending == 0


def test_an_idle_connection_is_kept_alive():
    with Node() as node:
        d = desk(node)
        d.run(4 * 3600)
        assert len(d.broker.connections) == 1
        assert set(d.gaps(d.broker.pings)) == {45}


def test_what_a_broker_sends_unasked():
    with Node() as node:
        d = desk(node)
        steps = (
            (1, lambda: d.broker.say(b"\x30\x05\x00\x01xhi")),  # PUBLISH, QoS 0
            (2, lambda: d.broker.say(b"\x32\x07\x00\x01x\x12\x34hi")),  # QoS 1
            (3, lambda: d.broker.say(b"\x40\x02\x7f\xff")),  # PUBACK for nothing
            (4, d.accept),
        )
        d.run(6, *steps)
        assert d.broker.stream.pubacks == [b"\x12\x34"]
        assert len(d.broker.connections) == 1
        assert d.released == [0]


def test_what_no_broker_may_send_ends_the_connection():
    for data in (
        b"\x00\x00",
        b"\x20\x02\x00\x00",  # a second CONNACK
        b"\x34\x07\x00\x01x\x12\x34hi",  # PUBLISH with QoS 2
        b"\x30\x01x",
        b"\x32\x04\x00\x01x\x12",
        b"\x40\x01\x00",
        b"\x40\x02\x00\x00",
        b"\x41\x02\x00\x05",
        b"\xd0\x01\x00",
        b"\x90\x03\x00\x01\x00",  # SUBACK
        b"\x30\xff\xff\xff\xff\x01",
        b"\x30\x81\x02",  # 257 bytes
    ):
        with Node() as node:
            d = desk(node)
            d.run(9, (1, lambda d=d, data=data: d.broker.say(data)), (5, d.accept))
            assert len(d.broker.connections) == 2, data
            assert d.released == [0], data


def test_noise_in_place_of_a_broker():
    chance = Chance(11)
    for _ in range(60):
        with Node() as node:
            d = desk(node)
            d.accept(2)
            d.broker.greeting = (b"", b"\x20\x02\x00\x00")[chance.below(2)] + chance.bytes(
                chance.below(40)
            )
            d.run(100)
            d.broker.__init__(node.clock)
            d.run(130)
            assert node.spool.pending == 0
            assert d.released == [0, 1]


def test_nothing_is_tried_while_the_link_is_down():
    with Node() as node:
        d = desk(node)
        d.link.up.clear()
        d.accept(2)
        d.run(600, (300, d.link.up.set), (400, d.link.up.clear), (450, d.accept))
        (first,) = d.broker.connections
        assert d.released == [0, 1]
        # It notices at the latest with the next record, or after 45 s.
        assert 400 < (d.broker.closings[0] - first) // 1000 + 300 <= 446
        assert node.spool.pending == 1


def test_tls_waits_for_the_clock():
    with Node() as node:
        d = Desk(node, needs_clock=True)
        d.accept()
        d.run(400, (300, lambda: node.clock.set(YEAR_2024 * 1000)))
        first = d.broker.connections[0] - node.clock.uptime_ms() + 400000
        assert 300000 <= first <= 301000
        assert d.released == [0]


def test_a_restart_repeats_no_more_than_what_was_not_saved():
    board = Board()
    with Node(board) as node:
        d = desk(node)
        d.accept(50)
        d.broker.takes = lambda payload: payload == b"online" or frame.peek(payload)[1] < 40
        d.run(10)
        assert d.released == list(range(40))
    with Node(board) as node:
        d = desk(node)
        d.run(10)
        assert d.delivered()[-10:] == list(range(40, 50))
        assert d.delivered() == list(range(d.delivered()[0], 50))
        assert d.delivered()[0] >= 40 - 16


def mishaps(d, chance, seconds):
    """Return events at random times: records, and a broker and a link that fail and recover.

    The second value is how many records there are in all.
    """
    broker, up = d.broker, d.link.up
    takes = (lambda _: False, lambda _: True, lambda _: chance.below(4) > 0)
    greetings = (b"\x20\x02\x00\x03", None, b"\x20\x02\x00\x00")
    changes = (
        settings(broker, deaf=True),
        settings(broker, stalled=True),
        settings(broker, deaf=False, stalled=False),
        settings(broker, deaf=False, stalled=False),
        broker.hang_up,
        lambda: broker.hang_up(OSError(104)),
        lambda: settings(broker, takes=takes[chance.below(3)])(),
        lambda: settings(broker, greeting=greetings[chance.below(3)])(),
        up.clear,
        up.set,
    )
    events = []
    records = 0
    at = 1.0
    while at < seconds:
        at += chance.below(30000) / 1000
        if chance.below(3) == 0:
            count = 1 + chance.below(8)
            records += count
            events.append((at, lambda count=count: d.accept(count)))
        else:
            events.append((at, changes[chance.below(len(changes))]))
    return events, records


def test_whatever_goes_wrong_all_records_arrive():
    """Broker, link and power fail at random for hours; then all that was accepted is there."""
    for seed in range(3):
        chance = Chance(seed)
        board = Board()
        arrived = []
        accepted = 0
        for life in range(5):
            with Node(board, limit=1 << 16) as node:
                d = desk(node)
                # The last one is calm.
                events, records = mishaps(d, chance, 1000 if life < 4 else 0)
                accepted += records
                d.run(1200, *events)
                firsts = []
                for seq in d.delivered():
                    if seq not in firsts:
                        firsts.append(seq)
                assert firsts == sorted(firsts)
                assert d.released == sorted(set(d.released))
                arrived += firsts
                pending = node.spool.pending
        assert pending == 0
        assert accepted > 200
        assert len(arrived) > accepted  # some of them twice
        assert set(arrived) == set(range(accepted)), seed

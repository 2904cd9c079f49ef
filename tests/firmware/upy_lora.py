"""The uplink over LoRaWAN: what goes when, and what is released."""

from node.wire import schema
from node_bench import YEAR_2024, set_date
from node_mast import Mast, Pole, Station, rate
from node_tools import steps

DAY_S = 86400


def test_joins_sends_what_there_is_sets_the_clock_and_releases():
    with Station() as s:
        s.accept(3)
        s.joined()
        assert sorted(set(s.mast.got)) == [0, 1, 2]
        assert len(s.mast.network.nonces) == 1
        assert abs(s.node.unix_s() - s.mast.unix_ms() // 1000) <= 1
        assert s.node.clock.known
        s.accept()
        s.run(60)
        assert 3 in s.mast.got
        # The record has the time of the network.
        assert abs(s.mast.records[-1].t - YEAR_2024 - s.node.clock.uptime_ms() // 1000) < 100


def test_nothing_is_released_that_was_not_answered():
    for every in (1, 4, 8, 0):
        with Station(confirmed_every=every) as s:
            s.joined()
            s.mast.answers = lambda phy: False
            s.run(7200, each_s=300)
            assert s.pending == 23, every
            assert set(range(23)) <= set(s.mast.got)
            # Back again, all are released, and nobody has missed one.
            s.mast.answers = lambda phy: True
            s.run(7200, each_s=300)
            assert s.pending < (every or 48), every
            assert set(range(46)) <= set(s.mast.got)


def test_a_lost_uplink_is_sent_again_whatever_kind_it_was():
    """Each of them in turn, quiet and asking ones: all records arrive."""
    for lost in range(14):
        mast = Mast()
        with Station(mast, confirmed_every=4) as s:
            s.joined()
            count = [0]

            def hears(phy, lost=lost, count=count):
                count[0] += 1
                return count[0] != lost + 1

            mast.hears = hears
            s.run(6300, each_s=300)
            assert set(range(17)) <= set(mast.got), lost
            assert s.pending <= 4, lost


def test_every_nth_uplink_is_confirmed():
    for every in (1, 2, 5):
        with Station(confirmed_every=every, link_check=False) as s:
            s.joined()
            first = len(s.mast.seen)
            s.run(40 * 300, each_s=300)
            flags = [up.confirmed for up in s.mast.seen[first:]]
            places = [i for i in range(len(flags)) if flags[i]]
            assert set(steps(places)) == {every}, (every, flags)
    # Never: then link checks ask.
    with Station(confirmed_every=0) as s:
        s.joined()
        s.run(40 * 300, each_s=300)
        assert not any(up.confirmed for up in s.mast.seen)
        assert s.pending < 40


def test_the_days_air_time_is_kept_at_every_rate_and_records_keep_flowing():
    for dr, airtime_s in ((0, 30), (3, 30), (5, 5)):
        with Station(airtime_s=airtime_s) as s:
            s.joined()
            s.mast.queue.append(rate(dr))
            s.accept()
            s.run(1200)
            interval = s.paces[-1] if s.paces else 300
            s.mast.sent = []
            begin = s.node.spool.next_seq
            s.run(2 * DAY_S, each_s=interval)
            sent = s.uplinks()
            for first, _, _ in sent[::7]:
                day = [us for ms, _, us in sent if 0 <= ms - first < 1000 * DAY_S]
                assert sum(day) <= 1000000 * airtime_s + 3000000, (dr, airtime_s)
            # What was sampled was also sent, but for what waits for its batch; and released.
            arrived = len([seq for seq in set(s.mast.got) if seq >= begin])
            assert 2 * DAY_S // interval - 48 <= arrived, (dr, airtime_s)
            assert s.pending < 48, (dr, airtime_s, s.pending)
            assert s.interval_s <= interval <= 3600, (dr, airtime_s)


def outage(s, records):
    """Let nothing through for a while, then give the node its rate back, as a network does."""
    s.mast.hears = lambda phy: False
    s.run(3600, each_s=300)
    s.accept_past(records)
    s.mast.hears = lambda phy: True
    s.mast.queue.append(rate(5))


def test_new_records_go_before_those_of_an_outage():
    with Station(known=True) as s:
        set_date(YEAR_2024)
        s.joined()
        outage(s, 230)
        assert s.pending > 240
        before = s.node.spool.next_seq
        s.mast.got = []
        s.run(DAY_S // 4, each_s=300)
        # New ones come as they are made; the old ones from the oldest on, in what is left.
        assert len([seq for seq in set(s.mast.got) if seq >= before]) >= 70
        assert s.pending < 16
        assert set(range(before)) <= set(s.mast.got) | set(range(before - s.pending))


def test_silence_is_met_with_fewer_and_fewer_repetitions():
    with Station() as s:
        s.joined()
        s.accept()
        s.mast.hears = lambda phy: False
        s.run(DAY_S)
        gaps = steps([ms for ms, _, _ in s.uplinks()])
        assert 8 < len(gaps) < 30
        assert 3600000 < max(gaps) < 4 * 3600000


def test_a_full_spool_gives_up_the_oldest_and_goes_on():
    with Station(limit=8192) as s:
        s.joined()
        outage(s, 450)
        assert s.node.counters.dropped > 100
        s.run(DAY_S // 4, each_s=300)
        assert s.pending < 16
        # One of those that were dropped may have been sent before.
        assert len(set(s.mast.got)) + s.node.counters.dropped >= s.node.spool.next_seq - 16


def test_records_of_all_kinds_in_their_order():
    with Station() as s:
        s.joined()
        for _ in range(4):
            s.accept(3)
            s.accept(1, schema.EVENT)
        s.run(3600)
        assert sorted(set(s.mast.got)) == list(range(16))
        assert s.pending <= 3


def test_a_restart_goes_on_without_a_join_and_without_a_counter_twice():
    mast, board = Mast(), Pole()
    with Station(mast, board) as s:
        s.accept(4)
        s.joined()
    for _ in range(3):
        with Station(mast, board, seed=9) as s:
            assert s.mac.joined
            s.accept(2)
            s.run(900)
            assert s.pending <= 2
    assert len(mast.network.nonces) == 1
    assert sorted(set(mast.got)) == list(range(10))

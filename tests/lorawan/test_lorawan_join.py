"""Activation: requests, what is believed of answers, how requests back off (TS001 chapter 7)."""

from lorawan_bench import DEV_EUI, JOIN_EUI, MORE_CHANNELS, Bench, Chance, joined, kind_of, of
from lorawan_network import Network, cflist
from node.lorawan.actions import Idle, Joined, JoinFailed, LorawanError


def shapes(windows):
    return [(rx.window, rx.freq_hz, rx.sf, rx.bw_khz) for rx in windows]


def test_a_join_is_asked_for_until_it_is_answered():
    bench = Bench()
    bench.do(bench.mac.join(0))
    while len(bench.sent) < 13:
        bench.now = bench.wake
        bench.do(bench.mac.tick(bench.now))
    assert bench.network.nonces == list(range(13))
    # Other rates and channels each time, full power.
    assert [sending.sf for sending in bench.sent] == [7, 8, 9, 10, 11, 12] * 2 + [7]
    for turn in range(4):
        used = sorted([sending.hz for sending in bench.sent[3 * turn : 3 * turn + 3]])
        assert used == [868100000, 868300000, 868500000]
    assert {sending.power_dbm for sending in bench.sent} == {14}
    for i in range(13):
        # The windows of the region, RX1 by then 5 s, RX2 6 s after the end.
        first, second = bench.windows[2 * i : 2 * i + 2]
        assert shapes((first, second)) == [
            (1, bench.sent[i].hz, bench.sent[i].sf, 125),
            (2, 869525000, 12, 125),
        ]
        assert 4900000 < first.delay_us <= 5000000 < 5900000 < second.delay_us <= 6000000
    for before, after in zip(bench.sent[:-1], bench.sent[1:]):  # noqa: B905 (no strict there)
        # Half of 1 % after the windows at least, one and a half times 1 % at most.
        pause_ms = after.at_ms - before.at_ms - 7000
        assert 50 * before.airtime_us <= 1000 * pause_ms <= 153 * before.airtime_us
    assert bench.events == [JoinFailed("unheard")] * 13
    assert not bench.mac.joined
    bench.replies = [(2, lambda: bench.network.accept(cflist=cflist(*MORE_CHANNELS)))]
    bench.finish()
    assert bench.events[13:] == [Joined(bench.network.dev_addr)]
    # TS001 section 4.3.1.1: the join's rate is the first uplink's; its power the highest.
    bench.send(1, b"first")
    assert (bench.sent[-1].sf, bench.sent[-1].power_dbm) == (bench.sent[-2].sf, 14)
    assert bench.heard[-1].payload == b"first"


def test_join_accepts_that_are_not_believed():
    good = Bench().join().network
    stranger = Network(DEV_EUI, JOIN_EUI, bytes(16))
    stranger.nonces = [0]
    for frame in (
        stranger.accept(),
        good.accept()[:-1],
        good.accept() + b"\0",
        b"\x60" + good.accept()[1:],
        b"\x21" + good.accept()[1:],
        good.down(1, b"x"),
        b"\x20",
        bytes(255),
    ):
        bench = Bench()
        bench.replies = [(1, frame), (2, frame)]
        bench.do(bench.mac.join(0))
        bench.now = bench.wake
        bench.do(bench.mac.tick(bench.now))
        assert (len(bench.windows), bench.replies) == (2, []), frame
        assert bench.events == [JoinFailed("unheard")]


def test_an_old_join_accept_is_not_believed_again():
    bench = Bench().join()
    old = []
    bench.network.join_nonce = 5
    bench.replies = [(1, lambda: old.append(bench.network.accept()) or old[0])]
    bench.do(bench.mac.join(bench.now, True))
    bench.finish()
    assert of(Joined, bench.events) == [Joined(bench.network.dev_addr)]
    for number in (0, 5, 6):
        nonce_before = bench.mac.join_nonce
        bench.events = []
        bench.replies = [(1, lambda n=number: bench.network.accept(join_nonce=n))]
        bench.do(bench.mac.join(bench.now, True))
        while not bench.events:
            bench.now = bench.wake
            bench.do(bench.mac.tick(bench.now))
        assert bench.events == [JoinFailed("unheard")], number
        assert bench.mac.join_nonce == nonce_before == 6
        bench.do(bench.mac.cancel(bench.now))


def test_nonces_are_used_up_and_not_used_again():
    bench = Bench()
    bench.mac.dev_nonce = 65534
    bench.do(bench.mac.join(0))
    bench.finish()
    assert bench.network.nonces == [65534, 65535]
    assert bench.events == [JoinFailed("unheard"), JoinFailed("exhausted")]
    assert bench.do(bench.mac.join(bench.now)) == [JoinFailed("exhausted")]
    bench.power_on()
    assert bench.do(bench.mac.join(bench.now)) == [JoinFailed("exhausted")]


def test_a_running_session_is_renewed_once_a_month():
    bench = joined()
    assert kind_of(LorawanError, bench.mac.join, bench.now) == "rejoin"
    bench.send(1, b"x")
    bench.pass_until(bench.now + 29 * 86400000)
    assert kind_of(LorawanError, bench.mac.join, bench.now) == "rejoin"
    # Sleep and resets do not make it younger.
    bench.power_on(86400000 + 60000, bench.mac.snapshot(bench.now))
    old = bench.network.dev_addr
    bench.do(bench.mac.join(bench.now))
    # Until it is answered the old session is the session.
    bench.pass_until(bench.wake + 1)
    assert of(JoinFailed, bench.events)
    bench.do(bench.mac.cancel(bench.now))
    bench.send(1, b"old")
    assert bench.heard[-1].payload == b"old"
    bench.replies = [(1, lambda: bench.network.accept(dev_addr=0x26000001))]
    bench.do(bench.mac.join(bench.now))
    bench.finish()
    bench.send(1, b"new")
    assert bench.heard[-1].payload == b"new"
    assert bench.sent[-1].phy[1:5] == bytes.fromhex("01000026") != old
    assert kind_of(LorawanError, bench.mac.join, bench.now) == "rejoin"


HOUR_MS = 3600000


PERIODS = (
    (0, 1, 36000000),
    (1, 11, 36000000),
    (11, 35, 8700000),
    (35, 59, 8700000),
    (59, 83, 8700000),
)


def check_periods(sent, start_ms):
    """Assert TS001 chapter 7 on join requests; return the air time of each period."""
    spent = []
    for begin, end, limit in PERIODS:
        total = 0
        for sending in sent:
            if start_ms + begin * HOUR_MS <= sending.at_ms < start_ms + end * HOUR_MS:
                total += sending.airtime_us
        assert total < limit, (begin, total)
        spent.append(total)
    return spent


def never_joined(seed, hours, cut=None):
    """Try to join for so long; `cut(bench)` may cut the power at every Idle."""
    bench = Bench(seed)
    bench.do(bench.mac.join(0))
    end = hours * HOUR_MS
    while bench.now < end:
        bench.now = max(bench.now, bench.wake)
        if cut:
            cut(bench)
        bench.do(bench.mac.tick(bench.now))
    return bench


def test_join_back_off_over_three_days():
    times = []
    for seed in range(6):
        bench = never_joined(seed, 83)
        spent = check_periods(bench.sent, bench.sent[0].at_ms)
        # It does use what it may, and every rate, also on the last day.
        assert spent[0] > 20000000
        assert spent[1] > 20000000
        assert min(spent[2:]) > 4000000
        last_day = [s.sf for s in bench.sent if s.at_ms > 59 * HOUR_MS]
        assert len(set(last_day)) >= 5
        times.append([sending.at_ms for sending in bench.sent])
        assert bench.network.nonces == list(range(len(bench.sent)))
        # The first request is within the spread.
        assert times[-1][0] <= 20000
    # Every device at other times.
    for i in range(6):
        for j in range(i):
            same = [at for at in times[i] if at in times[j]]
            assert len(same) < 3


def test_join_back_off_with_power_cuts():
    for seed in range(8):
        chance = Chance(seed)
        cuts = [0]

        def cut(bench, chance=chance, cuts=cuts, seed=seed):
            if chance.below(6):
                return
            cuts[0] += 1
            bench.now += chance.below(1800000)
            # A clock that ran on tells how old the stored state is, or there is none.
            known = cuts[0] % 2 == 0 or seed % 2 == 0
            bench.power_on(bench.now - bench.flash_ms if known else 0)
            assert bench.mac.backoff.active
            bench.do(bench.mac.join(bench.now))
            bench.now = max(bench.now, bench.wake)

        bench = never_joined(seed, 83, cut)
        assert cuts[0] > 30
        nonces = bench.network.nonces
        assert nonces == sorted(set(nonces))
        if seed % 2 == 0:
            # Every period as if there had been no cut.
            check_periods(bench.sent, bench.sent[0].at_ms)
        # However it is cut: less than what the first hour allows in any hour, and what the
        # first eleven allow in any ten.
        for length, limit in ((HOUR_MS, 36000000), (10 * HOUR_MS, 72000000)):
            for sending in bench.sent:
                some = [
                    other.airtime_us
                    for other in bench.sent
                    if sending.at_ms <= other.at_ms < sending.at_ms + length
                ]
                assert sum(some) < limit
        # And the node is not wedged.
        bench.replies = [(1, lambda bench=bench: bench.network.accept())]
        bench.finish()
        assert of(Joined, bench.events)


def test_join_back_off_when_sending_resets_the_node():
    bench = Bench(2)
    for _ in range(2000):
        if bench.now > 24 * HOUR_MS:
            break
        actions = bench.mac.join(bench.now)
        while isinstance(actions[-1], Idle):
            bench.now = actions[-1].until_ms
            for action in actions[:-1]:
                bench.flash = action.state
            actions = bench.mac.tick(bench.now)
        bench.flash = actions[0].state
        bench.transmit(actions[1])
        bench.power_on()
    nonces = bench.network.nonces
    assert nonces == list(range(len(nonces)))
    check_periods(bench.sent, bench.sent[0].at_ms)
    assert len(nonces) > 100


def test_progress_is_stored_while_a_join_waits():
    bench = never_joined(1, 14)
    assert bench.mac.backoff.period == 2
    # Now a request waits for long; the power fails every 20 minutes, and nobody counts that time.
    before = len(bench.sent)
    for _ in range(120):
        until = bench.now + 1200000
        while bench.wake <= until:
            bench.now = bench.wake
            bench.do(bench.mac.tick(bench.now))
        bench.now = until
        bench.power_on()
        bench.do(bench.mac.join(bench.now))
    assert len(bench.sent) > before


def test_nodes_that_join_together_are_spread():
    first = []
    for seed in range(100):
        bench = Bench(seed)
        bench.do(bench.mac.join(0))
        first.append(bench.sent[0].at_ms if bench.sent else bench.wake)
    assert max(first) <= 20000
    for tenth in range(10):
        count = len([at for at in first if 2000 * tenth <= at < 2000 * (tenth + 1)])
        assert 2 <= count <= 25, (tenth, count)


def test_a_join_ends_the_back_off():
    bench = never_joined(3, 2)
    bench.replies = [(1, lambda: bench.network.accept())]
    bench.finish()
    assert of(Joined, bench.events)
    assert of(JoinFailed, bench.events)
    assert not bench.mac.backoff.active
    assert bench.mac.backoff.spent_us == 0

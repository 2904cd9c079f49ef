"""Air time by sub-band over a day, through sleep and power cuts, and silence by command."""

from lorawan_bench import Bench, Chance, joined
from lorawan_network import frequency
from node.lorawan.actions import Idle, Save
from node.lorawan.region import EU868

HOUR_MS = 3600000


def check_hours(sent, limits):
    """Assert that no hour of a sub-band has more than its air time; return what each had."""
    total = [0] * len(limits)
    used = [0] * len(limits)
    first = [0] * len(limits)
    of_band = [[s for s in sent if EU868.band(s.hz) == band] for band in range(len(limits))]
    assert sum([len(some) for some in of_band]) == len(sent)
    for band in range(len(limits)):
        some = of_band[band]
        for sending in some:
            used[band] += sending.airtime_us
            total[band] += sending.airtime_us
            end_us = 1000 * sending.at_ms + sending.airtime_us
            oldest = some[first[band]]
            while 1000 * oldest.at_ms + oldest.airtime_us <= end_us - 3600000000:
                total[band] -= oldest.airtime_us
                first[band] += 1
                oldest = some[first[band]]
            assert total[band] <= limits[band], (band, sending.at_ms)
    return used


def test_duty_cycle_over_24_hours_by_sub_band():
    limits = [1000 * ms for _, _, ms in EU868.bands]
    chance = Chance(9)
    bench = joined(9)
    # One channel in each sub-band that has none yet.
    commands = b""
    for index, hz in ((8, 863500000), (9, 868900000), (10, 869525000), (11, 869850000)):
        commands += b"\x07" + bytes((index,)) + frequency(hz) + b"\x50"
    bench.reply(lambda: bench.network.down(0, commands))
    bench.send()
    # Thousands of frames, whose bytes are of no interest here.
    bench.network.hear = lambda phy: None
    bench.mac.session.rate = 0
    end = bench.now + 24 * HOUR_MS
    naps = cuts = 0
    while bench.now < end:
        bench.send(1, chance.bytes(40 + chance.below(12)))
        what = chance.below(300)
        if what < 20:
            # Deep sleep: the ledger goes with it, and goes on.
            off_ms = chance.below(60000)
            state = bench.mac.snapshot(bench.now)
            bench.now += off_ms
            bench.power_on(off_ms if what < 10 else 0, state)
            naps += 1
        elif what == 20:
            bench.power_on()
            cuts += 1
        bench.mac.session.adr_count = 0
    used = check_hours(bench.sent, limits)
    assert naps > 50
    assert cuts > 3
    # The 1 % and 10 % bands were used for most of what a day allows, for all the power cuts.
    for band, share in ((0, 3), (1, 75), (2, 75), (3, 3), (4, 75), (5, 75)):
        assert used[band] * 100 // (24 * limits[band]) >= share, (band, used[band])


def test_after_a_power_cut_the_air_time_is_taken_for_spent():
    bench = joined()
    bench.send(1, b"x")
    bench.power_on()
    at = bench.now
    bench.send(1, bytes(11))
    # 61.7 ms at 1 % less a sixth.
    assert 7000 <= bench.sent[-1].at_ms - at <= 9000
    # Unless it is known how long the node was off.
    bench.power_on(600000)
    at = bench.now
    bench.send(1, bytes(11))
    assert bench.sent[-1].at_ms == at
    # A node that has never sent does not wait.
    bench = Bench(spread_ms=0)
    bench.do(bench.mac.join(0))
    assert bench.sent[0].at_ms == 0


def test_a_node_that_browns_out_by_sending():
    # TR007 section 4.1: the transmission itself resets the node, again and again.
    bench = joined()
    start = bench.now
    sent = []
    for _ in range(400):
        actions = bench.mac.send(bench.now, 1, bytes(11))
        if isinstance(actions[-1], Idle):
            bench.now = actions[-1].until_ms
            actions = bench.mac.tick(bench.now)
        for action in actions:
            if isinstance(action, Save):
                bench.flash = action.state
        sent.append(actions[-1].airtime_us)
        bench.now += 100
        bench.power_on()
    # Eight channels in two sub-bands.
    assert sum(sent) <= 2 * 36000000 * (bench.now - start) // HOUR_MS + 2 * 6000000


def test_when_an_uplink_could_begin():
    bench = joined()
    assert bench.mac.airtime_us(51) == 118016
    assert bench.mac.ready_ms(bench.now, 242) == bench.now
    while bench.mac.ready_ms(bench.now, 242) == bench.now:
        bench.send(1, bytes(242))
    ready = bench.mac.ready_ms(bench.now, 242)
    assert ready > bench.now + 1000
    sent = len(bench.sent)
    bench.do(bench.mac.send(bench.now, 1, bytes(242)))
    assert (len(bench.sent), bench.wake) == (sent, ready)
    bench.finish()
    assert bench.sent[-1].at_ms == ready


def test_silence_the_network_asks_for():
    # TS001 section 5.3: Toff = time on air * (2^MaxDutyCycle - 1), on any channel.
    bench = joined()
    bench.reply(lambda: bench.network.commands(b"\x04\x0a"))
    for _ in range(4):
        bench.send(1, bytes(38))
    for before, after in ((1, 2), (2, 3), (3, 4)):
        end_us = 1000 * bench.sent[before].at_ms + bench.sent[before].airtime_us
        silence = 1000 * bench.sent[after].at_ms - end_us
        assert silence >= bench.sent[before].airtime_us * 1023
        assert silence < bench.sent[before].airtime_us * 1023 + 2000000
    # It holds through a power cut, where nobody knows when the last frame was.
    bench.power_on()
    at = bench.now
    bench.send(1, b"x")
    assert bench.sent[-1].at_ms - at >= 99 * 1024
    bench.power_on(0, bench.mac.snapshot(bench.now))
    at = bench.now
    bench.send(1, b"x")
    assert 0 < bench.sent[-1].at_ms - at <= 1024 * 60

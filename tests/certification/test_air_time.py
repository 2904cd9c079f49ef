"""The law's duty cycle by sub-band over a day, and the back-off of joins over three.

RP002-1.0.4 section 2.4, ETSI EN 300 220-2 annex B; TR007-1.1 section 4.8. Neither knows of radio
chips, and both are long: each is shown on one board.
"""

import random
from itertools import pairwise

import pytest
from citynode.phy.message import JoinRequest, parse
from citynode.virtual.air.network.region import BANDS, band
from laboratory import BOARDS, IDENTITY, NS, PORT, Lab, request

HOUR_NS = 3600 * NS
DAY_NS = 24 * HOUR_NS
WIDE_NS = 4 * HOUR_NS
CUTS = 6


def adr(mask):
    return request("LinkADRReq", data_rate=0, ch_mask=mask, nb_trans=1)


@pytest.mark.slow
def test_duty_cycle_over_a_day(tmp_path):
    sent = []
    with Lab(tmp_path, BOARDS["sx1262"]) as lab:
        # One channel each in two sub-bands of 0.1 %, beside the join channels' 1 %.
        lab.accept(lab.hear(), channels_hz=(863_500_000, 868_900_000))
        lab.settle(lab.hear())
        up = lab.ask(PORT, b"\x05\x01", options=adr(0x1F))
        start_ns = up.start_ns
        narrow = b""
        while up.start_ns < start_ns + DAY_NS:
            sent.append((up.start_ns, up.end_ns - up.start_ns, band(up.freq_hz)))
            # The join channels only for some hours, so that there are not that many uplinks.
            if not narrow and up.start_ns > start_ns + WIDE_NS:
                narrow = adr(0x18)
                options = narrow
            else:
                options = lab.time(up) if b"\x0d" in up.commands else b""
            lab.answer(PORT, b"\x08" + bytes(44), options=options)
            up = lab.hear(timeout_s=40_000)
    counts = {}
    for begin_ns, _, where in sent:
        hour = [row for row in sent if begin_ns <= row[0] < begin_ns + HOUR_NS and row[2] == where]
        assert sum(row[1] for row in hour) <= BANDS[where][2] * NS // 1000
        counts[where] = counts.get(where, 0) + 1
    # It does not keep silent instead; an uplink takes 2.6 s.
    assert counts[2] > WIDE_NS / HOUR_NS * 36 / 2.6 * 0.7
    assert min(counts[0], counts[3]) >= 4


@pytest.mark.slow
def test_joins_over_three_days_with_power_cuts(tmp_path):
    rng = random.Random(9)
    with Lab(tmp_path, BOARDS["sx1276"]) as lab:
        engine, (board,) = lab.engine, lab.rack.boards
        moments = sorted(
            [rng.randrange(HOUR_NS) for _ in range(CUTS // 2)]
            + [rng.randrange(3 * DAY_NS) for _ in range(CUTS // 2)]
        )
        for moment_ns in moments:
            engine.run(until=moment_ns)
            board.power_off()
            engine.run(until=moment_ns + 10 * NS)
            board.power_on()
        engine.run(until=3 * DAY_NS)
        heard = list(lab.gateway.uplinks)
        lab.gateway.uplinks.clear()
        request = lab.hear(timeout_s=86_400)
        assert isinstance(request, JoinRequest)
        lab.accept(request)
        assert lab.hear().f_cnt == 0
    messages = [*(parse(each.payload) for each in heard), request]
    nonces = [each.dev_nonce for each in messages]
    assert nonces == sorted(set(nonces))
    assert {each.dev_eui for each in messages} == {IDENTITY.dev_eui}
    assert {each.sf for each in heard} == set(range(7, 13))
    spent_s = 0
    for each in heard:
        at_ns = each.start_ns - heard[0].start_ns
        spent_s += (each.end_ns - each.start_ns) / NS
        if at_ns < HOUR_NS:
            limit_s = 36
        elif at_ns < 11 * HOUR_NS:
            limit_s = 72
        else:
            limit_s = 72 + 8.7 * (1 + (at_ns - 11 * HOUR_NS) // DAY_NS)
        assert spent_s < limit_s
    assert spent_s > 45
    # By chance: no two pauses are the same.
    starts = [each.start_ns for each in heard]
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert len(set(pauses)) == len(pauses)

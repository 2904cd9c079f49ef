"""Adaptive data rate and repetitions (TS001-1.0.4 sections 4.3.1.1 and 4.3.1.3)."""

import random
from itertools import pairwise

import pytest
from laboratory import CHANNELS_HZ, NS, PORT, request
from noise import garbage


def adr(**fields):
    return request("LinkADRReq", **fields)


@pytest.mark.slow
def test_the_way_back_to_a_silent_network(lab):
    # Table 9 of TS001: from DR1 and a low power down to DR0 with all that is default. What is
    # heard meanwhile is not for this node; it takes nothing of it.
    rng = random.Random(5)
    lab.rejoin(rx2_data_rate=5)
    few = adr(data_rate=1, tx_power=4, ch_mask=0x18, nb_trans=1)
    up = lab.ask(options=few)
    assert up.commands.hex() == "0307"
    first = up.f_cnt
    changes, before = [], None
    while up.f_cnt < first + 163:
        now = "adr_ack_req" in up.flags, up.rate, up.power_dbm
        if now != before:
            changes.append((up.f_cnt - first, *now))
        before = now
        lab.send(garbage(rng, lab.link), window=2)
        counter, up = up.f_cnt, lab.hear()
        assert (up.f_cnt, up.commands, up.port) == (counter + 1, b"", None)
        assert "ack" not in up.flags
    assert changes == [(0, False, 1, 6), (64, True, 1, 6), (96, True, 1, 14), (128, True, 0, 14)]
    # At 160 the default channels have come back beside the others.
    assert {lab.hear().freq_hz for _ in range(9)} == {*CHANNELS_HZ[:5]}
    assert "adr_ack_req" not in lab.ask().flags


@pytest.mark.parametrize("nb_trans", [1, 3])
def test_confirmed_uplinks_are_repeated_until_there_is_an_answer(dut, nb_trans):
    dut.ask(options=adr(data_rate=5, ch_mask=0xFF, nb_trans=nb_trans))
    for _ in range(nb_trans - 1):
        dut.hear()
    first = dut.ask(PORT, b"\x07\x02")
    # Without an answer: the same frame, each later by the windows and RETRANSMIT_TIMEOUT.
    copies = [first, *(dut.hear() for _ in range(2 * nb_trans))]
    assert all(up.confirmed for up in copies)
    assert [up.f_cnt - first.f_cnt for up in copies] == [
        number // nb_trans for number in range(len(copies))
    ]
    for earlier, later in pairwise(copies):
        assert (later.start_ns - earlier.end_ns) / NS > 2 + 1
    # An acknowledgement ends it, as does another downlink for this node.
    for flags in ({"ack": True}, {"ack": False}):
        up = dut.hear()
        assert dut.ask(**flags).f_cnt == up.f_cnt + 1
    up = dut.ask(PORT, b"\x07\x01", ack=True)
    assert not up.confirmed

"""Over-the-air activation (TS001-1.0.4 section 6.2, RP002-1.0.4 section 2.4)."""

from itertools import pairwise

import pytest
from citynode.virtual.air.network import frames
from citynode.virtual.air.network.region import JOIN_CHANNELS_HZ
from laboratory import CHANNELS_HZ, IDENTITY, KEY, NS, PORT, Up

OTHERS_HZ = (867_000_000, 865_200_000, 866_400_000)


def test_requests_count_their_nonces_and_keep_to_the_join_channels(lab):
    first = lab.ask_join()
    assert (first.join_eui, first.dev_eui) == (IDENTITY.join_eui, IDENTITY.dev_eui)
    nonce = first.dev_nonce
    used = {round(lab.last.freq_hz, -3)}
    rates = [lab.last.sf]
    # What is no answer to it: nothing, a wrong MIC, a JoinNonce that was there before, a short one.
    lab.accept(first, spoil=True)
    ends = [lab.last.end_ns]
    old_nonce = lab.join_nonce - 1
    for number, fields in enumerate(({"join_nonce": old_nonce}, {"join_nonce": 0}, {}), start=1):
        request = lab.hear(timeout_s=600)
        assert request.dev_nonce == nonce + number
        used.add(round(lab.last.freq_hz, -3))
        rates.append(lab.last.sf)
        ends.append(lab.last.end_ns)
        lab.accept(request, **fields)
    assert used <= set(JOIN_CHANNELS_HZ)
    assert rates == [7, 8, 9, 10]
    # Behind the windows, and then by chance.
    gaps = [(later - earlier) / NS for earlier, later in pairwise(ends)]
    assert min(gaps) > 6
    first = lab.hear()
    assert isinstance(first, Up)
    assert first.f_cnt == 0


@pytest.mark.parametrize("window", [1, 2])
def test_an_accept_in_either_window(lab, window):
    first = lab.rejoin(window=window)
    assert (first.f_cnt, first.rate) == (0, 5)
    assert lab.takes()


@pytest.mark.parametrize(
    ("window", "changes"),
    [
        (1, {"delay_s": 1}),
        (1, {"delay_s": 4.8}),
        (1, {"delay_s": 5.2}),
        (1, {"rate": 4}),
        (1, {"iq_inverted": False}),
        (1, {"sync_word": 0x12}),
        (2, {"rate": 3}),
        (2, {"freq_hz": 869_625_000}),
    ],
)
def test_an_accept_elsewhere_is_not_heard(lab, window, changes):
    request = lab.ask_join()
    phy = frames.join_accept(
        KEY, join_nonce=0xFFFFFF, net_id=0, dev_addr=1, rx1_dr_offset=0, rx2_data_rate=0, delay_s=1
    )
    lab.send(phy, window, **{"delay_s": 5, **changes})
    again = lab.hear(timeout_s=600)
    assert again.dev_nonce == request.dev_nonce + 1
    lab.accept(again)
    assert lab.hear().f_cnt == 0


def test_the_accept_sets_windows_channels_and_keys(lab):
    granted = {"rx1_dr_offset": 2, "rx2_data_rate": 3, "delay_s": 4}
    up = lab.rejoin(channels_hz=(*OTHERS_HZ, 0, 869_900_000 + 100_000_000), **granted)
    assert lab.takes()
    assert lab.takes(window=2)
    seen = set()
    for _ in range(12):
        up = lab.hear()
        seen.add(up.freq_hz)
    # Each once before any is used again; a frequency outside of the band is no channel.
    assert seen == {*JOIN_CHANNELS_HZ, *OTHERS_HZ}
    assert up.rate == 5


def test_a_new_session_forgets_the_old_one(lab):
    lab.rejoin(rx1_dr_offset=2, rx2_data_rate=3, delay_s=2, channels_hz=OTHERS_HZ)
    old = lab.link
    lab.rejoin()
    phy = old.downlink(old.f_cnt_down, f_opts=b"\x06")
    lab.send(phy)
    assert lab.hear().commands == b""
    assert lab.takes()
    assert {lab.hear().freq_hz for _ in range(15)} == set(CHANNELS_HZ)


def test_a_join_without_answer_leaves_the_session_as_it_was(dut):
    dut.ask(PORT, b"\x02")
    found = dut.hear(timeout_s=600)
    nonces = []
    while not isinstance(found, Up):
        nonces.append(found.dev_nonce)
        found = dut.hear(timeout_s=600)
    assert found.f_cnt == 1
    assert dut.takes()
    # The next attempt goes on with the back-off of this one; until it lets it the node sends on.
    request = None
    for _ in range(60):
        request = dut.ask(PORT, b"\x02")
        if not isinstance(request, Up):
            break
    assert request.dev_nonce > nonces[-1]
    assert dut.last.sf > 7
    dut.accept(request)
    assert dut.hear().f_cnt == 0

"""Frame counters, MICs and addresses of downlinks (TS001-1.0.4 sections 4.3.1.5 and 4.4)."""

from dataclasses import replace

import pytest
from laboratory import DEV_STATUS, KEY, request


@pytest.mark.parametrize(
    ("counters", "taken"),
    [
        ((0, 1, 2), (True, True, True)),
        ((7, 8), (True, True)),  # gaps
        ((5, 5, 5, 6), (True, False, False, True)),  # replays
        ((9, 8, 0, 10), (True, False, False, True)),  # older ones
        ((0xFFFE, 0xFFFF, 0x10000, 0x10000, 0x10001), (True, True, True, False, True)),
        ((0x8000, 0xFFFF, 0x17000, 0xFFFF, 0x27000), (True, True, True, False, True)),
        # A gap of more than 16 bits cannot be seen, and the MIC is another one's.
        ((0, 0x10001, 1, 0x10002, 2), (True, False, True, False, True)),
    ],
)
def test_counters_go_up_only(dut, counters, taken):
    assert tuple(dut.takes(f_cnt=f_cnt) for f_cnt in counters) == taken
    good = [f_cnt for f_cnt, it_is in zip(counters, taken, strict=True) if it_is]
    dut.link.f_cnt_down = good[-1] + 1


def spoilt_mic(link, phy):
    return phy[:-1] + bytes((phy[-1] ^ 0x80,))


def first_mic_byte(link, phy):
    return phy[:-4] + bytes((phy[-4] ^ 0x01,)) + phy[-3:]


def other_address(link, phy):
    other = replace(link, dev_addr=link.dev_addr ^ 0x80)
    return other.downlink(link.f_cnt_down, f_opts=DEV_STATUS)


def other_key(link, phy):
    return replace(link, nwk=KEY).downlink(link.f_cnt_down, f_opts=DEV_STATUS)


def as_uplink(link, phy):
    return b"\x40" + phy[1:]


def other_major(link, phy):
    return b"\x61" + phy[1:]


def changed_header(link, phy):
    return phy[:5] + bytes((phy[5] | 0x20,)) + phy[6:]


def one_byte_more(link, phy):
    return phy + b"\x00"


def one_byte_less(link, phy):
    return phy[:-1]


@pytest.mark.parametrize(
    "change",
    [
        spoilt_mic, first_mic_byte, other_address, other_key, as_uplink, other_major,
        changed_header, one_byte_more, one_byte_less,
    ],
)  # fmt: skip
def test_what_is_not_for_this_node(calm, change):
    link = calm.link
    phy = link.downlink(link.f_cnt_down, f_opts=DEV_STATUS)
    calm.send(change(link, phy))
    assert calm.hear().commands == b""
    # It took nothing of it: the counter is still good.
    calm.send(phy)
    link.f_cnt_down += 1
    assert calm.hear().commands[:1] == DEV_STATUS


def test_a_frame_not_for_this_node_ends_no_sticky_answer(dut):
    assert dut.ask(options=b"\x08\x01").commands == b"\x08"
    assert dut.ask(spoil=True, options=DEV_STATUS).commands == b"\x08"
    assert dut.ask().commands == b""


def test_a_frame_longer_than_its_rate_allows(dut):
    dut.ask(options=request("LinkADRReq", data_rate=3, ch_mask=0xFF, nb_trans=1))
    # RP002-1.0.4 table 9; FOpts count as well, here the one byte that asks for the status.
    for window, longest in ((1, 115), (2, 51)):
        for size in (longest, longest - 1, longest + 20):
            taken = dut.takes(port=1, payload=bytes(size), window=window)
            assert taken is (size < longest), (window, size)


def test_confirmed_downlinks_are_acknowledged_once(dut):
    assert "ack" in dut.ask(confirmed=True).flags
    assert "ack" not in dut.hear().flags
    # The network did not hear it and sends the same again: its counter is used up.
    used = dut.link.f_cnt_down - 1
    assert "ack" not in dut.ask(confirmed=True, f_cnt=used).flags
    assert "ack" in dut.ask(confirmed=True).flags


def test_counters_of_uplinks_have_no_gap(dut):
    counters = [dut.ask(options=request("DevStatusReq")).f_cnt for _ in range(3)]
    counters += [dut.hear().f_cnt for _ in range(3)]
    assert counters == [1, 2, 3, 4, 5, 6]

"""Receive windows (TS001-1.0.4 section 3.3) and what becomes of the frames that come in them."""

import pytest
from laboratory import DEV_STATUS, NS, PORT, request

STATUS_BYTES = 3


@pytest.mark.parametrize("window", [1, 2])
@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        # The window is wider than the node's clock may be wrong: 1 % of a second, and 2 ms.
        ({"late_ms": 9}, True),
        ({"late_ms": -9}, True),
        ({"late_ms": 400}, False),
        ({"late_ms": -400}, False),
        ({"iq_inverted": False}, False),
        ({"sync_word": 0x12}, False),
        ({"freq_hz": 869_000_000}, False),
        ({"rate": 4}, False),
    ],
)
def test_what_is_heard(calm, window, changes, taken):
    assert calm.takes(window=window, **changes) is taken
    assert calm.takes(window=3 - window)


def test_the_second_window_opens_behind_a_frame_for_others_only(dut):
    other = dut.link.downlink(0, f_opts=DEV_STATUS)
    ours = [dut.link.downlink(n, f_opts=DEV_STATUS * (n + 1)) for n in range(3)]
    dut.link.f_cnt_down = 3
    # One that is not for us in RX1: RX2 is open still.
    dut.send(other[:-1] + bytes((other[-1] ^ 1,)))
    dut.send(ours[0], window=2)
    assert len(dut.hear().commands) == STATUS_BYTES
    # One that is: RX2 is not opened any more.
    dut.send(ours[1])
    dut.send(ours[2], window=2)
    assert len(dut.hear().commands) == 2 * STATUS_BYTES
    assert dut.hear().commands == b""


@pytest.mark.parametrize(("rate", "offset", "rx1"), [(5, 0, 5), (5, 3, 2), (4, 5, 0), (1, 1, 0)])
def test_offset_of_the_first_window(dut, rate, offset, rx1):
    link_adr = request("LinkADRReq", data_rate=rate, tx_power=0, ch_mask=0xFF, nb_trans=1)
    setup = request(
        "RXParamSetupReq", rx1_dr_offset=offset, rx2_data_rate=2, frequency_hz=869_525_000
    )
    up = dut.ask(options=link_adr + setup)
    assert (up.rate, up.commands.hex()) == (rate, "03070507")
    # The answer is sticky: the network has to show in a downlink that it has it.
    assert dut.takes(rate=rx1)
    if offset and rx1 != rate:
        assert not dut.takes(rate=rate)
    dut.link.rx2_rate, dut.link.offset = 2, offset
    assert dut.takes(window=2)


@pytest.mark.parametrize("seconds", [0, 2, 15])
def test_delay_of_the_windows(dut, seconds):
    up = dut.ask(options=bytes((0x08, seconds)))
    assert up.commands == b"\x08"
    dut.link.delay_s = max(1, seconds)
    assert dut.takes()
    assert dut.takes(window=2)
    if seconds > 1:
        assert not dut.takes(delay_s=1)


def test_frequency_of_the_second_window(dut):
    setup = request("RXParamSetupReq", rx1_dr_offset=0, rx2_data_rate=5, frequency_hz=868_900_000)
    assert dut.ask(options=setup).commands.hex() == "0507"
    assert not dut.takes(window=2)  # 869.525 MHz, DR0
    dut.link.rx2_hz, dut.link.rx2_rate = 868_900_000, 5
    assert dut.takes(window=2)
    assert dut.takes()


def test_a_downlink_channel_of_its_own(dut):
    moves = dict(enumerate((869_100_000, 869_300_000, 869_900_000)))
    options = b"".join(
        request("DlChannelReq", channel=index, frequency_hz=hz) for index, hz in moves.items()
    )
    only = request("LinkADRReq", data_rate=5, tx_power=0, ch_mask=0x07, nb_trans=1)
    assert dut.ask(0, options + only).commands.hex() == "0a03" * 3 + "0307"
    uplinks = (868_100_000, 868_300_000, 868_500_000)
    dut.link.rx1_hz = {uplinks[index]: hz for index, hz in moves.items()}
    assert all(dut.takes() for _ in range(3))
    assert not dut.takes(freq_hz=round(dut.last.freq_hz, -3))
    assert dut.takes(window=2)


def test_the_node_goes_on_at_once_where_more_is_pending(dut):
    def pause(**down):
        end_ns = dut.last.end_ns
        return (dut.ask(**down).start_ns - end_ns) / NS

    assert pause() > 4
    assert pause(f_pending=True) < 2.5
    assert pause(f_pending=True, window=2) < 5
    assert pause() > 4
    # An acknowledgement is due at once, too.
    assert pause(port=PORT, payload=b"\x06\x01", confirmed=True) < 2.5

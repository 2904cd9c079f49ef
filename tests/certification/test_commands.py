"""MAC commands, valid and not, and how they are carried (TS001-1.0.4 chapter 5)."""

from itertools import pairwise

import pytest
from laboratory import CHANNELS_HZ, DEV_STATUS, PORT, request

STICKY = {
    "RXParamSetup": ("0500d2ad84", "0507"),
    "RXTimingSetup": ("0801", "08"),
    "DlChannel": ("0a07389d84", "0a03"),  # channel 7
}
ONCE = {
    "LinkADR": ("0350ff0001", "0307"),
    "DutyCycle": ("0400", "04"),
    "DevStatus": ("06", None),
    "NewChannel": ("0708304b8450", "0703"),
}


def adr(rate=5, power=0, mask=0xFF, control=0, nb_trans=1):
    return request(
        "LinkADRReq",
        data_rate=rate,
        tx_power=power,
        ch_mask=mask,
        ch_mask_cntl=control,
        nb_trans=nb_trans,
    )


def setup(offset=0, rate=0, hz=869_525_000):
    return request("RXParamSetupReq", rx1_dr_offset=offset, rx2_data_rate=rate, frequency_hz=hz)


def channel(index, hz, low=0, high=5):
    return request(
        "NewChannelReq", channel=index, frequency_hz=hz, min_data_rate=low, max_data_rate=high
    )


def down(index, hz):
    return request("DlChannelReq", channel=index, frequency_hz=hz)


def answers(lab, table):
    """Send each of the commands by itself; return what was answered that should not have been."""
    wrong = {}
    for what, (command, expected) in table.items():
        got = lab.ask(options=command).commands.hex()
        if got != expected:
            wrong[what] = got
        if got:
            lab.ask()  # so that nothing sticks
    return wrong


def channels(lab, uplinks=15):
    return {lab.hear().freq_hz for _ in range(uplinks)}


# -- each command -----------------------------------------------------------------------------


def test_link_adr_refused(dut):
    dut.ask(options=adr(rate=4, power=1, mask=0x3F))
    assert (
        answers(
            dut,
            {
                "no channel": (adr(mask=0), "0306"),
                "a channel that is not defined": (adr(mask=0x1FF), "0306"),
                "control 1": (adr(control=1), "0306"),
                "control 5": (adr(control=5), "0306"),
                "control 7": (adr(control=7), "0306"),
                "a rate that is not there": (adr(rate=8), "0305"),
                "FSK": (adr(rate=7), "0305"),
                "a rate of no channel": (adr(rate=6), "0305"),
                "a power that is not there": (adr(power=8), "0303"),
                "all of it": (adr(rate=14, power=14, mask=0), "0300"),
            },
        )
        == {}
    )
    # Nothing of any of them was done.
    up = dut.hear()
    assert (up.rate, up.power_dbm) == (4, 12)
    assert channels(dut) == set(CHANNELS_HZ[:6])


def test_link_adr_accepted(dut):
    up = dut.ask(options=adr(rate=3, power=5, mask=0x07))
    assert (up.commands.hex(), up.rate, up.power_dbm) == ("0307", 3, 4)
    assert channels(dut, 5) == set(CHANNELS_HZ[:3])
    up = dut.ask(options=adr(rate=15, power=15, mask=0x38))
    assert (up.commands.hex(), up.rate, up.power_dbm) == ("0307", 3, 4)
    assert channels(dut, 5) == set(CHANNELS_HZ[3:6])
    up = dut.ask(options=adr(rate=5, power=0, mask=0, control=6))
    assert (up.commands.hex(), up.rate, up.power_dbm) == ("0307", 5, 14)
    assert channels(dut) == set(CHANNELS_HZ)
    # Power 7 (2 dBm EIRP) is 0 dBm at the connector; not every amplifier goes down that far.
    up = dut.ask(options=adr(power=6))
    assert (up.commands.hex(), up.power_dbm) == ("0307", 2)


def test_blocks_of_link_adr_are_one(dut):
    # The masks are worked through in their order; rate and power are the last one's.
    block = adr(rate=0, power=7, mask=0, control=6) + adr(rate=4, power=2, mask=0x81)
    up = dut.ask(options=block)
    assert (up.commands.hex(), up.rate, up.power_dbm) == ("0307" * 2, 4, 10)
    assert channels(dut, 3) == {CHANNELS_HZ[0], CHANNELS_HZ[7]}
    # One that is wrong is the whole block's fault, wherever it is.
    for block in (
        adr(rate=5, mask=0x8000) + adr(rate=5, mask=0x01),
        adr(rate=5, mask=0x01) + adr(rate=5, mask=0x8000) + adr(rate=5, mask=0x02),
    ):
        count = len(block) // 5
        up = dut.ask(0, block)
        assert (up.commands.hex(), up.rate) == ("0306" * count, 4)
    up = dut.ask(options=adr(rate=0, mask=1) + adr(rate=0, mask=1) + adr(rate=15, power=9, mask=1))
    assert (up.commands.hex(), up.rate) == ("0303" * 3, 4)
    assert channels(dut, 3) == {CHANNELS_HZ[0], CHANNELS_HZ[7]}
    # Another command between makes two blocks of them.
    up = dut.ask(options=adr(rate=8, mask=1) + b"\x04\x00" + adr(rate=3, mask=0xFF))
    assert (up.commands.hex(), up.rate) == ("0305" + "04" + "0307", 3)


def test_link_adr_repeats_uplinks(dut):
    up = dut.ask(options=adr(mask=0x07, nb_trans=3))
    copies = [up, dut.hear(), dut.hear()]
    assert len({copy.phy for copy in copies}) == 1
    assert len({copy.freq_hz for copy in copies}) > 1
    # Only behind the windows of the one before.
    assert all(later.start_ns - earlier.end_ns > 2 * 10**9 for earlier, later in pairwise(copies))
    up = dut.hear()
    assert up.f_cnt == copies[0].f_cnt + 1
    # A downlink ends the repetitions; NbTrans 0 is 1.
    up = dut.ask(options=adr(nb_trans=0))
    assert (up.f_cnt, up.commands.hex()) == (copies[0].f_cnt + 2, "0307")
    assert dut.hear().f_cnt == up.f_cnt + 1


def test_without_adr_only_channels_are_obeyed(dut):
    up = dut.ask(PORT, b"\x04\x00")
    assert "adr" not in up.flags
    up = dut.ask(options=adr(rate=2, power=3, mask=0x07, nb_trans=2))
    assert (up.commands.hex(), up.rate, up.power_dbm) == ("0301", 5, 14)
    assert channels(dut, 5) == set(CHANNELS_HZ[:3])
    assert "adr" in dut.ask(PORT, b"\x04\x01").flags


def test_duty_cycle(dut):
    up = dut.ask(options=b"\x04\x08")
    assert up.commands == b"\x04"
    end_ns, airtime_ns = up.end_ns, up.end_ns - up.start_ns
    later = dut.hear()
    assert later.start_ns - end_ns >= 255 * airtime_ns
    assert dut.ask(options=b"\x04\x00").commands == b"\x04"
    end_ns = dut.last.end_ns
    assert dut.hear().start_ns - end_ns < 6 * 10**9


def test_rx_param_setup_refused(dut):
    assert (
        answers(
            dut,
            {
                "frequency": (setup(hz=862_000_000), "0506"),
                "frequency above": (setup(hz=870_100_000), "0506"),
                "no frequency": (setup(hz=0), "0506"),
                "rate": (setup(rate=8), "0505"),
                "FSK": (setup(rate=7), "0505"),
                "offset": (setup(offset=6), "0503"),
                "all": (setup(7, 15, 433_000_000), "0500"),
                "offset, with another rate": (setup(7, 4), "0503"),
            },
        )
        == {}
    )
    assert dut.takes()
    assert dut.takes(window=2)


def test_dev_status(dut):
    up = dut.ask(options=DEV_STATUS)
    assert (len(up.commands), up.commands[:1]) == (3, DEV_STATUS)
    assert 1 <= up.commands[1] <= 254  # a battery
    near = up.commands[2]
    assert near < 32  # 6 bits, not negative here
    dut.answer(options=DEV_STATUS, power_dbm=-12.0)
    far = dut.hear().commands[2]
    assert far >> 6 == 0
    assert (far ^ 0x20) - 0x20 < near


def test_new_channel(dut):
    assert (
        answers(
            dut,
            {
                "a default channel": (channel(0, 867_000_000), "0700"),
                "removing a default channel": (channel(2, 0), "0700"),
                "index": (channel(16, 867_000_000), "0700"),
                "frequency below": (channel(8, 862_900_000), "0702"),
                "frequency at the edge": (channel(8, 870_000_000), "0702"),
                "range upside down": (channel(8, 867_000_000, 5, 2), "0701"),
                "rate that is not there": (channel(8, 867_000_000, 0, 8), "0701"),
                "both": (channel(8, 433_000_000, 3, 9), "0700"),
            },
        )
        == {}
    )
    assert channels(dut) == set(CHANNELS_HZ)
    few = adr(mask=0xC1)
    assert dut.ask(0, channel(15, 867_000_000) + few).commands.hex() == "0703" + "0307"
    assert channels(dut, 5) == {CHANNELS_HZ[0], *CHANNELS_HZ[6:]}
    # Changed, which enables it; one removed, one that is not there removed; rates without DR5.
    changes = channel(15, 866_600_000) + channel(7, 0) + channel(12, 0)
    assert dut.ask(0, changes).commands.hex() == "0703" * 3
    assert channels(dut, 5) == {CHANNELS_HZ[0], CHANNELS_HZ[6], 866_600_000}
    assert dut.ask(options=channel(15, 866_600_000, 0, 3)).commands.hex() == "0703"
    assert channels(dut, 3) == {CHANNELS_HZ[0], CHANNELS_HZ[6]}
    assert dut.ask(options=adr(rate=3, mask=1 << 15)).commands.hex() == "0307"
    assert channels(dut, 2) == {866_600_000}
    # The only one enabled is taken away: the default ones are left.
    assert dut.ask(options=channel(15, 0)).commands.hex() == "0703"
    assert channels(dut, 5) == set(CHANNELS_HZ[:3])


def test_dl_channel_refused(dut):
    assert (
        answers(
            dut,
            {
                "a channel that is not defined": (down(8, 868_100_000), "0a01"),
                "index": (down(200, 868_100_000), "0a01"),
                "frequency": (down(0, 862_000_000), "0a02"),
                "both": (down(9, 900_000_000), "0a00"),
            },
        )
        == {}
    )
    assert dut.takes()


def test_what_is_not_answered(dut):
    assert (
        answers(
            dut,
            {
                "TXParamSetupReq": (b"\x09\x15", ""),
                "LinkCheckAns nobody asked for": (b"\x02\x14\x01", ""),
                "DeviceTimeAns nobody asked for": (b"\x0d" + bytes(5), ""),
                "class B": (b"\x11\x00\x00\x00\x00", ""),
                "proprietary": (b"\x80\x01\x02", ""),
                "a cut request": (b"\x05\x00\xd2", ""),
                "an answer": (b"\x04", ""),
            },
        )
        == {}
    )
    # TXParamSetupReq has a known length, what is behind it is done.
    both = dut.ask(options=b"\x09\x15" + DEV_STATUS).commands
    assert both[:1] == DEV_STATUS


@pytest.mark.parametrize("port_0", [False, True], ids=["FOpts", "port 0"])
def test_reading_ends_at_what_is_not_known(dut, port_0):
    data = b"\x04\x00" + DEV_STATUS + b"\x7f" + DEV_STATUS + b"\x04\x00"
    up = dut.ask(0, data) if port_0 else dut.ask(options=data)
    assert (len(up.commands), up.commands[:2]) == (4, b"\x04" + DEV_STATUS)


# -- how they are carried -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [*STICKY, *ONCE])
def test_sticky_answers(dut, name):
    command, answer = {**STICKY, **ONCE}[name]
    up = dut.ask(options=bytes.fromhex(command))
    first = up.commands.hex()
    assert answer in (None, first)
    if name == "DlChannel":
        dut.link.rx1_hz = {CHANNELS_HZ[7]: 869_100_000}
    for _ in range(2):
        up = dut.hear()
        assert up.commands.hex() == (first if name in STICKY else "")
    # Any downlink ends it.
    assert dut.ask().commands == b""
    assert dut.hear().commands == b""


def test_sticky_answers_stay_among_others(dut):
    up = dut.ask(options=b"\x08\x01" + DEV_STATUS + b"\x04\x00")
    assert len(up.commands) == 5
    assert dut.hear().commands == b"\x08"
    # A new request takes the place of the old answer.
    assert dut.ask(options=b"\x04\x00").commands == b"\x04"
    assert dut.hear().commands == b""


@pytest.mark.parametrize("port", [0, 10, PORT])
def test_commands_in_both_places_are_refused(dut, port):
    # TS001 4.3.1.6: only together with port 0; beside a payload FOpts are as usual.
    taken = dut.ask(port, DEV_STATUS, options=DEV_STATUS).commands
    assert taken[:1] == (b"" if port == 0 else DEV_STATUS)
    dut.ask()
    assert dut.takes()


def test_answers_without_room_in_fopts_go_to_port_0(dut):
    up = dut.ask(0, DEV_STATUS * 5)
    assert (up.port, len(up.commands)) == (None, 15)
    up = dut.ask(0, DEV_STATUS * 6)
    assert (up.port, len(up.commands)) == (0, 18)
    # DR0 has 51 bytes: whole answers, the last ones are dropped.
    dut.ask(options=adr(rate=0))
    up = dut.ask(0, DEV_STATUS * 18 + b"\x04\x00")
    assert (up.port, len(up.commands)) == (0, 51)
    assert up.commands[::3] == DEV_STATUS * 17


def test_answers_go_before_payload(dut):
    dut.ask(options=adr(rate=0))
    # An echo that would fill the frame, and answers that have to go with it.
    up = dut.ask(PORT, b"\x08" + bytes(50))
    assert (up.port, len(up.payload)) == (PORT, 51)
    up = dut.ask(PORT, b"\x08" + bytes(47), options=DEV_STATUS)
    assert (up.port, len(up.payload), len(up.commands)) == (PORT, 48, 3)
    # Only the commands fit; the echo comes with the next one.
    options = DEV_STATUS * 3 + b"\x04\x00" * 3
    up = dut.ask(PORT, b"\x08" + bytes(36), options=options)
    assert (len(up.payload), len(up.commands)) == (37, 12)
    assert dut.ask(0, DEV_STATUS * 16).port == 0
    dut.ask(options=adr(rate=5))

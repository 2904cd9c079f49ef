"""The certification protocol on FPort 224 (TS009-1.2)."""

import pytest
from laboratory import DEV_STATUS, NS, PORT, request

UPLINKS = 14
DR0 = request("LinkADRReq", data_rate=0, ch_mask=0x07, nb_trans=1)


def test_what_is_answered(dut):
    for command, answer in {
        "00": "000601",  # PackageVersion: certification, version 1
        "7f": "7f" + "00010000" + "01000400" + "02010004",  # versions of all
        "08": "08",
        "08007fff": "08018000",  # EchoIncPayload
        "08" + "00" * 241: "08" + "01" * 241,
    }.items():
        up = dut.ask(PORT, bytes.fromhex(command))
        assert (up.port, up.payload.hex()) == (PORT, answer)
        assert dut.hear().port is None  # once


def test_what_is_not_known_or_has_a_wrong_length(calm):
    for command in (
        "0302",  # SwitchClass: neither class C
        "0301",  # nor B
        "2207",  # PingSlotInfo
        "0000", "7f00", "0900", "0100", "0200", "04", "05", "06", "060b", "07", "0703",
        "7d0a", "7e00", "55", "",
    ):  # fmt: skip
        up = calm.ask(PORT, bytes.fromhex(command))
        assert (up.port, up.commands, up.rate, up.flags) == (None, b"", 5, ("adr",)), command
        assert not up.confirmed


def test_an_echo_is_cut_to_what_the_rate_allows(dut):
    up = dut.ask(PORT, b"\x08" + bytes(60), options=DR0)
    assert (up.payload, up.commands.hex()) == (b"\x08" + b"\x01" * 48, "0307")
    assert dut.ask(PORT, b"\x08" + bytes(50)).payload == b"\x08" + b"\x01" * 50


def test_downlinks_are_counted(dut):
    def count(**down):
        answer = dut.ask(PORT, **down).payload
        assert (len(answer), answer[0]) == (3, 0x09)
        return int.from_bytes(answer[1:], "little")

    dut.ask(PORT, b"\x0a")
    assert count(payload=b"\x09") == 1
    dut.ask(port=1, payload=b"x")
    dut.ask(ack=True)
    # Nothing for the application: commands alone, and what is refused.
    dut.ask(options=DEV_STATUS)
    dut.ask(0, DEV_STATUS)
    dut.ask(port=1, payload=b"x", spoil=True)
    dut.ask(port=1, payload=b"x", f_cnt=0)
    assert count(payload=b"\x09") == 4
    dut.ask(PORT, b"\x0a")
    assert count(payload=b"\x09") == 1


def test_requests_to_the_network(dut):
    assert dut.ask(PORT, b"\x20").commands == b"\x02"
    up = dut.ask(PORT, b"\x21", options=request("LinkCheckAns", margin_db=20, gateways=1))
    assert up.commands == b"\x0d"
    sets = len(dut.said("clock: set"))
    assert dut.ask(options=dut.time(up)).commands == b""
    assert len(dut.said("clock: set")) == sets  # it was right before
    # Without an answer it is not asked again.
    assert dut.ask(PORT, b"\x20").commands == b"\x02"
    assert dut.hear().commands == b""


def test_adr_bit(dut):
    assert "adr" not in dut.ask(PORT, b"\x04\x00").flags
    assert "adr" not in dut.hear().flags
    assert "adr" in dut.ask(PORT, b"\x04\x01").flags


def test_types_of_frames(dut):
    for command, confirmed in (("0702", True), ("0700", True), ("0701", False), ("0700", False)):
        assert dut.ask(PORT, bytes.fromhex(command), ack=True).confirmed is confirmed


def test_regional_duty_cycle(dut):
    def seconds():
        start_ns = dut.last.start_ns
        for _ in range(UPLINKS):
            dut.ask(PORT, b"\x08" + bytes(50))
        return (dut.last.start_ns - start_ns) / NS

    # At DR0 an uplink takes 2.8 s, and the three channels are in a sub-band of 36 s an hour.
    dut.ask(PORT, b"\x05\x01", options=DR0)
    assert seconds() > 3600
    dut.ask(PORT, b"\x05\x00")
    assert seconds() < UPLINKS * 8


def test_a_carrier(dut):
    """TxCwReq: so many seconds, frequency, power; then the node goes on."""
    seen = []
    dut.rack.air.observe(lambda e: seen.append(e) if e.frame.modulation.carrier else None)
    hz, dbm = 869_525_000, 10
    wanted = (3).to_bytes(2, "little") + (hz // 100).to_bytes(3, "little") + bytes((dbm,))
    up = dut.ask(PORT, b"\x7d" + wanted)
    begun, ended = seen
    assert (begun.kind, ended.kind) == ("sent", "cut")
    assert abs(begun.frame.modulation.freq_hz - hz) < 100
    assert begun.frame.power_dbm == dbm
    assert abs(ended.at_ns - begun.at_ns - 3 * NS) < NS // 20  # the amplifier has to start
    assert up.start_ns > ended.at_ns
    # Another band is refused, and nothing else suffers.
    assert dut.ask(PORT, b"\x7d\x03\x00" + (433_000_000 // 100).to_bytes(3, "little") + b"\x0a")
    assert len(seen) == 2
    assert dut.takes()


@pytest.mark.parametrize(("number", "seconds"), [(2, 10), (4, 30), (8, 120), (10, 480)])
def test_periodicity(calm, number, seconds):
    calm.ask(PORT, bytes((0x06, number)))
    earlier = calm.hear()
    later = calm.hear()
    assert abs(later.start_ns - earlier.start_ns - seconds * NS) < NS // 5
    calm.ask(PORT, b"\x06\x01")

"""What stands in for the network: gateways that collect uplinks and send downlinks."""

import pytest
from air_bench import HZ, SF7, finish, missed
from citynode.virtual.air import Gateway, Modulation
from radio_bench import MS, NS, US


def test_a_gateway_collects_uplinks_with_their_exact_times(air):
    seen = []
    gateway = Gateway(air, on_uplink=seen.append)
    frames = [
        air.transmit(f"n{sf}", bytes(10), Modulation(HZ, sf), 14.0, sf * MS) for sf in range(7, 13)
    ]
    finish(air)
    assert seen == list(gateway.uplinks)
    assert {(u.sf, u.start_ns, u.end_ns) for u in seen} == {
        (f.modulation.sf, f.start_ns, f.end_ns) for f in frames
    }
    assert [u.end_ns for u in seen] == sorted(u.end_ns for u in seen)
    assert seen[0].rssi_dbm == pytest.approx(14.0 - 105.75)
    assert seen[0].snr_db == 12.0


@pytest.mark.parametrize(
    "change",
    [{"iq_inverted": True}, {"sync_word": 0x12}, {"implicit": True}, {"sf": 12, "ldro": False}],
)
def test_a_gateway_hears_no_downlinks_other_networks_or_wrong_settings(air, change):
    gateway = Gateway(air)
    air.transmit("node", b"x", Modulation(HZ, **({"sf": 7} | change)), 14.0, 0)
    finish(air)
    assert not gateway.uplinks


def test_a_gateway_follows_eight_frames_and_none_while_it_sends(air, events):
    gateway = Gateway(air)
    for n in range(10):
        air.transmit(f"n{n}", bytes(20), Modulation(HZ + 200_000 * n, 7), 14.0, n * US)
    finish(air)
    assert len(gateway.uplinks) == 8
    assert missed(events, "gateway") == ["busy"] * 2
    gateway.uplinks.clear()
    now = air.engine.now_ns()
    gateway.send(b"down", at_ns=now + 30 * MS, freq_hz=869_525_000, sf=9)
    air.transmit("n1", bytes(50), SF7, 14.0, now)
    finish(air)
    assert not gateway.uplinks
    assert gateway.crc_errors == 1


def test_answers_and_downlinks_have_exact_times_and_a_downlinks_settings(air):
    gateway = Gateway(air)
    air.transmit("node", b"up", Modulation(HZ, 9), 14.0, 5 * MS)
    uplink = gateway.next_uplink(1.0)
    rx1 = gateway.answer(uplink, b"one")
    rx2 = gateway.answer(uplink, b"two", 2.0, freq_hz=869_525_000, sf=12, cr=2)
    assert rx1.start_ns == uplink.end_ns + NS
    assert rx1.modulation == Modulation(HZ, 9, iq_inverted=True, crc=False)
    assert rx2.start_ns == uplink.end_ns + 2 * NS
    assert rx2.modulation == Modulation(869_525_000, 12, cr=2, iq_inverted=True, crc=False)


def test_a_frame_has_255_bytes_at_most(air):
    gateway = Gateway(air)
    gateway.send(bytes(255), at_ns=0, freq_hz=HZ, sf=7)
    with pytest.raises(ValueError, match="256"):
        gateway.send(bytes(256), at_ns=0, freq_hz=HZ, sf=7)


def test_a_downlink_cannot_be_sent_in_the_past(air):
    gateway = Gateway(air)
    air.engine.advance(NS)
    with pytest.raises(ValueError, match="1 ns too late"):
        gateway.send(b"x", at_ns=NS - 1, freq_hz=HZ, sf=7)


def test_waiting_for_an_uplink_that_does_not_come_ends(air):
    gateway = Gateway(air)
    with pytest.raises(TimeoutError):
        gateway.next_uplink(3.0)
    assert air.engine.now_ns() == 3 * NS


def test_frames_are_lost_and_spoilt_as_asked_for(air):
    first, second = Gateway(air, "first"), Gateway(air, "second")
    air.lose(lambda frame: frame.payload == b"a", at="first")
    air.corrupt(lambda frame: frame.sender == "node", 2, at="second")
    for n, payload in enumerate((b"a", b"a", b"b")):
        air.transmit("node", payload, SF7, 14.0, n * NS)
    finish(air)
    assert [u.payload for u in first.uplinks] == [b"a", b"b"]
    assert [u.payload for u in second.uplinks] == [b"b"]
    assert second.crc_errors == 2
    first.close()
    air.transmit("node", b"c", SF7, 14.0)
    finish(air)
    assert [u.payload for u in first.uplinks] == [b"a", b"b"]

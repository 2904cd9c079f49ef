"""The way back to a silent network: the ADR back-off."""

from lorawan_bench import joined, kind_of
from node.lorawan.actions import LorawanError


def silent_run(bench, count):
    """Send without an answer; return for each new uplink (ADRACKReq, SF, power, NbTrans, mask)."""
    rows = []
    for _ in range(count):
        sent = len(bench.sent)
        bench.send(1, b"x")
        session = bench.mac.session
        heard = bench.network.uplinks[-1]
        assert heard.adr
        rows.append(
            (heard.adr_ack_req, bench.sent[-1].sf, bench.sent[-1].power_dbm,
             len(bench.sent) - sent, session.mask)
        )  # fmt: skip
        bench.now += 3600000
    return rows


def test_adr_back_off_of_table_9():
    # TS001 section 4.3.1.1: DR1, maximum - 9 dBm (here -10), NbTrans 3, channels 3 to 7.
    bench = joined()
    session = bench.mac.session
    session.rate, session.power, session.nb_trans, session.mask = 1, 5, 3, 0xF8
    rows = silent_run(bench, 200)
    assert rows[0:64] == [(False, 11, 4, 3, 0xF8)] * 64
    assert rows[64:96] == [(True, 11, 4, 3, 0xF8)] * 32
    assert rows[96:128] == [(True, 11, 14, 3, 0xF8)] * 32
    assert rows[128:160] == [(True, 12, 14, 3, 0xF8)] * 32
    assert rows[160:] == [(True, 12, 14, 1, 0xFF)] * 40
    # A downlink ends the asking, not the parameters.
    bench.reply(lambda: bench.network.down())
    assert silent_run(bench, 65) == [(False, 12, 14, 1, 0xFF)] * 64 + [(True, 12, 14, 1, 0xFF)]


def test_adr_back_off_from_the_fastest_rate():
    bench = joined()
    rows = silent_run(bench, 352)
    assert [row[0] for row in rows] == [False] * 64 + [True] * 288
    assert [row[1] for row in rows] == (
        [7] * 128 + [8] * 32 + [9] * 32 + [10] * 32 + [11] * 32 + [12] * 96
    )
    assert bench.mac.lost
    # So lost, it may join at once; the old session is kept until then.
    bench.replies = [(1, lambda: bench.network.accept())]
    bench.do(bench.mac.join(bench.now))
    bench.finish()
    assert not bench.mac.lost
    bench.send(1, b"x")
    assert bench.heard[-1].fcnt == 0


def test_adr_back_off_goes_on_after_sleep_and_power_cuts():
    bench = joined()
    rows = []
    for turn in range(15):
        rows += silent_run(bench, 20)
        if turn % 2:
            bench.power_on(0, bench.mac.snapshot(bench.now))
        else:
            bench.power_on()
    # Power cuts count as uplinks, all that were reserved; never fewer than there were.
    assert rows[64][0]
    assert rows[288][1:] == (12, 14, 1, 0xFF)


def test_lost_only_after_the_back_off():
    bench = joined()
    silent_run(bench, 351)
    assert not bench.mac.lost
    assert kind_of(LorawanError, bench.mac.join, bench.now) == "rejoin"


def test_no_back_off_without_adr():
    bench = joined(adr=False)
    for _ in range(200):
        bench.send(1, b"x")
        heard = bench.heard[-1]
        assert (heard.adr, heard.adr_ack_req, bench.sent[-1].sf) == (False, False, 7)
        bench.now += 60000
    assert not bench.mac.lost


def test_the_rate_falls_under_a_payload():
    # The back-off of ADR makes payloads too long; that is said in time, and shorter ones go.
    bench = joined()
    sizes = []
    for _ in range(300):
        size = bench.mac.max_payload()
        sizes.append(size)
        assert bench.error(1, bytes(size + 1)) == ("size", size)
        bench.send(1, bytes(size))
        bench.now += 3600000
    assert [size for size in (242, 115, 51) if size in sizes] == [242, 115, 51]
    assert sizes == sorted(sizes, reverse=True)
    assert len(bench.network.frames) == 300

"""Data exchanges: windows, counters, repetitions, acknowledgements, sizes, misuse."""

from lorawan_bench import APP_KEY, DEV_EUI, JOIN_EUI, Bench, joined, kind_of, of
from lorawan_network import Network, mic
from node.lorawan.actions import Deliver, JoinFailed, LinkCheck, LorawanError, Save, Sent, Tx

SF_OF_RATE = (12, 11, 10, 9, 8, 7)


def shapes(windows):
    return [(rx.window, rx.freq_hz, rx.sf, rx.bw_khz) for rx in windows]


def test_windows_of_an_uplink():
    bench = Bench().join(settings=0x23, rx_delay=3)
    bench.send(1, b"x")
    first, second = bench.windows
    assert shapes(bench.windows) == [(1, bench.sent[0].hz, 9, 125), (2, 869525000, 9, 125)]
    assert 2960000 < first.delay_us <= 3000000
    assert 3950000 < second.delay_us <= 4000000


def test_no_second_window_after_a_frame_for_us():
    bench = joined()
    events = bench.reply(lambda: bench.network.down(7, b"hello"), 1, b"x")
    assert len(bench.windows) == 1
    assert events == [Deliver(7, b"hello", -90, 7), Sent(0, 1, True, None)]
    bench.replies = [(2, lambda: bench.network.down(8, b"world"))]
    events = bench.send(1, b"x")
    assert len(bench.windows) == 3
    assert events == [Deliver(8, b"world", -90, 7), Sent(1, 1, True, None)]


def damaged(frame, at, value):
    frame = bytearray(frame)
    frame[at] = value
    return bytes(frame)


def remade(network, change):
    """Return a downlink whose message `change` has had in hand before its MIC was made."""
    message = change(bytearray(network.down(3, b"payload", fcnt=0)[:-4]))
    return bytes(message) + mic(network.nwk, bytes(message), 1, network.dev_addr, 0)


def put(at, value, size=None):
    """Return a change: another byte, and no more than so many of them."""

    def change(message):
        message[at] = value
        return message[:size]

    return change


def other_address(network):
    frame = Network(DEV_EUI, JOIN_EUI, APP_KEY)
    frame.nwk, frame.app, frame.dev_addr = network.nwk, network.app, b"\1\2\3\4"
    return frame.down(1, b"x")


NOT_FOR_US = (
    lambda network: b"",
    lambda network: b"\x60",
    lambda network: bytes(11),
    lambda network: bytes(300),
    lambda network: damaged(network.down(1, b"x"), -1, 0),
    lambda network: damaged(network.down(1, b"x"), 8, 0),
    lambda network: damaged(network.down(1, b"x"), 5, 0x20),
    other_address,
    # Right MICs on what no downlink is: uplinks, join accepts, proprietary, another major version.
    lambda network: remade(network, put(0, 0x40)),
    lambda network: remade(network, put(0, 0x80)),
    lambda network: remade(network, put(0, 0x20)),
    lambda network: remade(network, put(0, 0xC0)),
    lambda network: remade(network, put(0, 0xE0)),
    lambda network: remade(network, put(0, 0x61)),
    # FOpts longer than the frame; commands in FOpts and on port 0 (TS001 section 4.3.1.6).
    lambda network: remade(network, put(5, 0x01, 8)),
    lambda network: remade(network, put(5, 0x09)),
    lambda network: network.down(0, b"\x06", b"\x06"),
    lambda network: network.down(0, b"", b"\x06"),
)


def test_frames_that_are_not_for_us_change_nothing():
    for make in NOT_FOR_US:
        bench = joined()
        bench.send(1, b"x")
        bench.windows = []
        bench.network.next_down = 0
        saves = bench.saves
        bench.replies = [(1, lambda bench=bench, make=make: make(bench.network))] * 2
        bench.replies[1] = (2, bench.replies[1][1])
        events = bench.send(1, b"y", True)
        assert [rx.window for rx in bench.windows] == [1, 2], make
        assert bench.replies == []
        assert events == [Sent(1, 1, False, False)], make
        assert bench.saves == saves
        session = bench.mac.session
        assert (session.fcnt_down, session.ack, session.adr_count) == (0, False, 2), make
        assert (bench.mac.urgent, bytes(session.answers)) == (False, b"")
        # And the counter is still there for a good one.
        assert bench.reply(lambda bench=bench: bench.network.down(fcnt=0))[0].heard


def test_reserved_bits_of_the_header_are_ignored():
    bench = joined()
    frame = remade(bench.network, put(0, 0x7C))
    assert of(Deliver, bench.reply(frame)) == [Deliver(3, b"payload", -90, 7)]


def test_downlinks_longer_than_their_rate_allows():
    # RX2 is at DR0: 51 bytes of payload without FOpts, RX1 at DR5: 242.
    for window, most in ((2, 51), (1, 242)):
        for options in (b"", b"\x09\x00" * 7):
            size = most - len(options)
            for extra in (0, 1):
                bench = joined()
                payload = bytes(size + extra)
                bench.replies = [
                    (window, lambda b=bench, p=payload, o=options: b.network.down(1, p, o))
                ]
                events = bench.send()
                assert events[-1].heard == (not extra), (window, options, extra)
                assert len(of(Deliver, events)) == 1 - extra


def test_ports():
    bench = joined()
    for port in (1, 223):
        assert of(Deliver, bench.reply(lambda p=port: bench.network.down(p, b"x")))[0].port == port
    # Reserved ports, and the laboratory's where it is off: the frame counts, nobody gets it.
    for port in (224, 225, 255):
        events = bench.reply(lambda p=port: bench.network.down(p, b"\0", ack=True))
        assert (len(events), events[0].heard) == (1, True)
    assert bench.reply(lambda: bench.network.down(1))[0].payload == b""
    for port in (0, -1, 224, 225, 256):
        assert bench.error(port, b"x") == ("port", None)
    assert bench.error(None, b"x") == ("port", None)
    bench.send(223, b"")
    assert (bench.heard[-1].port, bench.heard[-1].payload) == (223, b"")


def test_downlink_counters():
    bench = joined()
    kept = []

    def heard(fcnt):
        def make():
            frame = bench.network.down(1, b"x", fcnt=fcnt)
            kept.append(frame)
            return frame

        return bench.reply(make)[-1].heard

    def replayed(frame):
        return bench.reply(frame)[-1].heard

    assert heard(0)
    assert not replayed(kept[-1])
    # Gaps of any size that 16 bits can tell (TS001-1.0.4 has no MAX_FCNT_GAP any more).
    assert heard(1)
    assert heard(16386)
    assert heard(16386 + 40000)
    assert not replayed(kept[-1])
    assert heard(65535)
    assert heard(65536)
    assert not replayed(kept[-2])
    assert not heard(65536)
    assert not heard(3)
    assert heard(65537 + 65535)
    # One further, and the counter is taken for another.
    assert not heard(65537 + 65536 + 65536)
    assert bench.mac.session.fcnt_down == 131073
    bench.power_on()
    assert not replayed(kept[8])
    assert heard(131073)


def test_the_last_counters():
    bench = joined()
    bench.mac.session.fcnt_down = 0xFFFFFFFF
    assert bench.reply(lambda: bench.network.down(fcnt=0xFFFFFFFF))[0].heard
    assert bench.mac.lost
    assert not bench.reply(lambda: bench.network.down(fcnt=5))[0].heard
    bench.power_on()
    assert bench.mac.session.fcnt_down == 0x100000000
    bench = joined()
    bench.mac.session.fcnt_up = bench.mac.session.fcnt_limit = 0xFFFFFFFF
    bench.network.last_up = 0xFFFFFFFE
    bench.send(1, b"last")
    assert bench.heard[-1].payload == b"last"
    assert bench.error(1, b"more") == ("counter", None)
    assert bench.mac.lost
    bench.join()
    bench.send(1, b"again")
    assert bench.heard[-1].fcnt == 0


def test_counters_are_reserved_in_blocks():
    bench = joined()
    for _ in range(100):
        bench.send(1, b"x")
    assert bench.saves == 1 + 1 + 4  # the request, the accept, 0 to 31, 32 to 63, …
    assert sorted(bench.network.frames) == list(range(100))
    # The 33rd is not sent before it is reserved.
    bench = joined()
    for _ in range(32):
        bench.send(1, b"x")
    actions = bench.mac.send(bench.now, 1, b"x")
    assert [type(action) for action in actions] == [Save, Tx]


def test_repetitions():
    bench = joined()
    bench.mac.session.nb_trans = 3
    assert bench.send(1, b"x") == [Sent(0, 3, False, None)]
    assert [of_phy.phy for of_phy in bench.sent] == [bench.sent[0].phy] * 3
    assert len({sending.hz for sending in bench.sent}) == 3
    assert len(bench.windows) == 6
    for i in (1, 2):
        # After RX2 is over.
        assert bench.sent[i].at_ms >= bench.sent[i - 1].at_ms + 2000
    # A downlink ends them.
    bench.sent = []
    bench.replies = [(2, lambda: bench.network.down())]
    bench.windows = []
    assert bench.send(1, b"y") == [Sent(1, 1, True, None)]
    bench.replies = [(1, bytes(20)), (2, bytes(20)), (1, lambda: bench.network.down())]
    assert bench.send(1, b"z") == [Sent(2, 2, True, None)]


def test_confirmed_uplinks():
    bench = joined()
    assert bench.reply(lambda: bench.network.down(ack=True), 1, b"x", True) == [
        Sent(0, 1, True, True)
    ]
    assert bench.heard[-1].confirmed
    assert bench.send(1, b"x", True) == [Sent(1, 1, False, False)]
    # A downlink that does not acknowledge ends it as well, but is no acknowledgement.
    bench.mac.session.nb_trans = 4
    assert bench.reply(lambda: bench.network.down(), 1, b"x", True) == [Sent(2, 1, True, False)]
    # An acknowledgement of what was not to be acknowledged is none.
    assert bench.reply(lambda: bench.network.down(ack=True), 1, b"x") == [Sent(3, 1, True, None)]
    assert not bench.heard[-1].confirmed
    sent = len(bench.sent)
    ack = [
        (1, bytes(20)),
        (2, bytes(20)),
        (1, bytes(20)),
        (2, lambda: bench.network.down(ack=True)),
    ]
    bench.replies = ack
    assert bench.send(1, b"x", True) == [Sent(4, 2, True, True)]
    assert bench.send(1, b"y", True) == [Sent(5, 4, False, False)]
    assert len(bench.sent) == sent + 6


def test_retransmit_timeout():
    gaps = []
    for seed in range(40):
        bench = joined(seed)
        bench.mac.session.nb_trans = 2
        bench.send(1, b"x", True)
        bench.send(1, b"new")
        for before, after in ((0, 1), (1, 2)):
            end = bench.sent[before].at_ms + bench.sent[before].airtime_us // 1000
            # From RECEIVE_DELAY2 on, 1 to 3 s (RP002 section 3.3).
            gaps.append(bench.sent[after].at_ms - end - 2000)
        # After that it is not in the way of unconfirmed ones.
        bench.mac.session.nb_trans = 1
        bench.send(1, b"new")
        bench.send(1, b"new")
        assert bench.sent[-1].at_ms - bench.sent[-2].at_ms < 3000
    assert min(gaps) >= 999
    assert max(gaps) <= 3010
    assert max(gaps) - min(gaps) > 1500
    # Without the acknowledgement that was asked for, also after another downlink.
    bench = joined()
    slower = b"\x08\x0f"  # counts for the next windows, not for this timeout
    bench.reply(lambda: bench.network.commands(slower), 1, b"x", True)
    bench.send(1, b"new")
    assert 3000 <= bench.sent[-1].at_ms - bench.sent[-2].at_ms <= 5200
    bench.reply(lambda: bench.network.down(ack=True), 1, b"x", True)
    at = bench.now
    bench.send(1, b"new")
    assert bench.sent[-1].at_ms == at


def test_confirmed_downlinks():
    bench = joined()
    bench.mac.session.nb_trans = 2
    bench.reply(lambda: bench.network.down(1, b"x", confirmed=True))
    assert bench.mac.urgent
    bench.send()
    assert bench.network.uplinks[-1].ack
    assert bench.sent[-1].phy == bench.sent[-2].phy
    assert not bench.mac.urgent
    bench.send()
    assert not bench.network.uplinks[-1].ack
    # Through a power cut and through sleep.
    bench.reply(lambda: bench.network.down(1, b"x", confirmed=True))
    bench.power_on()
    assert bench.mac.urgent
    bench.power_on(0, bench.mac.snapshot(bench.now))
    bench.send()
    assert bench.network.uplinks[-1].ack
    # One that comes while another is acknowledged.
    for _ in range(3):
        bench.reply(lambda: bench.network.down(confirmed=True))
    bench.send()
    assert bench.network.uplinks[-1].ack


def test_pending_frames():
    bench = joined()
    bench.reply(lambda: bench.network.down(1, b"1", pending=True))
    assert bench.mac.urgent
    bench.reply(lambda: bench.network.down(1, b"2"))
    assert not bench.mac.urgent
    bench.reply(lambda: bench.network.commands(b"\x06"))
    assert bench.mac.urgent


def test_payloads_too_long_for_the_rate():
    for repeater, table in (
        (False, (51, 51, 51, 115, 242, 242)),
        (True, (51, 51, 51, 115, 222, 222)),
    ):
        for rate in range(6):
            bench = joined(repeater=repeater)
            bench.mac.session.rate = rate
            assert bench.mac.max_payload() == table[rate]
            assert bench.error(1, bytes(table[rate] + 1)) == ("size", table[rate])
            bench.mac.check_link()
            assert bench.error(1, bytes(table[rate])) == ("size", table[rate] - 1)
            # Nothing was spent.
            session = bench.mac.session
            assert (session.fcnt_up, session.adr_count, bench.mac.busy) == (0, 0, False)
            bench.send(1, bytes(table[rate] - 1))
            assert bench.sent[-1].sf == SF_OF_RATE[rate]
            assert bench.heard[-1].options == b"\x02"
            assert len(bench.heard[-1].payload) == table[rate] - 1


def test_calls_out_of_order():
    bench = Bench()
    mac = bench.mac
    assert not mac.joined
    assert not mac.lost
    for call in (mac.max_payload, lambda: mac.airtime_us(1), lambda: mac.send(0, 1, b"x")):
        assert kind_of(LorawanError, call) == "session"
    for call in (mac.done, mac.failed, mac.missed):
        assert kind_of(LorawanError, call, 0) == "event"
    assert kind_of(LorawanError, mac.received, 0, b"x", 0, 0) == "event"
    assert bench.do(mac.tick(0)) == []
    assert bench.do(mac.cancel(0)) == []
    bench = joined()
    mac = bench.mac
    actions = mac.send(bench.now, 1, b"x")
    assert mac.tick(bench.now) == []
    for call in (lambda: mac.send(bench.now, 1, b"x"), lambda: mac.join(bench.now, True)):
        assert kind_of(LorawanError, call) == "busy"
    assert kind_of(LorawanError, mac.snapshot, bench.now) == "busy"
    assert kind_of(LorawanError, mac.restore, bench.flash) == "busy"
    for call in (mac.cancel, mac.missed):
        assert kind_of(LorawanError, call, bench.now) == "event"
    bench.do(actions)
    assert len(bench.sent) == 1
    assert kind_of(LorawanError, mac.use_rate, 2) == "rate"
    assert mac.rate == 5


def test_a_radio_that_fails():
    bench = joined()
    bench.reply(lambda: bench.network.down(options=b"\x06", confirmed=True))
    bench.mac.check_link()
    for _ in range(3):
        bench.mac.send(bench.now, 1, b"x")
        events = bench.do(bench.mac.failed(bench.now))
        assert [(event.transmissions, event.heard) for event in events] == [(0, False)]
        assert bench.mac.urgent
    # What should have been said is said later; no counter is used for two frames.
    bench.send(1, b"x")
    heard = bench.heard[-1]
    assert (heard.fcnt, heard.ack, heard.options) == (4, True, bytes.fromhex("06ff0702"))
    assert of(LinkCheck, bench.reply(lambda: bench.network.commands(b"\x02\x14\x03"))) == []
    bench.mac.session.nb_trans = 3
    bench.do(bench.mac.send(bench.now, 1, b"y"))
    bench.now = bench.wake
    bench.mac.tick(bench.now)
    assert bench.do(bench.mac.failed(bench.now)) == [Sent(6, 1, False, None)]
    # A join goes on, with the next nonce.
    bench = Bench()
    bench.mac.join(0)
    bench.mac.tick(30000)
    assert bench.do(bench.mac.failed(30000)) == [JoinFailed("unheard")]
    bench.replies = [(1, lambda: bench.network.accept())]
    bench.finish()
    assert bench.network.nonces == [1]


def test_storage_that_fails_reserves_nothing():
    bench = joined()
    actions = bench.mac.send(bench.now, 1, b"x")
    assert isinstance(actions[0], Save)
    bench.mac.failed(bench.now)
    # It was not stored, so it is asked for again, until it is.
    for _ in range(3):
        actions = bench.mac.send(bench.now, 1, b"x")
        assert isinstance(actions[0], Save)
        bench.mac.failed(bench.now)
    bench.send(1, b"x")
    bench.power_on()
    bench.send(1, b"x")
    assert sorted(bench.network.frames) == [4, 36]


def test_an_exchange_that_waits_can_be_given_up():
    bench = joined()
    bench.mac.session.nb_trans = 3
    bench.mac.check_link()
    bench.do(bench.mac.send(bench.now, 1, b"x", True))
    assert bench.mac.busy
    assert bench.do(bench.mac.cancel(bench.now)) == [Sent(0, 1, False, False)]
    assert not bench.mac.busy
    bench.mac.snapshot(bench.now)
    # The link check was asked, with the frame that was on the air.
    bench.send(1, b"y")
    assert bench.network.uplinks[-1].options == b""
    assert sorted(bench.network.frames) == [0, 1]

"""Every MAC command, valid and invalid, through frames: what is answered and what it changes."""

from lorawan_bench import Bench, joined, of
from lorawan_network import cflist, frequency
from node.lorawan.actions import ClockSync, Deliver, LinkCheck


def un(text):
    return bytes.fromhex(text.replace(" ", ""))


def state(bench):
    """Return what commands can change, as a dictionary."""
    session = bench.mac.session
    return {
        "rate": session.rate,
        "power": session.power,
        "nb": session.nb_trans,
        "mask": session.mask,
        "duty": session.max_duty,
        "rx1": session.rx1_offset,
        "rx2": session.rx2_rate,
        "rx2_hz": session.rx2_hz,
        "delay": session.rx_delay_s,
        "up": tuple(session.up_hz),
        "down": tuple(session.down_hz),
        "rates": bytes(session.channel_rates),
    }


def changes(before, after):
    return {name: value for name, value in after.items() if before[name] != value}


def ask(bench, commands):
    """Send commands to the node; return its next uplink's and what has changed by them."""
    before = state(bench)
    bench.reply(lambda: bench.network.commands(commands))
    after = state(bench)
    bench.send()
    heard = bench.network.uplinks[-1]
    return (heard.payload if heard.port == 0 else heard.options), changes(before, after)


# (commands, answers, what has changed) for a node on DR5, TXPower 0, channels 0 to 7.
LINK_ADR = (
    ("03 52 ff00 01", "0307", {"power": 2}),
    ("03 07 0700 03", "0307", {"rate": 0, "power": 7, "mask": 7, "nb": 3}),
    ("03 ff 0100 00", "0307", {"mask": 1}),
    ("03 5f ff00 0f", "0307", {"nb": 15}),
    ("03 f1 ff00 00", "0307", {"power": 1}),
    # ChMaskCntl 6: all that are defined, whatever the mask.
    ("03 51 0000 61", "0307", {"power": 1}),
    ("03 51 ffff 61", "0307", {"power": 1}),
    # RFU bit 7 is ignored.
    ("03 51 ff00 81", "0307", {"power": 1}),
    # A rate that is FSK, or RFU; TXPower that is RFU.
    ("03 71 ff00 01", "0305", {}),
    ("03 81 ff00 01", "0305", {}),
    ("03 e1 ff00 01", "0305", {}),
    # DR6 is known, but no channel has it.
    ("03 61 ff00 01", "0305", {}),
    ("03 58 ff00 01", "0303", {}),
    ("03 5e ff00 01", "0303", {}),
    ("03 78 ff00 01", "0301", {}),
    # No channel, undefined channels, RFU controls.
    ("03 51 0000 01", "0306", {}),
    ("03 51 0001 01", "0306", {}),
    ("03 51 ff80 01", "0306", {}),
    ("03 51 ff00 11", "0306", {}),
    ("03 51 ff00 51", "0306", {}),
    ("03 51 ff00 71", "0306", {}),
    ("03 78 0000 01", "0300", {}),
    # Blocks: masks one after the other, the rest from the last, all or nothing, one status.
    ("03 01 0100 05  03 52 f000 02", "0307 0307", {"power": 2, "mask": 0xF0, "nb": 2}),
    ("03 71 0000 05  03 52 f000 02", "0307 0307", {"power": 2, "mask": 0xF0, "nb": 2}),
    ("03 51 0001 01  03 52 f000 02", "0306 0306", {}),
    ("03 51 f000 01  03 52 0000 02", "0306 0306", {}),
    ("03 51 f000 01  03 72 f000 02  03 51 0f00 61", "0307 0307 0307", {"power": 1}),
    ("03 51 f000 01  03 58 f000 02", "0303 0303", {}),
    # Another command between makes two blocks.
    ("03 52 f000 02  06  03 58 0f00 01", "0307 06ff07 0303", {"power": 2, "mask": 0xF0, "nb": 2}),
)


def test_link_adr():
    for commands, answers, changed in LINK_ADR:
        assert ask(joined(), un(commands)) == (un(answers), changed), commands


def test_link_adr_that_is_worth_trying():
    bench = joined()
    ask(bench, un("03 05 0100 02"))
    assert bench.sent[-1].sf == 12
    assert bench.sent[-1].power_dbm == 4
    assert bench.sent[-1].hz == 868100000


def test_link_adr_beyond_what_the_radio_can():
    weak = joined(min_power_dbm=2)
    assert ask(weak, un("03 57 ff00 01")) == (un("0303"), {})
    assert ask(weak, un("03 56 ff00 01")) == (un("0307"), {"power": 6})
    assert weak.sent[-1].power_dbm == 2


def test_link_adr_with_adr_off():
    # TS001 section 4.3.1.1: the channels are the network's, the rest the device's own.
    for commands, answers, changed in (
        ("03 03 0700 03", "0301", {"mask": 7}),
        ("03 51 0001 01", "0300", {}),
        ("03 51 ff00 61  03 03 f000 02", "0301 0301", {"mask": 0xF0}),
    ):
        bench = joined(adr=False)
        assert ask(bench, un(commands)) == (un(answers), changed), commands
        assert not bench.heard[-1].adr
    bench.mac.use_rate(2)
    bench.send(1, b"slow")
    assert bench.sent[-1].sf == 10


def test_link_adr_must_leave_a_channel_for_the_rate():
    bench = joined()
    slow = b"\x07\x08" + frequency(867300000) + b"\x21"
    assert ask(bench, slow)[0] == un("0703")
    assert ask(bench, un("03 51 0001 01")) == (un("0305"), {})
    assert ask(bench, un("03 21 0001 01")) == (un("0307"), {"rate": 2, "power": 1, "mask": 0x100})
    assert ask(bench, un("03 f2 0001 01")) == (un("0307"), {"power": 2})
    assert ask(bench, un("03 01 0001 01")) == (un("0305"), {})


RX2 = "d2ad84"  # 869.525 MHz
OTHER = (
    # DutyCycleReq
    ("04 07", "04", {"duty": 7}),
    ("04 ff", "04", {"duty": 15}),
    ("04 00", "04", {}),
    # RXParamSetupReq: RX1DROffset and RX2DataRate, frequency.
    ("05 13" + RX2, "0507", {"rx1": 1, "rx2": 3}),
    ("05 50 18 58 84", "0507", {"rx1": 5, "rx2_hz": 867330400}),
    ("05 d0" + RX2, "0507", {"rx1": 5}),
    ("05 60" + RX2, "0503", {}),
    ("05 07" + RX2, "0505", {}),
    ("05 0f" + RX2, "0505", {}),
    ("05 00 000000", "0506", {}),
    ("05 00 ffffff", "0506", {}),
    ("05 13 189083", "0506", {}),
    ("05 77 000000", "0500", {}),
    # DevStatusReq
    ("06", "06ff07", {}),
    ("06 06", "06ff07 06ff07", {}),
    # RXTimingSetupReq
    ("08 05", "08", {"delay": 5}),
    ("08 ff", "08", {"delay": 15}),
    ("08 00", "08", {}),
    # TXParamSetupReq: not in this region; what follows is read.
    ("09 3f", "", {}),
    ("09 3f 06", "06ff07", {}),
    # Answers nobody asked for.
    ("02 1403 06", "06ff07", {}),
    ("0d 3039284d80 06", "06ff07", {}),
    # Unknown, or of other versions: the end.
    ("06 01 06", "06ff07", {}),
    ("06 0b 06", "06ff07", {}),
    ("06 0c 06", "06ff07", {}),
    ("06 0e 06", "06ff07", {}),
    ("06 10 06", "06ff07", {}),
    ("80 06", "", {}),
    # Not whole.
    ("06 03 51ff00", "06ff07", {}),
    ("06 03 51ff0001 03 51ff", "06ff07 0307", {"power": 1}),
    ("06 05 00", "06ff07", {}),
    ("06 07 03", "06ff07", {}),
    ("06 08", "06ff07", {}),
    ("06 0a 00", "06ff07", {}),
    ("06 0d 00000000", "06ff07", {}),
    ("03", "", {}),
)


def test_other_commands():
    for commands, answers, changed in OTHER:
        assert ask(joined(), un(commands)) == (un(answers), changed), commands


def test_new_channel():
    base = state(joined())
    for index, hz, rates, answer, defined in (
        (8, 868800000, 0x50, "0703", True),
        (15, 869525000, 0x60, "0703", True),
        (3, 865100000, 0x33, "0703", True),
        (8, 868800000, 0x05, "0701", False),  # MinDR > MaxDR
        (8, 868800000, 0x70, "0701", False),  # FSK
        (8, 868800000, 0xF0, "0701", False),
        (8, 862000000, 0x50, "0702", False),
        (8, 870000000, 0x50, "0702", False),
        (8, 868650000, 0x50, "0702", False),  # between the sub-bands
        (8, 50000000, 0x50, "0702", False),
        (8, 862000000, 0x05, "0700", False),
        (0, 868800000, 0x50, "0700", False),  # default channels are not to be changed
        (2, 0, 0x50, "0700", False),
        (16, 868800000, 0x50, "0700", False),
        (255, 868800000, 0x50, "0700", False),
    ):
        commands = bytes((7, index)) + frequency(hz) + bytes((rates,))
        answers, changed = ask(joined(), commands)
        assert answers == un(answer), (index, hz, rates)
        want = {}
        if defined:
            up, down = list(base["up"]), list(base["down"])
            up[index] = down[index] = hz
            want = {"up": tuple(up), "down": tuple(down)}
            if rates != base["rates"][index]:
                all_rates = bytearray(base["rates"])
                all_rates[index] = rates
                want["rates"] = bytes(all_rates)
            if not base["mask"] >> index & 1:
                want["mask"] = base["mask"] | 1 << index
        assert changed == want, (index, hz, rates)


def test_new_channel_removes_a_channel():
    bench = joined()
    answers, changed = ask(bench, un("07 05 000000 50"))
    assert answers == un("0703")
    assert changed["mask"] == 0xDF
    assert bench.mac.session.up_hz[5] == 0
    # Without any other, the default channels come back.
    assert ask(bench, un("03 51 4000 01"))[0] == un("0307")
    answers, changed = ask(bench, un("07 06 000000 00"))
    assert answers == un("0703")
    assert changed["mask"] == 7


def test_dl_channel():
    for index, hz, answer in (
        (0, 869525000, "0a03"),
        (7, 863100000, "0a03"),
        (0, 862000000, "0a02"),
        (8, 869525000, "0a01"),
        (15, 1600000000, "0a00"),
        (200, 869525000, "0a01"),
    ):
        bench = joined()
        answers, changed = ask(bench, bytes((10, index)) + frequency(hz))
        assert answers == un(answer), (index, hz)
        assert set(changed) == ({"down"} if answer == "0a03" else set())
        if answer == "0a03":
            assert bench.mac.session.down_hz[index] == hz
            bench.mac.session.mask = 1 << index
            bench.send()
            assert bench.windows[-2].freq_hz == hz


def test_device_status():
    for battery, snr, answer in (
        (0, 5, "060005"), (254, -32, "06fe20"), (255, -1, "06ff3f"), (1, 40, "06011f"),
        (1, -40, "060120"),
    ):  # fmt: skip
        bench = joined()
        bench.mac.commands.battery = battery
        bench.snr = snr
        assert ask(bench, b"\x06")[0] == un(answer), (battery, snr)


def test_link_check():
    bench = joined()
    bench.mac.check_link()
    bench.mac.check_link()
    events = bench.reply(lambda: bench.network.commands(un("02 1403")), 1, b"x")
    assert bench.heard[-1].options == b"\x02"
    assert of(LinkCheck, events) == [LinkCheck(20, 3)]
    # It is asked once; an answer to the next uplink is nobody's.
    events = bench.reply(lambda: bench.network.commands(un("02 1403")), 1, b"x")
    assert bench.heard[-1].options == b""
    assert of(LinkCheck, events) == []
    bench.mac.check_link()
    bench.send(1, b"unheard")
    assert of(LinkCheck, bench.reply(lambda: bench.network.commands(un("02 1403")))) == []


def test_device_time():
    bench = joined()
    bench.mac.ask_time()
    bench.mac.check_link()
    answer = un("0d b0ade843 80")  # 1139322288 s: 12 February 2016, 14:24:31 UTC, TS001 section 5.9
    events = bench.reply(lambda: bench.network.commands(answer), 1, b"x")
    assert bench.heard[-1].options == b"\x0d\x02"
    end_ms = (bench.end_us + 999) // 1000
    assert of(ClockSync, events) == [ClockSync(1139322288, 128, end_ms)]


STICKY = (
    (un("05 00" + RX2), un("0507")),
    (un("05 00 000000"), un("0506")),
    (un("08 01"), un("08")),
    (un("0a 00" + RX2), un("0a03")),
)


def test_sticky_answers_repeat_until_a_downlink():
    for request, answer in STICKY:
        bench = joined()
        bench.reply(lambda bench=bench, request=request: bench.network.commands(request + b"\x06"))
        bench.send(1, b"first")
        assert bench.heard[-1].options == answer + un("06ff07")
        for _ in range(3):
            bench.send(1, b"again")
            assert bench.heard[-1].options == answer
        # A frame that is not for us does not count.
        bench.replies = [(1, bytes(20))]
        bench.send()
        assert bench.heard[-1].options == answer
        bench.reply(bench.network.down)
        assert bench.heard[-1].options == answer
        bench.send()
        assert bench.heard[-1].options == b""


def test_answers_are_not_sticky_otherwise():
    for request in ("03 51ff0001", "04 00", "06", "07 08 c09084 50"):
        bench = joined()
        assert ask(bench, un(request))[0]
        bench.send()
        assert bench.heard[-1].options == b""


def test_repetitions_carry_the_same_answers():
    bench = joined()
    ask(bench, un("03 51 ff00 03"))
    assert [sending.phy for sending in bench.sent[-3:]] == [bench.sent[-1].phy] * 3
    assert bench.heard[-1] == "repeated"


def test_answers_in_a_frame_of_their_own():
    bench = joined()
    bench.reply(lambda: bench.network.commands(b"\x06" * 5))
    assert bench.mac.urgent
    assert bench.mac.max_payload() == 242 - 15
    assert bench.error(1, bytes(228)) == ("size", 227)
    bench.send(1, bytes(227))
    assert bench.heard[-1].options == un("06ff07") * 5
    # One more, and there is no room for a payload: the network's answers come first.
    bench.reply(lambda: bench.network.commands(b"\x06" * 6))
    assert bench.mac.max_payload() == 0
    assert bench.error(1, b"x") == ("size", 0)
    assert bench.error(1, b"") == ("size", 0)
    bench.send()
    assert (bench.heard[-1].port, bench.heard[-1].options) == (0, b"")
    assert bench.heard[-1].payload == un("06ff07") * 6
    assert bench.mac.max_payload() == 242
    # New requests come after answers, and before the application as well.
    bench.reply(lambda: bench.network.commands(b"\x06" * 5))
    bench.mac.check_link()
    assert bench.mac.max_payload() == 0
    bench.send()
    assert bench.heard[-1].payload == un("06ff07") * 5 + b"\x02"


def test_sticky_answers_in_a_frame_of_their_own():
    bench = joined()
    bench.reply(lambda: bench.network.commands(b"\x06" * 5 + un("08 01")))
    bench.send()
    assert bench.heard[-1].payload == un("06ff07") * 5 + b"\x08"
    bench.send(1, b"x")
    assert (bench.heard[-1].port, bench.heard[-1].options) == (1, b"\x08")


def test_too_many_answers_are_cut_at_the_end_of_one():
    for rate, count in ((5, 80), (0, 17)):
        bench = joined()
        bench.mac.session.rate = rate
        commands = b"\x06" * 200 + un("08 07")
        bench.replies = [
            (1, lambda bench=bench, commands=commands: bench.network.commands(commands))
        ]
        bench.mac.session.rate = 5
        bench.send()
        bench.mac.session.rate = rate
        bench.send()
        assert bench.heard[-1].payload == un("06ff07") * count
        # All of them were obeyed.
        assert bench.mac.session.rx_delay_s == 7
        # And the next ones are answered again.
        bench.mac.session.rate = 5
        assert ask(bench, b"\x06")[0] == un("06ff07")


def test_many_link_adr_in_one_frame():
    bench = joined()
    answers, changed = ask(bench, un("03 51 ff00 01") * 47 + un("03 43 0700 04"))
    assert answers == un("0307") * 48
    assert changed == {"rate": 4, "power": 3, "mask": 7, "nb": 4}


def test_commands_beside_a_payload():
    bench = joined()
    events = bench.reply(lambda: bench.network.down(5, b"data", un("06 08 03")))
    assert of(Deliver, events) == [Deliver(5, b"data", -90, 7)]
    bench.send(1, b"x")
    assert bench.heard[-1].options == un("06ff07 08")
    assert bench.mac.session.rx_delay_s == 3


def test_join_accept_as_commands():
    bench = Bench().join(
        settings=0x23, rx_delay=0x2F, cflist=cflist(867100000, 0, 862000000, 869525000, 868800000)
    )
    session = bench.mac.session
    assert (session.rx1_offset, session.rx2_rate, session.rx_delay_s) == (2, 3, 15)
    assert session.up_hz[3:8] == [867100000, 0, 0, 869525000, 868800000]
    assert session.mask == 0b11001111
    # Not a list of frequencies, or values that are RFU: the defaults stay.
    bench = Bench().join(settings=0x67, rx_delay=0, cflist=cflist(867100000)[:15] + b"\x01")
    session = bench.mac.session
    assert (session.rx1_offset, session.rx2_rate, session.rx_delay_s) == (0, 0, 1)
    assert session.mask == 7

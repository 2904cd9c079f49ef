"""The firmware's radio drivers on MicroPython, against the chips over the air."""

import math

import pytest
from citynode.boards import board_ids, load_board
from citynode.virtual.air import Modulation
from citynode.virtual.chips.sx1262 import SX1262
from citynode.virtual.chips.sx1276 import SX1276
from radio_bench import BOARDS, MS, NS, US, RadioBench

HZ = 868_100_000
FULL = bytes(range(242))

pytestmark = pytest.mark.parametrize("chip", BOARDS)


def show(error_ns):
    return f"{error_ns / US:.0f} µs"


# -- sending -------------------------------------------------------------------------------------

SENT = [
    # payload, Hz, SF, kHz, dBm asked for, dBm on the air by chip
    (b"\x01", 868_100_000, 7, 125, 14, (14, 14)),
    (bytes(64), 868_300_000, 8, 125, 2, (2, 2)),
    (b"city" * 6, 868_500_000, 9, 125, 17, (17, 17)),
    (b"city" * 6, 867_100_000, 10, 125, -20, (2, -9)),
    (b"city" * 6, 863_000_000, 11, 125, 30, (20, 22)),
    (bytes(23), 869_525_000, 12, 125, 14, (14, 14)),
    (FULL, 868_300_000, 7, 250, 14, (14, 14)),
    (bytes(255), 870_000_000, 7, 500, 14, (14, 14)),
]


def test_what_is_sent_is_on_the_air_exactly(chip):
    with RadioBench(chip) as bench:
        uplinks = []
        bench.gateway.on_uplink = uplinks.append
        lines = ["radio = make()"]
        for payload, hz, sf, khz, dbm, _ in SENT:
            call = f"radio.transmit({payload!r}, {hz}, {sf}, {khz}, {dbm})"
            lines.append(f"tell(run({call}))")
            lines.append("radio.sleep()" if sf % 2 else "")
        ends = [end for (end,) in bench.run("\n".join(lines))]
        assert len(uplinks) == len(SENT)
        for uplink, end, (payload, hz, sf, khz, _, dbm) in zip(uplinks, ends, SENT, strict=True):
            sent = uplink.frame.modulation
            assert uplink.payload == payload
            assert abs(sent.freq_hz - hz) <= 61
            assert sent == Modulation(sent.freq_hz, sf, khz * 1000, ldro=sf >= 11)
            assert uplink.end_ns - uplink.start_ns == sent.airtime_ns(len(payload))
            assert uplink.frame.power_dbm == dbm[chip == "sx1262"]
            assert uplink.frame.impairment_db == 0
            late = bench.ns(end) - uplink.end_ns
            assert -20 * US <= late <= 200 * US, show(late)


@pytest.mark.parametrize(
    ("first_tick", "rate", "extra_ms", "within_us"),
    [
        ((1 << 30) - 700_000, "1", 0, 200),  # ticks wrap while it sends
        (0, "1", 300, 200),  # other tasks keep the radio's from running
        (0, "1.02", 0, 2_500),  # a clock that is 2 % fast or slow
        (0, "0.98", 0, 2_500),
    ],
)
def test_the_end_of_sending_is_known_on_bad_days(chip, first_tick, rate, extra_ms, within_us):
    with RadioBench(chip, first_tick) as bench:
        script = """
class Bad(Clock):
    def ticks_us(self):
        return int(call("sim.us") * RATE) + self.first & 0x3FFFFFFF
    async def sleep_ms(self, ms):
        call("sim.sleep", int((ms + (EXTRA if ms > 1 else 0)) * 1000 / RATE))
clock = Bad()
radio = make()
end = run(radio.transmit(b"twenty-three bytes here", 868100000, 12, 125, 14))
tell(end, clock.ticks_us())
"""
        ((end, now),) = bench.run(script.replace("RATE", rate).replace("EXTRA", str(extra_ms)))
        uplink = bench.gateway.uplinks[0]
        ago_us = (now - end & 0x3FFFFFFF) / float(rate)
        late = bench.sim.now_ns() - ago_us * US - uplink.end_ns
        assert abs(late) <= within_us * US, show(late)


def test_a_sender_that_is_cancelled_leaves_the_air(chip):
    with RadioBench(chip) as bench:
        bench.run("""
class Waiting(Clock):
    async def sleep_ms(self, ms):
        call("sim.sleep", 30000)
        await self
    def __await__(self):
        yield
    __iter__ = __await__
clock = Waiting()
radio = make()
coroutine = radio.transmit(bytes(50), 868100000, 9, 125, 14)
coroutine.send(None)
coroutine.close()
""")
        kinds = [event.kind for event in bench.events]
        assert kinds == ["sent", "cut"]
        assert not bench.gateway.uplinks


# -- receiving -----------------------------------------------------------------------------------

DOWNLINK = {"freq_hz": HZ, "sf": 9}
T = Modulation(HZ, 9).symbol_ns
# Name, payload, what of the downlink is different, when the window opens before it, whether heard.
HEARD = [
    ("on time", b"reply", {}, 0, True),
    ("all 242 bytes", FULL, {"sf": 7}, MS, True),
    ("with a CRC", b"reply", {"crc": True}, 0, True),
    ("other coding rate", b"reply", {"cr": 4}, 0, True),
    ("within 25 % of the bandwidth", b"reply", {"freq_hz": HZ + 30_000}, 0, True),
    ("seven symbols early", b"reply", {}, 7 * T, True),
    ("just not three symbols late", b"reply", {}, -2.8 * T, True),
    ("three symbols and a bit late", b"reply", {}, -3.3 * T, False),
    ("too early to reach it", b"reply", {}, 8 * T, False),
    ("other spreading factor", b"reply", {"sf": 8}, 0, False),
    ("other bandwidth", b"reply", {"bw_hz": 250_000}, 0, False),
    ("an uplink's IQ", b"reply", {"iq_inverted": False}, 0, False),
    ("other channel", b"reply", {"freq_hz": HZ + 200_000}, 0, False),
    ("off by more than 25 %", b"reply", {"freq_hz": HZ + 33_000}, 0, False),
    ("other network", b"reply", {"sync_word": 0x12}, 0, False),
    ("without header", b"reply", {"implicit": True}, 0, False),
    ("spoilt", b"reply", {"crc": True, "spoil": True}, 0, False),
    ("too weak", b"reply", {"power_dbm": -30.0}, 0, False),
    ("nothing", None, {}, 0, False),
    ("after all that", b"reply", {}, 0, True),
]
RECEIVE = """
radio = make()
for i in range(%d):
    if i %% 3 == 0:
        radio.sleep()
    sf, open_at = call("hook", i)
    got = run(radio.receive(open_at, 868100000, sf, 125, 12))
    tell(*(got or ()))
"""


def test_what_is_received_and_what_is_not(chip):
    with RadioBench(chip) as bench:

        def arrange(i):
            _, payload, change, early_ns, _ = HEARD[i]
            change = dict(change)
            start = bench.sim.now_ns() + 200 * MS
            if change.pop("spoil", False):
                bench.air.corrupt(lambda frame: True)
            if payload is not None:
                bench.gateway.send(payload, at_ns=start, **(DOWNLINK | change))
            sf = 7 if change.get("sf") == 7 else 9
            return [sf, bench.ticks(start - round(early_ns))]

        bench.hook(arrange)
        answers = bench.run(RECEIVE % len(HEARD))
        got = {case[0]: answer for case, answer in zip(HEARD, answers, strict=True)}
        wanted = {name: heard for name, _, _, _, heard in HEARD}
        assert {name: bool(answer) for name, answer in got.items()} == wanted
        for name, payload, _, _, heard in HEARD:
            if heard:
                data, rssi, snr = got[name]
                assert bytes.fromhex(data) == payload
                assert rssi == pytest.approx(14 - 105.75, abs=1)
                assert snr == 12


@pytest.mark.parametrize(
    ("dbm", "khz"), [(-60, 125), (-100, 125), (-115, 125), (-120, 125), (-120, 250), (-121, 500)]
)
def test_strength_and_ratio_are_told_as_they_are(chip, dbm, khz):
    with RadioBench(chip) as bench:
        bench.air.links.attenuate("gateway", "node", 0.0)

        def arrange():
            start = bench.sim.now_ns() + 200 * MS
            bench.gateway.send(b"x", at_ns=start, power_dbm=dbm, bw_hz=khz * 1000, **DOWNLINK)
            return bench.ticks(start)

        bench.hook(arrange)
        ((_, rssi, snr),) = bench.run(f"""
radio = make()
tell(*run(radio.receive(call("hook"), 868100000, 9, {khz}, 12)))
""")
        figure = 6 if chip == "sx1262" else 7
        assert rssi == pytest.approx(dbm, abs=1)
        noise = -174 + 10 * math.log10(khz * 1000) + figure
        assert snr == pytest.approx(min(12, dbm - noise), abs=0.25)


@pytest.mark.parametrize("first_tick", [0, (1 << 30) - 1_300_000])
def test_the_receiver_opens_at_the_instant_and_for_the_symbols_that_were_asked(chip, first_tick):
    with RadioBench(chip, first_tick) as bench:
        opened = []
        closed = []
        listen, deafen = bench.air.listen, bench.air.deafen
        bench.air.listen = lambda r, since: (opened.append(since), listen(r, since))
        bench.air.deafen = lambda r: (closed.append(bench.sim.now_ns()), deafen(r))
        answers = bench.run("""
radio = make()
for wait, sf, khz, symbols in (
    (1000000, 7, 125, 8), (2000000, 12, 125, 8), (30000, 9, 125, 40), (1500, 10, 250, 12),
    (60000, 7, 500, 200),
):
    at = clock.ticks_add(clock.ticks_us(), wait)
    assert run(radio.receive(at, 869525000, sf, khz, symbols)) is None
    tell(at, wait, sf, khz, symbols)
""")
        assert len(opened) == len(answers)
        for since, (at, wait, sf, khz, symbols) in zip(opened, answers, strict=True):
            late = since - bench.ns(at)
            if wait >= 30_000:
                assert -100 * US <= late <= 60 * US, show(late)
            # With less time than it takes to set the chip up, it opens as soon as that is done.
            window = symbols * Modulation(HZ, sf, khz * 1000).symbol_ns
            assert since + window + 1 in closed


def test_a_downlink_after_an_uplink_is_caught_in_a_window_of_six_symbols(chip):
    with RadioBench(chip) as bench:
        bench.gateway.on_uplink = lambda uplink: bench.gateway.answer(uplink, b"RX1 is here")
        answers = bench.run("""
radio = make()
for sf in range(7, 13):
    end = run(radio.transmit(b"uplink", 868100000, sf, 125, 14))
    radio.sleep()
    got = run(radio.receive(clock.ticks_add(end, 999500), 868100000, sf, 125, 6))
    tell(got and got[0])
""")
        assert answers == [[b"RX1 is here".hex()]] * 6


# -- faults --------------------------------------------------------------------------------------

FAULTS = [
    # fault, what is done, the error, and within how many ms it comes
    ("dead", "radio.start", "id", 100),
    ("no-tx-done", "lambda: run(radio.transmit(b'x', 868100000, 7, 125, 14))", "timeout", 300),
    ("no-tx-done", "lambda: run(radio.transmit(b'x', 868100000, 12, 125, 14))", "timeout", 1300),
    ("deaf", "lambda: run(radio.receive(now, 868100000, 7, 125, 8))", "timeout", 600),
    ("deaf", "lambda: run(radio.receive(now, 868100000, 12, 125, 8))", "timeout", 10_000),
]
FAULTS_1262 = [
    ("busy", "radio.start", "busy", 100),
    ("busy", "lambda: run(radio.transmit(b'x', 868100000, 7, 125, 14))", "busy", 100),
    ("busy", "lambda: run(radio.receive(now, 868100000, 7, 125, 8))", "busy", 200),
    ("busy", "radio.sleep", "busy", 100),
]


def test_a_broken_chip_is_an_error_in_bounded_time_and_a_reset_heals_it(chip):
    cases = FAULTS + (FAULTS_1262 if chip == "sx1262" else [])
    with RadioBench(chip) as bench:

        def fault(name):
            bench.chip.faults = {name} if name else set()

        bench.hook(fault)
        lines = ["radio = make()"]
        for name, action, _, _ in cases:
            lines.append(f"""
now = clock.ticks_us()
call("hook", {name!r})
error = attempt({action})
took = clock.ticks_diff(clock.ticks_us(), now)
call("hook", "")
radio.start()
end = run(radio.transmit(b"well again", 868100000, 7, 125, 14))
tell(error, took // 1000)
""")
        answers = bench.run("".join(lines))
        for (name, action, kind, within_ms), (error, took_ms) in zip(cases, answers, strict=True):
            assert (error, took_ms <= within_ms) == (kind, True), (name, action, took_ms)
        healed = [u for u in bench.gateway.uplinks if u.payload == b"well again"]
        assert len(healed) == len(cases)


def test_a_chip_that_lost_its_power_for_a_moment_is_an_error_too(chip):
    actions = (
        "lambda: run(radio.transmit(b'x', 868100000, 7, 125, 14))",
        "lambda: run(radio.receive(clock.ticks_us(), 868100000, 7, 125, 8))",
    )
    with RadioBench(chip) as bench:
        bench.hook(bench.chip.power_up)
        lines = ["radio = make()"]
        for action in actions:
            lines.append(f"""
call("hook")
clock.wait_ms(20)
before = clock.ticks_us()
error = attempt({action})
took = clock.ticks_diff(clock.ticks_us(), before)
radio.start()
run(radio.transmit(b"well again", 868100000, 7, 125, 14))
tell(error, took < 200000)
""")
        assert bench.run("".join(lines)) == [["command", True]] * 2
        assert [u.payload for u in bench.gateway.uplinks] == [b"well again"] * 2


def test_no_chip_or_another_one_is_found_at_once(chip):
    with RadioBench(chip) as bench:
        bench.chip.faults = {"dead"}
        assert bench.run("tell(attempt(make))") == [["id"]]
    other = {"sx1276": SX1262, "sx1262": SX1276}[chip]
    with RadioBench(chip) as bench:
        stranger = other(bench.air, "stranger")
        bench.chip.select = stranger.select
        bench.chip.transfer = stranger.transfer
        bench.chip.deselect = stranger.deselect
        assert bench.run("tell(attempt(make))") == [["id"]]


def test_lines_reach_the_boards_pads(chip):
    raw = "radio._write(0x40, 0x40)" if chip == "sx1276" else "radio._command(8, *([3, 255] * 4))"
    with RadioBench(chip) as bench:
        pins = bench.spec.radio
        line = pins.dio0 if chip == "sx1276" else pins.dio1
        answers = bench.run(f"""
radio = make()
{raw}
edges = []
dio = Pin({line}, Pin.IN)
dio.irq(edges.append, Pin.IRQ_RISING)
before = dio()
run(radio.transmit(b"x", 868100000, 7, 125, 14))
tell(before, dio(), len(edges), [edge is dio for edge in edges])
""")
        assert answers == [[0, 1, 1, [True]]]


def test_other_boards_with_such_a_chip(chip):
    boards = [name for name in board_ids() if (r := load_board(name).radio) and r.chip == chip]
    assert BOARDS[chip] in boards
    for board in boards:
        with RadioBench(chip, board=board) as bench:
            bench.run("run(make().transmit(b'x', 868100000, 7, 125, 14))")
            assert bench.gateway.uplinks[0].frame.power_dbm == 14, board


def test_the_chip_is_calibrated_for_the_band(chip):
    with RadioBench(chip) as bench:
        bench.run("radio = make()")
        if chip == "sx1276":
            assert 863_000_000 <= bench.chip.calibrated_hz <= 870_000_000
        else:
            assert bench.chip.calibrated == 0x7F
            low, high = bench.chip.image_mhz
            assert low <= 863 < 870 <= high


def test_wrong_arguments_are_the_callers_fault(chip):
    calls = [
        "radio.transmit(b'', 868100000, 7, 125, 14)",
        "radio.transmit(bytes(256), 868100000, 7, 125, 14)",
        "radio.transmit(b'x', 915000000, 7, 125, 14)",
        "radio.transmit(b'x', 868100000, 6, 125, 14)",
        "radio.transmit(b'x', 868100000, 7, 62, 14)",
        "radio.receive(0, 868100000, 13, 125, 8)",
        "radio.receive(0, 868100000, 7, 125, 0)",
        "radio.receive(0, 868100000, 7, 125, radio.MAX_SYMBOLS + 1)",
    ]
    with RadioBench(chip) as bench:
        lines = ["radio = make()", "wrong = 0"]
        lines += [f"try: run({call})\nexcept ValueError: wrong += 1" for call in calls]
        assert bench.run("\n".join([*lines, "tell(wrong)"])) == [[len(calls)]]
        assert bench.events == []


# -- the board's own clock -----------------------------------------------------------------------


def test_it_works_on_the_boards_real_clock(chip):
    with RadioBench(chip, real=True) as bench:
        gateway = bench.gateway
        gateway.on_uplink = lambda uplink: gateway.answer(uplink, b"in real time", 0.3)
        answers = bench.run("""
import asyncio, time
class Real:
    ticks_us = staticmethod(time.ticks_us)
    ticks_add = staticmethod(time.ticks_add)
    ticks_diff = staticmethod(time.ticks_diff)
    wait_us = staticmethod(time.sleep_us)
    wait_ms = staticmethod(time.sleep_ms)
    sleep_ms = staticmethod(asyncio.sleep_ms)
clock = Real()
radio = make()
async def main():
    end = await radio.transmit(b"uplink", 868100000, 7, 125, 14)
    # Early and long: the machine that runs this has other things to do.
    return await radio.receive(clock.ticks_add(end, 200000), 868100000, 7, 125, 240)
got = asyncio.run(main())
tell(got and got[0])
""")
        assert answers == [[b"in real time".hex()]]
        uplink = gateway.uplinks[0]
        assert uplink.end_ns - uplink.start_ns == Modulation(HZ, 7).airtime_ns(6)
        assert bench.sim.clock.now_ns() - uplink.end_ns < 20 * NS

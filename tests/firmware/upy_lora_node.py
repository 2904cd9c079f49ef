"""The node with LoRaWAN: commands, silence of every kind, and a radio or a flash that fails."""

import asyncio

import _clock
from node.core import commands
from node.core.config import Sensor
from node.core.sampler import Sampler
from node.core.sessions import Sessions
from node.wire import schema
from node_bench import channel_on
from node_mast import FOLDER, Marks, Mast, Pole, Station, rate

HOUR_S = 3600


def told(s, *payloads, port=10):
    """Give the node downlinks, one with each uplink; return what it obeyed and what it ignored."""
    before, ignored = len(s.obeyed), s.node.counters.ignored
    for each in payloads:
        s.mast.queue.append((port, each))
        s.accept(1, schema.EVENT)
        s.run(400)
    assert s.mast.queue == []
    return s.obeyed[before:], s.node.counters.ignored - ignored


def test_commands_that_are_right_are_obeyed_once():
    with Station() as s:
        s.joined()
        mast = s.mast
        interval = mast.command(commands.INTERVAL, 5, 900)
        assert told(s, interval) == ([(commands.INTERVAL, 900)], 0)
        # The same again, and one that was made before it.
        assert told(s, interval, mast.command(commands.RESTART, 4)) == ([], 2)
        later = [mast.command(code, 6 + code) for code in (2, 3, 4)]
        assert told(s, *later) == ([(2, 0), (3, 0), (4, 0)], 0)
        assert s.marks.get("command") == 10


def test_a_command_is_not_taken_again_after_a_restart():
    mast, board = Mast(), Pole()
    command = mast.command(commands.RESTART, 77)
    with Station(mast, board) as s:
        s.joined()
        assert told(s, command) == ([(commands.RESTART, 0)], 0)
    with Station(mast, board) as s:
        assert told(s, command) == ([], 1)
        assert told(s, mast.command(commands.RESTART, 78))[0]


def test_anything_else_is_counted_and_ignored():
    with Station() as s:
        s.joined()
        mast = s.mast
        good = mast.command(commands.INTERVAL, 9, 900)
        bad = [b"", b"\x02", bytes(8), good[:-1], good + b"\0", mast.command(9, 9)]
        bad += [mast.command(commands.INTERVAL, 9), mast.command(commands.RESTART, 9, 0)]
        bad += [mast.command(commands.RESTART, 0), mast.command(commands.RESTART, 0xFFFFFFFF)]
        bad += [mast.command(commands.RESTART, 9, key=bytes(16)), bytes(200)]
        bad += [bytes([good[i] ^ (1 << i % 8 if i == at else 0) for i in range(len(good))])
                for at in range(len(good))]  # fmt: skip
        assert told(s, *bad) == ([], len(bad))
        assert told(s, good, port=11) == ([], 1)
        assert told(s, mast.command(commands.INTERVAL, 9, 900, port=11), port=11) == ([], 1)
        # What the node itself refuses counts as well, and is used up.
        s.obeys = False
        assert told(s, good) == ([(commands.INTERVAL, 900)], 1)
        s.obeys = True
        assert told(s, good) == ([], 1)


def test_a_command_whose_counter_cannot_be_stored_is_not_obeyed():
    with Station() as s:
        s.joined()
        s.board.flash.fault = lambda kind, *_: 28 if kind == "mark" else 0
        command = s.mast.command(commands.RESTART, 3)
        assert told(s, command) == ([], 1)
        s.board.flash.fault = lambda *_: 0
        assert told(s, command) == ([(commands.RESTART, 0)], 0)


def test_another_interval_and_a_new_join():
    with Station() as s:
        s.joined()
        s.uplink.set_interval(900)
        assert s.paces[-1] == 900
        assert told(s, s.mast.command(3, 1)) == ([(3, 0)], 0)
        s.uplink.ask_rejoin()
        s.accept()
        s.run(120)
        assert len(s.mast.network.nonces) == 2
        s.accept()
        s.run(60)
        assert s.mast.network.last_up >= 0
    # A join that nobody answers does not keep it from sending with the session it has.
    with Station() as s:
        s.joined()
        s.mast.answers = lambda phy: phy[0] != 0
        s.uplink.ask_rejoin()
        s.run(4 * HOUR_S, each_s=300)
        assert set(range(45)) <= set(s.mast.got)


def test_a_network_that_never_answers_is_joined_anew_while_records_go_on():
    with Station() as s:
        s.joined()
        s.mast.answers = lambda phy: False
        s.mac.session.adr_count = 400  # so many uplinks without a sign of the network
        s.run(12 * HOUR_S, each_s=600)
        assert s.mac.lost
        joins = [row for row in s.mast.sent if row[4][0] == 0]
        assert 12 <= len(joins) < 60
        assert len(set(s.mast.got)) > 40
        s.mast.answers = lambda phy: True
        s.run(3 * HOUR_S)
        assert len(s.mast.network.frames) > 0
        assert not s.mac.lost


def test_joins_are_spread_and_found_again_after_power_cuts():
    mast, board = Mast(), Pole()
    mast.answers = lambda phy: False
    for _ in range(6):
        with Station(mast, board) as s:
            s.run(1800, each_s=600)
            assert not s.mac.joined
    nonces = mast.network.nonces
    assert nonces == sorted(set(nonces))
    airtime = sum([us for _, _, _, us, _ in mast.sent])
    assert airtime <= 36000000 + 36000000
    assert len(nonces) > 20
    mast.answers = lambda phy: True
    mast.queue.append(rate(5))
    with Station(mast, board) as s:
        s.run(4 * HOUR_S)
        assert s.mac.joined
        assert set(range(12)) <= set(mast.got)


def test_a_downlink_that_waits_is_fetched_and_much_to_say_goes_first():
    with Station() as s:
        s.joined()
        # More answers than go beside a payload: they have an uplink of their own.
        s.mast.queue.append(b"\x06" * 6)
        s.accept(1, schema.EVENT)
        s.run(30)
        assert s.pending == 0
        ports = [up.port for up in s.mast.seen][-2:]
        assert ports in ([0, 1], [1, 0])
        s.accept()
        s.run(30)
        assert s.mast.got[-1] == 1


def test_the_radio_fails_and_comes_back():
    for broken in (["busy"] * 3, [None, "timeout"], [None, None, "command"], ["id"] * 8):
        with Station() as s:
            s.joined()
            s.radio.broken = list(broken)
            s.accept(1, schema.EVENT)
            s.run(HOUR_S, each_s=300)
            assert s.radio.broken == []
            assert set(range(11)) <= set(s.mast.got), broken
            assert s.radio.starts >= 1
    with Station() as s:
        # Not even there at the start.
        missing = [6]

        def make():
            missing[0] -= 1
            if missing[0] >= 0:
                raise OSError(19)
            return s.radio

        s.makes = make
        s.run(2 * HOUR_S, each_s=600)
        assert s.mac.joined
        assert set(range(10)) <= set(s.mast.got)
        assert len(s.mast.network.nonces) == len(set(s.mast.network.nonces))


def test_flash_that_takes_nothing_sends_nothing():
    with Station() as s:
        s.board.flash.fault = lambda kind, *_: 0 if kind in ("read", "mark") else -5
        s.run(1800)
        assert s.mast.sent == []
        s.board.flash.fault = lambda *_: 0
        s.run(HOUR_S)
        assert s.mac.joined
        # Within the counters that are reserved it goes on; here a laboratory wants an uplink each
        # 5 s (TS009, TxPeriodicityChangeReq).
        s.mast.queue.append((224, b"\x06\x01"))
        s.accept(1, schema.EVENT)
        s.run(20)
        s.board.flash.fault = lambda kind, *_: 0 if kind == "read" else -5
        s.mast.answers = lambda phy: False
        s.run(HOUR_S)
        assert 4 < len(s.mast.seen) <= 32
        s.board.flash.fault = lambda *_: 0
        s.run(HOUR_S)
        assert len(s.mast.seen) > 40


def test_a_downlink_that_cannot_be_stored_is_not_obeyed():
    with Station() as s:
        s.joined()
        assert told(s, b"") == ([], 1)
        s.mast.queue.append((10, s.mast.command(commands.RESTART, 3)))
        s.accept(1, schema.EVENT)
        s.board.flash.fault = lambda kind, *_: 0 if kind in ("read", "mark") else -5
        s.run(60)
        assert s.mast.queue == []
        assert s.obeyed == []


def test_a_window_that_is_longer_than_the_radio_can_is_cut_at_both_ends():
    """A delay of 15 s and a clock that may be off by 1 %: 303 symbols of SF7."""
    for most, heard in ((1023, True), (248, True), (20, True)):
        with Station() as s:
            s.mast.settings["rx_delay"] = 15
            s.radio.MAX_SYMBOLS = most
            s.joined()
            s.accept(2, schema.EVENT)
            s.run(60)
            assert (s.pending == 0) == heard, most


def test_windows_open_on_time_whatever_the_sampler_does():
    """A sensor with 500 ms of conversion, and writes that take as long as an erasure may."""

    class Slow:
        FIELDS = ("temperature_c",)

        def __init__(self, bus, address, clock):
            self._clock = clock

        async def measure(self):
            await self._clock.sleep_ms(500)
            self._clock.wait_ms(5)  # the transfer
            return (21.5,)

    with Station() as s:
        s.joined()
        node = s.node
        sampler = Sampler(
            [channel_on(None, Sensor(0, "slow", 0x44, 0, 0), Slow, node.clock)],
            lambda: None,
            1,
            node.recorder,
            node.clock,
            node.counters,
            node.log,
            0,
            s.quiet,
        )
        s.radio.windows = []
        s.board.flash.fault = lambda kind, *_: (
            _clock.advance_us(90000) or 0 if kind == "erase" else 0
        )

        async def main():
            tasks = [asyncio.create_task(each(s.promise)) for each in (s.uplink.run, sampler.run)]
            await node.clock.sleep_ms(120000)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(main())
        assert len(s.radio.windows) >= 8
        # The windows are wider than that by far.
        assert max(s.radio.windows) <= 5000, s.radio.windows
        assert len({r.t for r in s.mast.records if r.kind == schema.CLIMATE}) > 20


def test_sessions_in_flash_that_are_damaged():
    """The other file is older: nothing of it is used but that its numbers are."""
    mast, board = Mast(), Pole()
    with Station(mast, board) as s:
        s.joined()
        s.accept(40)
        s.run(4 * HOUR_S, each_s=300)
    for name in ("a", "b", "ab"):
        with Station(mast, board) as s:
            joins = len(mast.network.nonces)
            assert s.mac.joined or joins > 1
        for each in name:
            with Station(mast, board), open(FOLDER + "/" + each, "r+b") as file:
                file.seek(30)
                file.write(b"\xaa\x55")
        with Station(mast, board) as s:
            assert s.sessions.damaged
            assert not s.mac.joined
            s.joined()
            assert len(mast.network.nonces) == joins + 1
            s.accept(3)
            s.run(HOUR_S)


def test_a_file_system_that_is_written_anew_repeats_no_nonce():
    mast, board = Mast(), Pole()
    with Station(mast, board) as s:
        s.joined()
    fresh = Pole()
    fresh.marks = board.marks
    with Station(mast, fresh) as s:
        assert not s.mac.joined
        s.joined()
    assert mast.network.nonces[1] <= 64
    # And with neither: the first one.
    with Station(Mast(), Pole()) as s:
        assert Sessions(FOLDER, Marks(s.board)).first_nonce == 0

"""Recorder, State, Clock: what time a record gets, and what its status says."""

import _clock
from node.core.state import State
from node.wire import schema
from node_bench import YEAR_2024, Board, Node, set_date
from node_flash import FOLDER, Files, Flash, apply, formatted, tear

CLIMATE = {"temperature_c": 21.5}
SYNCED, RESTARTED, OVERRUN = schema.CLOCK_SYNCED, schema.RESTARTED, schema.OVERRUN


def times(node):
    return [record.t for record in node.records()]


def ages(node):
    return [record.age_s for record in node.records()]


def pass_s(seconds):
    _clock.advance_us(int(seconds * 1000000))


def set_clock(node, unix_s):
    """As the application does when the network has told the time."""
    known = node.clock.known
    step_ms = node.clock.set(int(unix_s * 1000))
    node.crumb.synced_s = int(unix_s)
    node.crumb.save()
    if not known:
        node.recorder.clock_set(step_ms)


def test_with_a_known_clock_a_record_has_the_time_of_its_instant():
    with Node() as node:
        set_clock(node, YEAR_2024 + 7)
        assert node.recorder.accept(schema.CLIMATE, CLIMATE, 0, YEAR_2024)
        assert node.recorder.accept(schema.CLIMATE, CLIMATE)
        pass_s(500)
        assert times(node) == [YEAR_2024, YEAR_2024 + 7]
        assert node.recorder.accepted.is_set()


def test_before_the_clock_is_set_a_record_has_its_age_at_the_moment_of_sending():
    with Node() as node:
        pass_s(100)
        node.recorder.accept(schema.CLIMATE, CLIMATE, 0, node.unix_s() - 3)
        pass_s(40)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
        assert (times(node), ages(node)) == ([None, None], [43, 0])
        pass_s(1000)
        assert ages(node) == [1043, 1000]


def test_once_the_clock_is_set_earlier_records_get_their_true_time():
    with Node() as node:
        pass_s(60)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
        pass_s(90)
        set_clock(node, YEAR_2024)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
        assert times(node) == [YEAR_2024 - 90, YEAR_2024]
        # The clock is put right again, by little: nothing that was stamped moves.
        pass_s(3600)
        set_clock(node, node.unix_s() + 2)
        assert times(node) == [YEAR_2024 - 90, YEAR_2024]


def test_times_outlive_restarts_and_power_cuts():
    board = Board()
    with Node(board) as node:
        pass_s(60)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
    with Node(board) as node:  # a reset that RTC memory and clock outlive
        pass_s(40)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
        assert ages(node) == [40, 0]
        set_clock(node, YEAR_2024)
    board.power_cut()
    with Node(board) as node:
        assert not node.clock.known
        pass_s(10)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
        assert times(node) == [YEAR_2024 - 40, YEAR_2024, None]
        assert ages(node)[2] == 0


def test_an_era_that_ended_unset_gives_no_date_for_good():
    """Nobody can tell any more how long the power was off."""
    board = Board()
    with Node(board) as node:
        pass_s(60)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
    board.power_cut()
    with Node(board) as node:
        pass_s(25)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
        start = node.clock.uptime_ms() // 1000
        assert ages(node) == [start, 0]
        pass_s(5)
        set_clock(node, YEAR_2024)
        assert times(node) == [None, YEAR_2024 - 5]
        assert ages(node)[0] == start + 5


def test_shifts_of_the_last_eight_eras_are_kept():
    board = Board()
    for number in range(10):
        board.power_cut()
        with Node(board) as node:
            pass_s(10)
            node.recorder.accept(schema.CLIMATE, CLIMATE)
            pass_s(10)
            set_clock(node, YEAR_2024 + 1000 * number)
    with Node(board) as node:
        expected = [YEAR_2024 + 1000 * number - 10 for number in range(10)]
        assert times(node) == [None, None] + expected[2:]


def test_eras_are_not_used_twice_while_records_have_them():
    with Node() as node:
        node.state.era = 0xFFFE
        assert [node.state.new_era() for _ in range(3)] == [0xFFFF, 1, 2]
        assert node.state.shift(1) is None
        node.state.set_shift(1, -5)
        node.state.set_shift(1, 6)
        assert node.state.shift(1) == 6


def statuses(node):
    return [record.status for record in node.records()]


def test_status_says_what_happened_since_the_last_record():
    with Node() as node:
        node.recorder.mark(RESTARTED)
        node.recorder.accept(schema.EVENT, {"code": "restart"}, schema.SENSOR_FAULT)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
        set_clock(node, YEAR_2024)
        node.recorder.accept(schema.CLIMATE, CLIMATE)
        assert statuses(node) == [RESTARTED | schema.SENSOR_FAULT, 0, SYNCED]


def test_a_record_that_flash_refuses_is_counted_and_the_next_one_says_so():
    with Node() as node:
        node.recorder.mark(RESTARTED)
        node.board.flash.fault = lambda kind, *_: 0 if kind == "read" else -5
        node.crumb.era = 1
        assert not node.recorder.accept(schema.CLIMATE, CLIMATE)
        assert not node.recorder.accept(schema.CLIMATE, CLIMATE)
        assert not node.recorder.accepted.is_set()
        node.board.flash.fault = lambda *_: 0
        for _ in range(2):
            assert node.recorder.accept(schema.CLIMATE, CLIMATE)
        assert statuses(node) == [RESTARTED | OVERRUN, 0]
        assert node.counters.lost == 2
        assert node.counters.dropped == 0


def test_dropped_records_are_counted_and_told_once_also_across_deep_sleep():
    board = Board()
    with Node(board, limit=8192) as node:
        set_clock(node, YEAR_2024)
        while not node.counters.dropped:
            node.recorder.accept(schema.CLIMATE, CLIMATE)
        dropped = node.counters.dropped
        assert statuses(node)[-2:] == [SYNCED, SYNCED]
        node.crumb.save(node.counters.pack())
    for expected in (SYNCED | OVERRUN, SYNCED):
        with Node(board, woke=True, limit=8192) as node:
            node.recorder.accept(schema.CLIMATE, CLIMATE)
            assert statuses(node)[-1] == expected
            assert node.counters.dropped == dropped
            node.crumb.save(node.counters.pack())


def test_state_is_the_old_or_the_new_one_after_a_cut_anywhere():
    flash = formatted()
    flash.journal = []
    before = bytearray(flash.cells)
    states = [(0, 0, 0, [])]
    marks = [0]
    with Files(flash):
        state = State(FOLDER + "/state")
        state.epoch = 5
        for number in range(12):
            state.starts += 1
            state.cursor += 40
            state.new_era()
            state.set_shift(state.era, 800000000 + number)
            # The call above wrote it twice: with the era, and with the shift too.
            states += [
                (state.starts, state.cursor, state.era, states[-1][3]),
                (state.starts, state.cursor, state.era, list(state.shifts)),
            ]
            marks.append(len(flash.journal))
    assert len(flash.journal) >= 24
    for cut in range(len(flash.journal) + 1):
        done = len([mark for mark in marks if mark <= cut]) - 1
        for torn in (False, True):
            cells = bytearray(before)
            if torn and cut < len(flash.journal):
                tear(cells, flash.journal[cut], cut % 3)
            with Files(Flash(cells)):
                found = State(FOLDER + "/state")
                seen = (found.starts, found.cursor, found.era, found.shifts)
                assert seen in states[2 * done : 2 * done + 3], (cut, done, seen)
                assert found.found == (seen != states[0])
        if cut < len(flash.journal):
            apply(before, flash.journal[cut])


def test_uptime_goes_on_where_ticks_wrap():
    with Node() as node:
        start = node.clock.uptime_ms()
        for day in range(1, 41):  # ticks wrap every 12.4 days
            pass_s(86400)
            assert node.clock.uptime_ms() - start == day * 86400000


def test_setting_the_clock_tells_the_step_and_wakes_who_waits():
    with Node() as node:
        assert not node.clock.known
        at_power_up = node.clock.unix_ms()
        assert node.clock.set(1717200000123) == 1717200000123 - at_power_up
        assert node.clock.unix_ms() == 1717200000123
        assert node.clock.known
        assert node.clock.changed.is_set()
        assert node.clock.set(1717200000023) == -100
        set_date(YEAR_2024)
        assert node.clock.unix_ms() == YEAR_2024 * 1000

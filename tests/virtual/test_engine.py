import os
import signal
import socket
import threading
import time

import pytest
from citynode.virtual.engine import Engine


@pytest.fixture
def engine():
    engine = Engine(seed=7)
    yield engine
    engine.close()


def test_timers_fire_in_order_of_time_then_of_request(engine):
    seen = []
    now = engine.clock.now_ns()
    engine.call_at(now + 2_000_000, seen.append, "late")
    engine.call_at(now + 1_000_000, seen.append, "first")
    engine.call_at(now + 1_000_000, seen.append, "second")
    engine.call_at(now - 5, seen.append, "overdue")
    engine.run(until=lambda: len(seen) == 4)
    assert seen == ["overdue", "first", "second", "late"]


def test_cancelled_timer_does_not_fire(engine):
    seen = []
    timer = engine.call_later(0.001, seen.append, "never")
    assert timer.pending
    timer.cancel()
    assert not timer.pending
    engine.run(until=engine.clock.now_ns() + 5_000_000)
    assert seen == []


def test_run_until_a_time_returns_then_and_not_before(engine):
    due = engine.clock.now_ns() + 20_000_000
    engine.run(until=due)
    assert due <= engine.clock.now_ns() < due + 2_000_000_000


def test_reader_and_writer_of_one_descriptor(engine):
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    seen = []

    def readable():
        seen.append(ours.recv(10))
        engine.remove_reader(ours)

    def writable():
        ours.send(b"out")
        engine.remove_writer(ours)

    engine.add_reader(ours, readable)
    engine.add_writer(ours, writable)
    theirs.send(b"in")
    engine.run(until=lambda: bool(seen) and not engine._handlers.get(ours.fileno()))
    assert seen == [b"in"]
    assert theirs.recv(10) == b"out"
    ours.close()
    theirs.close()


def test_a_handler_may_remove_another_that_is_ready_too(engine):
    pairs = [socket.socketpair() for _ in range(2)]
    seen = []

    def make(own):
        def readable():
            seen.append(own)
            for pair in pairs:
                engine.remove_reader(pair[0])

        return readable

    for index, pair in enumerate(pairs):
        pair[1].send(b"x")
        engine.add_reader(pair[0], make(index))
    engine.run(until=engine.clock.now_ns() + 5_000_000)
    assert len(seen) == 1
    for end in (end for pair in pairs for end in pair):
        end.close()


def test_errors_in_callbacks_come_out_of_run_and_the_engine_goes_on(engine):
    def fail():
        raise ZeroDivisionError("from a callback")

    seen = []
    engine.call_later(0, fail)
    engine.call_later(0, seen.append, "after")
    with pytest.raises(ZeroDivisionError):
        engine.run()
    engine.run(until=lambda: bool(seen))
    assert seen == ["after"]


def test_calls_from_other_threads_wake_a_sleeping_engine(engine):
    seen = []

    def post():
        time.sleep(0.02)
        for number in range(1000):
            engine.call_soon_threadsafe(seen.append, number)
        engine.call_soon_threadsafe(engine.stop)

    thread = threading.Thread(target=post)
    thread.start()
    engine.run()
    thread.join()
    assert seen == list(range(1000))


def test_calls_that_post_themselves_do_not_starve_timers(engine):
    def again():
        engine.call_soon_threadsafe(again)

    again()
    engine.run(until=engine.clock.now_ns() + 2_000_000)


def test_stop_from_a_signal_handler_ends_run(engine):
    before = signal.signal(signal.SIGUSR1, lambda *_: engine.stop())
    try:
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        engine.run()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_stop_before_run_is_not_lost(engine):
    engine.stop()
    engine.run()


def test_chance_is_the_same_for_the_same_seed_and_name_only(engine):
    def draw(seed, name):
        other = Engine(seed)
        value = other.rng(name).getrandbits(64)
        other.close()
        return value

    assert draw(7, "wifi") == engine.rng("wifi").getrandbits(64)
    assert len({draw(7, "wifi"), draw(8, "wifi"), draw(7, "wifi2")}) == 3


def test_world_time_starts_where_it_is_told_and_runs_with_the_clock():
    engine = Engine(wall_start_ns=10**18)
    before = engine.clock.now_ns()
    unix = engine.clock.unix_ns()
    assert 10**18 + before <= unix < 10**18 + before + 10**9
    engine.close()

"""The supervisor and its watchdog, and the health record; in virtual time."""

import asyncio

import _clock
from node.core.supervisor import Supervisor
from node.wire import schema
from node_bench import YEAR_2024, Node, Promise, Watchdog, cancelled, health_of, set_date
from node_tools import steps


def supervised(node, seconds, **tasks):
    """Run tasks under a supervisor for some time; return the watchdog."""
    dog = Watchdog(node.clock)
    supervisor = Supervisor(node.clock, node.counters, node.log, dog.feed, lambda error: "at: x")

    async def main():
        until = asyncio.Event()
        for name, run in tasks.items():
            supervisor.start(name, run)
        watch = asyncio.create_task(supervisor.run(until))
        await node.clock.sleep_ms(1000 * seconds)
        until.set()
        await watch
        await supervisor.stop()

    asyncio.run(main())
    return dog


def test_the_watchdog_is_fed_while_all_tasks_get_on():
    with Node() as node:

        async def steady(progress):
            while True:
                progress.within(20000)
                await node.clock.sleep_ms(19000)

        assert supervised(node, 3600, one=steady, two=steady).longest_ms <= 15000
        assert node.counters.crashes == 0


def test_one_task_that_hangs_starves_the_watchdog():
    with Node() as node:

        async def steady(progress):
            while True:
                progress.within(2000)
                await node.clock.sleep_ms(1000)

        async def stuck(progress):
            progress.within(8000)
            await asyncio.Event().wait()

        assert supervised(node, 200, good=steady, bad=stuck).hunger_ms() >= 185000
        assert any("no progress: bad\n" in line for line in node.lines)


def test_a_task_that_was_late_and_gets_on_is_forgiven():
    with Node() as node:

        async def slow(progress):
            progress.within(8000)
            await node.clock.sleep_ms(30000)
            while True:
                progress.within(2000)
                await node.clock.sleep_ms(1000)

        dog = supervised(node, 300, slow=slow)
        assert 20000 <= dog.longest_ms <= 30000
        assert dog.hunger_ms() == dog.longest_ms


def test_a_task_that_ends_is_started_again_ever_more_rarely():
    for ends in (True, False):
        with Node() as node:
            starts = []

            async def crash(progress, ends=ends, starts=starts):
                starts.append(node.clock.uptime_ms())
                progress.within(5000)
                await node.clock.sleep_ms(10)
                if not ends:
                    raise ValueError("oops")

            dog = supervised(node, 400, crash=crash)
            assert [ms // 1000 for ms in steps(starts)] == [1, 2, 4, 8, 16, 32] + [60] * 5
            assert node.counters.crashes == len(starts)
            assert dog.longest_ms <= 15000
            text = "ended" if ends else "crashed: ValueError: oops at: x"
            assert len([line for line in node.lines if text in line]) == len(starts)


def test_a_crash_after_a_long_good_run_is_a_first_one():
    with Node() as node:
        starts = []

        async def run(progress):
            starts.append(node.clock.uptime_ms())
            if len(starts) > 4:
                for _ in range(700):
                    progress.within(5000)
                    await node.clock.sleep_ms(1000)
            raise OSError(5)

        supervised(node, 1600, run=run)
        assert [ms // 1000 for ms in steps(starts)] == [1, 2, 4, 8, 701, 701]


def test_stopping_is_no_crash_and_waits_for_the_end():
    with Node() as node:
        ended = []

        async def tidy(progress):
            try:
                await asyncio.Event().wait()
            finally:
                await node.clock.sleep_ms(500)
                ended.append(node.clock.uptime_ms())

        supervised(node, 10, tidy=tidy)
        assert len(ended) == 1
        assert node.counters.crashes == 0


def test_health_is_told_soon_and_then_at_each_interval():
    for interval_s, days, count in ((3600, 1, 24), (86400, 4, 4), (604800, 15, 3)):
        with Node() as node:
            set_date(YEAR_2024)
            node.clock.known = True
            promise = Promise(node.clock)

            async def main(node=node, promise=promise, days=days, interval_s=interval_s):
                task = asyncio.create_task(health_of(node, interval_s).run(promise))
                for _ in range(days):  # ticks are good for 6.2 days
                    await node.clock.sleep_ms(86400000)
                    assert not task.done()
                await cancelled(task)

            asyncio.run(main())
            records = node.records()
            assert [r.t - YEAR_2024 for r in records] == [2 + interval_s * i for i in range(count)]
            assert promise.broken == []


def test_a_health_record_has_what_is_known():
    with Node() as node:
        node.counters.dropped, node.counters.lost = 5, 2
        node.counters.sensor_faults = 9
        node.counters.link_reconnects, node.counters.broker_reconnects = 3, 4
        node.recorder.accept(schema.EVENT, {"code": "tamper"})
        _clock.advance_us(90000000)
        up = node.clock.uptime_ms() // 1000
        health_of(node, 60).report()
        values = node.records()[-1].values
        assert values == {
            "firmware": "1.2.3",
            "reset_cause": "poweron",
            "epoch": 7,
            "restarts": 3,
            "uptime_s": up,
            "heap_free_b": 65536,
            "idf_heap_free_b": None,
            "spool_records": 1,
            "dropped": 7,
            "sensor_faults": 9,
            "link_reconnects": 3,
            "broker_reconnects": 4,
            "rssi_dbm": None,
            "snr_db": None,
            "battery_v": None,
            "solar_v": None,
        }

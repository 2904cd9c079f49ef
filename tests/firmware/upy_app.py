"""The application with deep sleep; in virtual time."""

import asyncio

import _clock
from node.core.app import App
from node.core.config import Config, Sensor
from node.core.sampler import Sampler
from node.core.supervisor import Supervisor
from node.wire import schema
from node_bench import YEAR_2024, Board, Node, Watchdog, channel_on, health_of, set_date
from node_tools import steps

WATCHDOG_MS = 60000


class Air:
    FIELDS = ("temperature_c",)

    def __init__(self, bus, address, clock):
        self._measured, self._clock = bus, clock

    async def measure(self):
        self._measured.append(self._clock.unix_ms())
        return (21.5,)


class Cycle:
    """A node that sleeps deeply: each `wake` is one start of the program.

    The network is there after `link_s` (None: not at all) and takes all records `deliver_s` later;
    it tells the time after `sync_s`, as `offset_s` against the node's own, on each start.
    """

    def __init__(self, interval_s=300, health_s=3600):
        self.board = Board()
        self.config = Config({"interval_s": interval_s, "health_s": health_s, "sleep": "deep"})
        self.config.sensors = [Sensor(0, "air", 0x44, 0, 0)]
        self.deliver_s, self.sync_s, self.offset_s = 2.0, 1.5, 0.0
        self.boot_s = 0.7
        self.delivered = []
        self.awake_s = []
        self.slept_s = []
        self.measured_ms = []
        self.crashes = False
        self.first = True

    def wake(self, limit_s=4000):
        """Start; come back when it sleeps, or after `limit_s`."""
        _clock.advance_us(int(self.boot_s * 1000000))
        with Node(self.board, woke=not self.first, limit=8192) as node:
            self.node = node
            if self.first:
                node.crumb.aim_s = 0
                node.recorder.accept(schema.EVENT, {"code": "restart"})
            self.first = False
            try:
                asyncio.run(asyncio.wait_for(self._run(node), limit_s))
            except asyncio.TimeoutError:  # noqa: UP041
                asyncio.new_event_loop()  # nothing of it goes on

    async def _run(self, node):
        start = node.clock.uptime_ms()
        self.dog = Watchdog(node.clock)
        supervisor = Supervisor(node.clock, node.counters, node.log, self.dog.feed, str)
        sampler = Sampler(
            [channel_on(self.measured_ms, each, Air, node.clock) for each in self.config.sensors],
            lambda: None,
            self.config.interval_s,
            node.recorder,
            node.clock,
            node.counters,
            node.log,
            node.crumb.aim_s,
        )
        slept = []
        app = App(
            self.config,
            node.clock,
            node.crumb,
            node.recorder,
            node.spool,
            sampler,
            health_of(node, self.config.health_s),
            supervisor,
            node.counters,
            node.log,
            slept.append,
        )

        async def deliver(progress):
            progress.within(60000)
            await node.clock.sleep_ms(int(1000 * self.deliver_s))
            while True:
                progress.within(60000)
                for record in node.records() if node.spool.pending else ():
                    self.delivered.append(record)
                    node.spool.release(record.seq)
                await node.clock.sleep_ms(200)

        async def keep_time(progress):
            progress.within(60000)
            await node.clock.sleep_ms(int(1000 * self.sync_s))
            app.on_time(node.clock.unix_ms() + int(1000 * self.offset_s))
            while True:
                progress.within(60000)
                await node.clock.sleep_ms(10000)

        async def crash(progress):
            raise OSError(19)

        tasks = [("sampler", crash if self.crashes else sampler.run)]
        if self.deliver_s is not None:
            tasks.append(("uplink", deliver))
        if self.sync_s is not None:
            tasks.append(("ntp", keep_time))
        await app.run(tasks)
        assert self.dog.hunger_ms() < WATCHDOG_MS
        (ms,) = slept
        assert ms >= 1000
        self.awake_s.append((node.clock.uptime_ms() - start) / 1000)
        self.slept_s.append(ms / 1000)
        _clock.advance_us(ms * 1000)

    def of(self, kind):
        return [record for record in self.delivered if record.kind == kind]


def test_asleep_between_samples_and_none_is_missed():
    cycle = Cycle()
    set_date(YEAR_2024 + 100)
    for _ in range(30):
        cycle.wake()
    times = [record.t for record in cycle.of(schema.CLIMATE)]
    assert times == [YEAR_2024 + 300 + 300 * i for i in range(30)]
    # The first start waits for the instant; the others come for it, and in time.
    assert max(cycle.awake_s[1:]) < 5
    assert min(cycle.slept_s) > 290
    assert max([ms % 300000 for ms in cycle.measured_ms]) < 50


def test_a_start_that_takes_long_is_late_and_misses_nothing():
    cycle = Cycle()
    cycle.boot_s = 4
    set_date(YEAR_2024 + 100)
    for _ in range(5):
        cycle.wake()
    assert [record.t for record in cycle.of(schema.CLIMATE)] == [
        YEAR_2024 + 300 + 300 * i for i in range(5)
    ]
    assert max(cycle.awake_s[1:]) < 5


def test_an_instant_that_is_too_near_to_sleep_before_it_is_waited_for():
    for interval_s, deliver_s, sleeps in ((2, 0.5, False), (3, 0.5, True), (4, 3.5, False)):
        cycle = Cycle(interval_s=interval_s)
        cycle.deliver_s, cycle.sync_s, cycle.boot_s = deliver_s, 0.1, 0.3
        set_date(YEAR_2024 + 1)
        while len(cycle.of(schema.CLIMATE)) < 8:
            cycle.wake(10 * interval_s)
        times = [record.t for record in cycle.of(schema.CLIMATE)]
        assert steps(times) == [interval_s] * (len(times) - 1), interval_s
        assert bool(cycle.slept_s) == sleeps or deliver_s > 3


def test_corrections_of_a_drifting_clock_cost_no_sample_and_repeat_none():
    # Before the sample and after it: the start is 0.7 s after the wake-up, the sample 0.8 s later.
    for offset_s, sync_s in ((3, 0.3), (-3, 0.3), (3, 2), (-3, 2), (12, 0.3), (-12, 2)):
        cycle = Cycle()
        cycle.sync_s = sync_s
        set_date(YEAR_2024 + 200)
        for _ in range(25):
            cycle.offset_s = offset_s
            cycle.wake()
        times = [record.t for record in cycle.of(schema.CLIMATE)]
        assert times == [YEAR_2024 + 300 + 300 * i for i in range(25)], offset_s
        assert max(cycle.awake_s[1:]) < 20


def test_the_clock_is_set_in_every_hour_also_where_that_is_slower_than_delivery():
    cycle = Cycle(interval_s=600)
    cycle.deliver_s, cycle.sync_s = 1.0, 4.0
    set_date(YEAR_2024 + 100)
    for _ in range(24):
        cycle.wake()
        assert cycle.node.unix_s() - cycle.node.crumb.synced_s <= 4800
    # Only then it stays awake for that.
    assert len([s for s in cycle.awake_s[1:] if s > 4]) <= 5


def test_without_a_network_it_sleeps_all_the_same():
    cycle = Cycle()
    cycle.deliver_s = cycle.sync_s = None
    set_date(YEAR_2024 + 100)
    for _ in range(5):
        cycle.wake()
    assert max(cycle.awake_s[1:]) < 35
    assert cycle.delivered == []
    cycle.deliver_s, cycle.sync_s = 2.0, 1.0
    cycle.wake()
    times = [record.t for record in cycle.of(schema.CLIMATE)]
    assert times == [YEAR_2024 + 300 + 300 * i for i in range(6)]


def test_a_sampler_that_crashes_does_not_keep_it_awake():
    cycle = Cycle()
    cycle.crashes = True
    set_date(YEAR_2024 + 100)
    cycle.wake()
    assert cycle.awake_s[0] < 650
    assert cycle.node.counters.crashes > 5


def test_counters_and_the_interval_of_health_outlive_deep_sleep():
    cycle = Cycle(interval_s=600, health_s=7200)
    set_date(YEAR_2024 + 100)
    cycle.wake()
    cycle.node.counters.sensor_faults = 4
    cycle.node.crumb.save(cycle.node.counters.pack())
    for _ in range(24):
        cycle.wake()
    health = cycle.of(schema.HEALTH)
    assert steps([record.t for record in health[1:]]) == [7200]
    assert [record.values["sensor_faults"] for record in health[1:]] == [4] * len(health[1:])


def test_the_first_time_of_day_is_an_event_and_dates_what_was_before():
    cycle = Cycle()
    _clock.set_unix_ns(946684800 * 1000000000)
    cycle.offset_s = YEAR_2024 + 7 - 946684800
    cycle.wake()
    event = [r for r in cycle.of(schema.EVENT) if r.values["code"] == "clock_set"]
    assert [r.values["detail"] for r in event] == [cycle.offset_s]
    times = [record.t for record in cycle.delivered]
    assert min(times) >= YEAR_2024
    assert times == sorted(times)
    assert cycle.of(schema.CLIMATE)[0].t == YEAR_2024 + 300


def test_steps_of_the_clock_that_are_told():
    rows = ((0.5, []), (1.9, []), (2.0, [2]), (-2.5, [-3]), (-3e9, [-0x80000000]))
    for offset_s, details in rows:
        cycle = Cycle()
        set_date(YEAR_2024 + 1 if offset_s > -1e9 else YEAR_2024 + 2 * 10**9)
        with Node(cycle.board) as node:
            node.crumb.synced_s = YEAR_2024
            node.crumb.save()
        cycle.offset_s = offset_s
        cycle.wake()
        events = [r for r in cycle.of(schema.EVENT) if r.values["code"] == "clock_set"]
        assert [r.values["detail"] for r in events] == details, offset_s

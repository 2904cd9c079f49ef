"""The node with LoRaWAN in deep sleep: no join anew, little time awake, its budget kept."""

import asyncio

import _clock
from node.core.app import App
from node.core.config import Config, Sensor
from node.core.sampler import Sampler
from node.core.supervisor import Supervisor
from node.wire import schema
from node_bench import Watchdog, channel_on, health_of
from node_mast import Mast, Pole, Station, rate
from node_tools import Chance, steps


class Air:
    FIELDS = ("temperature_c",)

    def __init__(self, bus, address, clock):
        self._clock = clock

    async def measure(self):
        return (21.5,)


class Sleeper:
    """A node that sleeps deeply between its samples; each `wake` is one start."""

    def __init__(self, interval_s=600, **options):
        self.mast, self.board = Mast(), Pole()
        self.config = Config({"interval_s": interval_s, "health_s": 43200, "sleep": "deep"})
        self.config.sensors = [Sensor(0, "air", 0x44, 0, 0)]
        self.options = options
        self.awake_s = []
        self.resumed = []
        self.first = True

    def wake(self):
        _clock.advance_us(700000)
        with Station(self.mast, self.board, seed=1 + len(self.awake_s), **self.options) as s:
            s.interval_s = self.config.interval_s
            self.station = s
            node = s.node
            if self.first:
                node.crumb.aim_s = 0
                node.recorder.accept(schema.EVENT, {"code": "restart"})
            self.first = False
            asyncio.run(self._run(s, node))
            self.resumed.append(s.resumed)

    async def _run(self, s, node):
        start = node.clock.uptime_ms()
        dog = Watchdog(node.clock)
        supervisor = Supervisor(node.clock, node.counters, node.log, dog.feed, str)
        sampler = Sampler(
            [channel_on(None, each, Air, node.clock) for each in self.config.sensors],
            lambda: None,
            self.config.interval_s * s.uplink.stretch,
            node.recorder,
            node.clock,
            node.counters,
            node.log,
            node.crumb.aim_s,
            s.quiet,
        )
        slept = []
        app = App(
            self.config, node.clock, node.crumb, node.recorder, node.spool, sampler,
            health_of(node, self.config.health_s), supervisor, node.counters, node.log,
            slept.append, s.uplink,
        )  # fmt: skip
        s.on_time = app.on_time
        s.uplink._on_time = app.on_time
        await app.run([("lora", s.uplink.run), ("sampler", sampler.run)])
        assert dog.hunger_ms() < 60000
        self.awake_s.append((node.clock.uptime_ms() - start) / 1000)
        _clock.advance_us(slept[0] * 1000)

    def climate(self):
        return [r for r in self.mast.records if r.kind == schema.CLIMATE]


def test_deep_sleep_goes_on_without_a_join_and_with_little_time_awake():
    sleeper = Sleeper()
    for _ in range(150):
        sleeper.wake()
    assert len(sleeper.mast.network.nonces) == 1
    assert all(sleeper.resumed[1:])
    # Counters go on without a gap: nothing was lost, and nothing was reserved in vain.
    fcnts = sorted(sleeper.mast.network.frames)
    assert fcnts == list(range(len(fcnts)))
    awake = sorted(sleeper.awake_s[1:])
    assert awake[len(awake) // 2] < 5
    assert max(awake) < 60
    times = sorted({r.t for r in sleeper.climate() if r.t is not None})
    assert set(steps(times)) == {600}
    assert len(times) > 135
    # Health comes twice a day.
    assert len({r.t for r in sleeper.mast.records if r.kind == schema.HEALTH}) <= 4


def test_duty_cycle_and_budget_outlive_sleep():
    sleeper = Sleeper(60, airtime_s=30)
    sleeper.mast.queue.append(rate(2))
    for _ in range(240):
        sleeper.wake()
    sent = [row for row in sleeper.mast.sent if row[4][0] != 0]
    hours = {}
    for ms, _, _, us, _ in sent:
        hours[ms // 3600000] = hours.get(ms // 3600000, 0) + us
    assert max(hours.values()) < 36000000
    assert sum([row[3] for row in sent]) < 33000000
    assert sleeper.station.uplink.stretch > 1


def test_a_power_cut_in_deep_sleep_costs_counters_and_no_join():
    sleeper = Sleeper()
    for turn in range(40):
        if turn % 8 == 7:
            sleeper.board.power_cut()
        sleeper.wake()
    assert len(sleeper.mast.network.nonces) == 1
    assert sleeper.resumed.count(False) == 6
    assert sleeper.station.pending < 16
    seqs = set(sleeper.mast.got)
    assert set(range(max(seqs) - 15)) <= seqs


def test_without_a_network_it_sleeps_and_joins_when_there_is_one():
    sleeper = Sleeper()
    sleeper.mast.hears = lambda phy: False
    for _ in range(30):
        sleeper.wake()
    assert max(sleeper.awake_s[1:]) < 130
    assert len(sleeper.mast.sent) > 4
    sleeper.mast.hears = lambda phy: True
    for _ in range(40):
        sleeper.wake()
    assert sleeper.station.mac.joined
    assert len(set(sleeper.mast.got)) >= 60


def test_what_is_no_memory_of_a_sleep_is_refused():
    with Station() as s:
        s.joined()
        good = s.uplink.pack()
        assert len(good) < 700
    chance = Chance(4)
    for number in range(90):
        bad = bytearray(good)
        if number % 3 == 0:
            bad = bad[: chance.below(len(good))]
        elif number % 3 == 1:
            bad[chance.below(len(bad))] ^= 1 << chance.below(8)
        else:
            bad = bytearray(chance.bytes(chance.below(300)))
        with Station() as s:
            # What came of it may be wrong: RTC memory has a CRC. But it runs.
            s.uplink.unpack(bytes(bad))
            s.mast.hears = lambda phy: False
            s.accept(2)
            s.run(150)
            assert s.pending <= 2

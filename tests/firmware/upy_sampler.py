"""The sampler: instants, clocks that are set, sensors that fail; in virtual time."""

import asyncio

from node.core.config import Sensor
from node.core.sampler import Sampler
from node.sensors import SensorError
from node.wire import schema
from node.wire.cbor import UNDEFINED
from node_bench import YEAR_2024, Node, Promise, cancelled, channel_on, set_date

NACK = OSError(19)
CRC = SensorError("crc")


class Bus:
    def __init__(self):
        self.recoveries = 0

    def recover(self):
        self.recoveries += 1
        return False


def chip(fields, script, took=0):
    """Return a driver class that gives what the script says, its last entry for ever.

    An exception is raised; one in a list is raised by the constructor. `measured` has the times.
    """

    times = []

    class Chip:
        FIELDS = fields
        made = 0
        measured = times

        def __init__(self, bus, address, clock):
            self._clock = clock
            Chip.made += 1
            if isinstance(script[0], list):
                raise script.pop(0)[0]

        async def measure(self):
            self.measured.append(self._clock.unix_ms())
            if took:
                await self._clock.sleep_ms(took)
            outcome = script.pop(0) if len(script) > 1 else script[0]
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

    return Chip


AIR = ("temperature_c", "humidity_pct")


class Desk:
    """A sampler with chips on a node whose clock is set, unless told otherwise."""

    def __init__(self, node, *chips, interval=300, battery=None, aim_s=0, settle=0, retries=2):
        self.node = node
        self.bus = Bus()
        channels = [
            # Places in the configuration: a sensor without a driver was between them.
            channel_on(
                self.bus, Sensor(2 * i, "chip%d" % i, 0x40 + i, settle, retries), each, node.clock
            )
            for i, each in enumerate(chips)
        ]
        self.sampler = Sampler(
            channels,
            lambda: battery,
            interval,
            node.recorder,
            node.clock,
            node.counters,
            node.log,
            aim_s,
        )
        self.promise = Promise(node.clock)

    def run(self, seconds, *events):
        """Sample for some time; events are (seconds from the start, what to call)."""

        async def main():
            node = self.node
            task = asyncio.create_task(self.sampler.run(self.promise))
            start = node.clock.uptime_ms()
            for at, call in events + ((seconds, None),):
                await self.node.clock.sleep_ms(int(1000 * at) - node.clock.uptime_ms() + start)
                if call:
                    call()
            await cancelled(task)
            self.promise.within(0)

        asyncio.run(main())
        assert self.promise.broken == []
        return self

    def climate(self):
        return [r for r in self.node.records() if r.kind == schema.CLIMATE]

    def events(self):
        return [
            (r.values["code"], r.values["detail"])
            for r in self.node.records()
            if r.kind == schema.EVENT
        ]

    def instants(self):
        return [record.t for record in self.climate()]

    def move_clock(self, seconds):
        self.set_clock(self.node.clock.unix_ms() / 1000 + seconds)

    def set_clock(self, unix_s):
        self.node.recorder.clock_set(self.node.clock.set(int(unix_s * 1000)))


def known(node, unix_s):
    set_date(unix_s)
    node.clock.known = True


def at(first, count, step=300):
    return [first + step * i for i in range(count)]


def test_a_record_at_each_whole_interval():
    for interval, count in ((300, 4), (1, 1200), (7, 172), (86400, 0)):
        with Node(limit=1 << 16) as node:
            known(node, YEAR_2024 + 1.5)
            air = chip(AIR, [(21.5, 48.2)], took=49)
            desk = Desk(node, air, interval=interval).run(1200)
            first = (YEAR_2024 + 1) // interval * interval + interval
            assert desk.instants() == at(first, count, interval)
            assert [ms // 1000 for ms in air.measured] == at(first, count, interval)
            assert max([0] + [ms % 1000 for ms in air.measured]) < 5
            assert air.made == min(count, 1)


def test_a_sample_that_takes_longer_than_the_interval_skips_instants():
    with Node() as node:
        known(node, YEAR_2024)
        desk = Desk(node, chip(AIR, [(1, 2)], took=2500), interval=1).run(12)
        assert desk.instants() == at(YEAR_2024 + 1, 3, 3)


def test_the_clock_is_set_for_the_first_time():
    with Node() as node:
        # 40 s before a whole interval of the clock that starts at power-up.
        set_date(946684800 + 860)
        desk = Desk(node, chip(AIR, [(1, 2)]))
        desk.run(900, (100, lambda: desk.set_clock(YEAR_2024 + 0.25)))
        # The record of before has its true time by now, the others are whole intervals.
        assert desk.instants() == [YEAR_2024 - 60] + at(YEAR_2024 + 300, 2)


def test_the_clock_is_set_late_in_a_long_interval():
    """The wait that begins then is a new one: no promise of the old one is broken."""
    with Node() as node:
        set_date(946684800)
        desk = Desk(node, chip(AIR, [(1, 2)]), interval=3600)
        desk.run(3 * 3600, (3500, lambda: desk.set_clock(YEAR_2024 + 5)))
        assert desk.instants() == at(YEAR_2024 + 3600, 2, 3600)


def test_corrections_cost_no_instant_and_repeat_none():
    for when, step, end, instants in (
        (599.8, 0.4, 1210, at(300, 4)),
        (600.2, -0.4, 1210, at(300, 4)),
        (595, 20, 1210, at(300, 4)),  # over the instant at 600, which is sampled a little late
        (605, -20, 1210, at(300, 4)),
        (595, 200, 1210, [300, 900, 1200]),  # too late for 600: now is not then
        (605, -299, 1210, at(300, 4)),
        (595, 700, 1810, [300, 1500, 1800]),
        (605, -1200, 310, [300, 600, -300, 0, 300]),  # by a lot: the instants come again
    ):
        with Node() as node:
            known(node, YEAR_2024)
            desk = Desk(node, chip(AIR, [(1, 2)]))
            desk.run(end - step, (when, lambda desk=desk, step=step: desk.move_clock(step)))
            assert [t - YEAR_2024 for t in desk.instants()] == instants, step


def test_after_deep_sleep_the_instant_it_was_to_end_at_is_sampled():
    for woke_after, expected in ((-1.2, 0), (0.6, 0), (25, 0), (31, 300), (-400, -300)):
        with Node() as node:
            known(node, YEAR_2024 + woke_after)
            desk = Desk(node, chip(AIR, [(1, 2)]), aim_s=YEAR_2024).run(700)
            assert desk.instants()[0] == YEAR_2024 + expected, woke_after
            assert desk.instants()[1] == YEAR_2024 + expected + 300


def test_values_of_several_sensors_and_the_battery():
    rows = (
        # Of two good values the first counts; a field that only one has is taken from it.
        ([(21, 50)], [(22, 1e5)], 3.7, (21, 50, 100000, 3.7)),
        ([NACK], [(22, 1e5)], None, (22, UNDEFINED, 100000, None)),
        ([(21, 50)], [NACK], UNDEFINED, (21, 50, UNDEFINED, UNDEFINED)),
        ([CRC], [NACK], 3.7, (UNDEFINED, UNDEFINED, UNDEFINED, 3.7)),
    )
    for first, second, battery, expected in rows:
        with Node() as node:
            known(node, YEAR_2024 + 299)
            chips = chip(AIR, list(first)), chip(("temperature_c", "pressure_pa"), list(second))
            desk = Desk(node, *chips, battery=battery).run(60)
            (record,) = desk.climate()
            names = ("temperature_c", "humidity_pct", "pressure_pa", "battery_v")
            assert tuple([record.values[name] for name in names]) == expected
            assert record.values["co2_ppm"] is None
            failed = len([script for script in (first, second) if script[0] in (NACK, CRC)])
            assert node.counters.sensor_faults == failed
            assert bool(record.status & schema.SENSOR_FAULT) == bool(failed)


def test_a_fault_is_told_when_it_comes_and_when_it_goes():
    good = (100000, 600)
    # Three tries a record: one good, two records without any, then good again.
    script = [good] + [NACK] * 6 + [good]
    with Node() as node:
        known(node, YEAR_2024 + 1)
        desk = Desk(node, chip(AIR, [(1, 1)]), chip(("pressure_pa", "co2_ppm"), script))
        desk.run(1400)
        pressures = [record.values["pressure_pa"] for record in desk.climate()]
        assert pressures == [100000, UNDEFINED, UNDEFINED, 100000]
        assert [r.values["temperature_c"] for r in desk.climate()] == [1] * 4
        assert desk.events() == [("fault_on", 2), ("fault_off", 2)]
        assert node.counters.sensor_faults == 2
        # It is told before the first record that lacks the values.
        kinds = [record.kind for record in node.records()]
        assert kinds.index(schema.EVENT) == 1


def test_a_slow_sensor_that_has_failed_holds_nobody_up():
    # 12 s to fail, as a fan that does not turn: three tries are longer than the interval.
    with Node() as node:
        known(node, YEAR_2024 + 1)
        slow = chip(("pm25_ugm3",), [NACK], took=12_000)
        desk = Desk(node, chip(AIR, [(1, 1)]), slow, interval=30)
        desk.run(200)
        starts = [t // 1000 - YEAR_2024 for t in slow.measured]
        assert starts == [30, 42, 54, 90, 120, 150, 180]
        assert [r.t - YEAR_2024 for r in desk.climate()] == [30, 90, 120, 150, 180]


def test_retries_start_the_chip_anew_and_free_the_bus_when_that_was_the_cause():
    rows = (
        # script, retries: made, recoveries, good
        ([NACK, (1, 2)], 2, 2, 1, True),
        ([CRC, (1, 2)], 2, 2, 0, True),
        ([[NACK], [NACK], (1, 2)], 2, 3, 2, True),
        ([NACK, CRC, (1, 2)], 1, 2, 1, False),
        ([NACK, (1, 2)], 0, 1, 1, False),
    )
    for script, retries, made, recoveries, good in rows:
        with Node() as node:
            known(node, YEAR_2024 + 299)
            driver = chip(AIR, list(script))
            desk = Desk(node, driver, retries=retries).run(60)
            value = desk.climate()[0].values["temperature_c"]
            assert (driver.made, desk.bus.recoveries) == (made, recoveries), script
            assert value == (1 if good else UNDEFINED)


def test_a_sensor_gets_its_time_to_settle_once_for_each_start():
    with Node() as node:
        known(node, YEAR_2024 + 290)
        driver = chip(AIR, [(1, 2), (1, 2), NACK, (1, 2)])
        Desk(node, driver, settle=4000).run(1300)
        late = [(ms - YEAR_2024 * 1000) % 300000 for ms in driver.measured]
        # The second start waits 20 ms and then the 4 s again.
        assert late == [4000, 0, 0, 4020, 0, 0]
        assert driver.made == 2


def test_waiting_sensors_keep_the_promises():
    with Node() as node:
        known(node, YEAR_2024 + 290)
        Desk(node, chip(AIR, [NACK]), chip(AIR, [NACK]), settle=60000, retries=10).run(4000)
        assert node.counters.sensor_faults >= 2

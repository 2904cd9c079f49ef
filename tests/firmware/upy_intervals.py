"""The sampler: sensors with intervals of their own, what a record says of them; in virtual time."""

import asyncio
from math import inf

from node.core.channel import Channel
from node.core.config import Sensor
from node.core.plausible import Plausible
from node.core.sampler import Sampler
from node.sensors import SensorError
from node.wire import schema
from node.wire.cbor import UNDEFINED
from node_bench import YEAR_2024, Node, Promise, cancelled, set_date

FAULT = SensorError("crc")


class Chip:
    """A sensor whose reading number n is `give(n)`, from 0; an exception is raised."""

    def __init__(self, clock, give):
        self.clock = clock
        self.give = give
        self.at = []

    async def measure(self):
        outcome = self.give(len(self.at))
        self.at.append(self.clock.unix_ms() / 1000 - YEAR_2024)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Warm(Chip):
    """One that has to warm up; `log` has what it was told, with the times (s)."""

    WARM_UP_MS = 30000
    takes_ms = 0

    def note(self, what):
        self.log = getattr(self, "log", [])
        self.log.append((what, round(self.clock.unix_ms() / 1000 - YEAR_2024)))

    async def wake(self):
        self.note("wake")
        await self.clock.sleep_ms(self.takes_ms)

    async def measure(self):
        self.note("read")
        return await Chip.measure(self)

    async def sleep(self):
        self.note("sleep")


class Mast:
    """A node with channels made of (fields, driver, {settings of its sensor})."""

    def __init__(self, node, *rows, interval=300, spread=False, phase=0):
        self.node = node
        channels = []
        for place, (fields, chip, settings) in enumerate(rows):
            sensor = Sensor(place, "chip%d" % place, 0x40, 0, 0)
            for name in settings:
                setattr(sensor, name, settings[name])
            early = hasattr(chip, "WARM_UP_MS")
            channels.append(Channel(sensor, fields, lambda chip=chip: chip, None, early))
        self.sampler = Sampler(
            channels, lambda: 3.7, interval, node.recorder, node.clock, node.counters, node.log,
            phase_s=phase, spread=spread,
        )  # fmt: skip

    def run(self, seconds, *events):
        async def main():
            node, promise = self.node, Promise(self.node.clock)
            task = asyncio.create_task(self.sampler.run(promise))
            start = node.clock.uptime_ms()
            for at, call in events + ((seconds, None),):
                await node.clock.sleep_ms(1000 * at - node.clock.uptime_ms() + start)
                if call:
                    call()
            await cancelled(task)
            assert promise.broken == []

        asyncio.run(main())
        return self

    def told(self, *names, kind=schema.CLIMATE):
        """Return the records of a kind as (seconds since the start of the hour, values …)."""
        return [
            (record.t - YEAR_2024,) + tuple([record.values[name] for name in names])
            for record in self.node.records()
            if record.kind == kind
        ]

    def events(self):
        return [
            (r.values["code"], r.values["detail"], r.t - YEAR_2024)
            for r in self.node.records()
            if r.kind == schema.EVENT
        ]

    def statuses(self):
        return [
            r.status & ~schema.CLOCK_SYNCED for r in self.node.records() if r.kind != schema.EVENT
        ]


def started(node, after_s=1):
    set_date(YEAR_2024 + after_s)
    node.clock.known = True


def near(rows, wanted, within=0.0051):
    assert len(rows) == len(wanted), rows
    for i in range(len(rows)):
        row, want = rows[i], wanted[i]
        for j in range(len(want)):
            value, expected = row[j], want[j]
            if expected is None or expected is UNDEFINED:
                assert value is expected, (row, want)
            else:
                assert abs(value - expected) <= within, (row, want)


TEMPERATURE = ("temperature_c",)


def test_what_was_read_since_the_last_record_is_its_mean():
    with Node() as node:
        started(node)
        chip = Chip(node.clock, lambda n: (10 + n / 10,))
        mast = Mast(node, (TEMPERATURE, chip, {"interval_s": 60})).run(898)
        assert chip.at[:6] == [60, 120, 180, 240, 300, 360]
        near(mast.told("temperature_c"), [(300, 10.2), (600, 10.7)])


def test_lowest_highest_and_deviation_where_they_are_asked_for():
    speeds = (2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0)  # their deviation is 2
    rows = (
        (TEMPERATURE, lambda n: (21.5 - n,), {"interval_s": 75}),
        (("wind_ms", "gust_ms"), lambda n: (speeds[n % 8], 3 * speeds[n % 8]), {"interval_s": 50}),
    )
    for spread in (True, False):
        with Node() as node:
            started(node)
            made = [(fields, Chip(node.clock, give), more) for fields, give, more in rows]
            mast = Mast(node, *made, interval=400, spread=spread).run(401)
            low, high = (17.5, 21.5) if spread else (None, None)
            names = ("temperature_c", "temperature_min_c", "temperature_max_c")
            near(mast.told(*names), [(400, 19.5, low, high)])
            names = ("wind_ms", "wind_min_ms", "wind_sd_ms", "gust_ms")
            low, deviation = (2, 2) if spread else (None, None)
            near(mast.told(*names, kind=schema.WEATHER), [(400, 5, low, deviation, 27)])


def test_rain_is_added_up_and_directions_have_a_mean_of_their_own():
    for angles, mean in (
        ((350, 10, 350, 10, 0), 0),
        ((80, 90, 100, 90, 90), 90),
        ((359, 359, 359, 359, 359), 359),
        ((0, 90, 180, 270, None), None),  # from everywhere
    ):
        with Node() as node:
            started(node)
            rain = Chip(node.clock, lambda n: (0.2794 * (n % 3),))
            vane = Chip(node.clock, lambda n, angles=angles: (angles[n % 5],))
            mast = Mast(
                node,
                (("rain_mm",), rain, {"interval_s": 60}),
                (("wind_from_deg",), vane, {"interval_s": 60}),
            ).run(301)
            assert len(mast.told(kind=schema.CLIMATE)) == 0
            ((_, fallen, direction),) = mast.told("rain_mm", "wind_from_deg", kind=schema.WEATHER)
            assert abs(fallen - 0.2794 * (0 + 1 + 2 + 0 + 1)) < 0.051
            assert direction is None if mean is None else (direction - mean) % 360 in (0, 359, 1)


def test_a_sensor_that_fails_at_times_is_told_of_and_its_good_values_count():
    for script, mean in (
        ([10, FAULT, 12, FAULT, 14], 12),
        ([FAULT, FAULT, FAULT, FAULT, 15], 15),
        ([FAULT] * 5, UNDEFINED),
        ([10, UNDEFINED, 12, 14, 12], 12),
    ):
        with Node() as node:
            started(node)
            outcomes = [x if isinstance(x, Exception) else (x,) for x in script]
            mast = Mast(
                node,
                (TEMPERATURE, Chip(node.clock, lambda n, o=outcomes: o[n % 5]), {"interval_s": 60}),
            ).run(301)
            near(mast.told("temperature_c"), [(300, mean)])
            failed = [x for x in script if isinstance(x, Exception)]
            assert bool(mast.statuses()[0] & schema.SENSOR_FAULT) == bool(failed)
            assert node.counters.sensor_faults == len(failed)


def test_a_sensor_that_is_read_less_often_than_records_are_made():
    with Node() as node:
        started(node)
        mast = Mast(
            node,
            (TEMPERATURE, Chip(node.clock, lambda n: (20,)), {}),
            (("co2_ppm",), Chip(node.clock, lambda n: (600 + n,)), {"interval_s": 900}),
        ).run(1801)
        near(
            mast.told("temperature_c", "co2_ppm"),
            [(300, 20, None), (600, 20, None), (900, 20, 600)]
            + [(1200, 20, None), (1500, 20, None), (1800, 20, 601)],
        )


def test_two_sensors_of_a_field_stand_in_for_each_other():
    with Node() as node:
        started(node)
        good = Chip(node.clock, lambda n: (20 + n,))
        other = Chip(node.clock, lambda n: FAULT if n % 2 else (30,))
        for first, second, wanted in ((good, other, (20, 21)), (other, good, (30, 23))):
            mast = Mast(node, (TEMPERATURE, first, {}), (TEMPERATURE, second, {}))
            before = len(mast.told("temperature_c"))
            mast.run(600)
            assert tuple([row[1] for row in mast.told("temperature_c")[before:]]) == wanted


def test_a_clock_that_steps_loses_no_reading():
    for step in (700, -700):
        with Node() as node:
            started(node)
            chip = Chip(node.clock, lambda n: (float(n),))
            mast = Mast(node, (TEMPERATURE, chip, {"interval_s": 60, "limits": {}}))

            def move(node=node, step=step):
                node.clock.set(node.clock.unix_ms() + 1000 * step)

            mast.run(1500, (190, move))
            read, told = len(chip.at), [row[1] for row in mast.told("temperature_c")]
            # Each reading is in one mean: the first record has those of before the step, too.
            assert told[0] == sum(range(told_count(mast, chip))) / told_count(mast, chip)
            assert all(row[0] % 300 == 0 for row in mast.told("temperature_c"))
            assert read >= 22


def told_count(mast, chip):
    """Return how many readings there were up to the first record."""
    first = mast.told("temperature_c")[0][0]
    return chip.at.index(first) + 1


def test_another_pace_adds_up_more():
    with Node() as node:
        started(node)
        chip = Chip(node.clock, lambda n: (float(n),))
        mast = Mast(node, (TEMPERATURE, chip, {"interval_s": 100}), phase=7)
        mast.run(2500, (650, lambda: mast.sampler.pace(900)))
        near(mast.told("temperature_c"), [(7, 0), (307, 2), (607, 5), (907, 8), (1807, 14)])


def test_factor_and_offset_of_a_calibration():
    with Node() as node:
        started(node)
        adjust = {"adjust": {"temperature_c": (1.5, -0.25)}}
        fields = ("temperature_c", "humidity_pct")
        chip = Chip(node.clock, lambda n: (20, 50) if n else (UNDEFINED, 50))
        mast = Mast(node, (fields, chip, adjust)).run(601)
        near(mast.told(*fields), [(300, UNDEFINED, 50), (600, 29.75, 50)])


def test_what_is_hardly_possible_is_sent_and_marked():
    readings = (20, 21, 70, 21, 20, 20)
    with Node() as node:
        started(node)
        mast = Mast(
            node, (TEMPERATURE, Chip(node.clock, lambda n: (readings[n],)), {"interval_s": 300})
        ).run(1801)
        assert [row[1] for row in mast.told("temperature_c")] == list(readings)
        # 70 is out of range, and coming back from there is too fast a change for 5 minutes.
        assert mast.statuses() == [0, 0, schema.SUSPECT, schema.SUSPECT, 0, 0]
        assert mast.events() == [("suspect_on", 0, 900), ("suspect_off", 0, 1500)]


def test_plausible():
    minute = 60000
    for name, given, readings, wanted in (
        ("temperature_c", None, ((0, -40.1), (5, -40), (10, -35)), (False, True, True)),
        ("temperature_c", (0, 30), ((0, 31), (5, 29)), (False, True)),
        (
            "temperature_c",
            None,
            ((0, 10), (1, 13.1), (2, 10.2), (6, 22)),
            (True, False, True, True),
        ),
        ("pressure_pa", None, ((0, 101000), (0.5, 101051), (5, 101201)), (True, False, True)),
        ("humidity_pct", None, ((0, 100), (200, 100), (400, 100)), (True,) * 3),
        ("co2_ppm", None, ((0, 420), (1, 9000), (2, 349)), (True, True, False)),
        ("rain_mm", None, ((0, 0), (1, 39), (2, 80)), (True, True, False)),
        (
            "temperature_c",
            None,
            ((0, inf), (1, None), (2, UNDEFINED), (3, 20)),
            (False, True, True, False),
        ),
        ("made_up", None, ((0, 1), (1, 1e6)), (True, True)),
    ):
        one = Plausible(name, given)
        told = [one.check(value, int(at * minute)) for at, value in readings]
        assert tuple(told) == wanted, (name, readings, told)


def test_a_reading_that_never_moves():
    for name, each_min, wrong_after_min in (
        ("temperature_c", 1, 60), ("pressure_pa", 5, 60), ("temperature_c", 20, 240),
        ("humidity_pct", 1, None), ("rain_mm", 1, None),
    ):  # fmt: skip
        one = Plausible(name)
        value = {"pressure_pa": 101325, "rain_mm": 0}.get(name, 50)
        first = None
        for minute in range(0, 600, each_min):
            if not one.check(value, 60000 * minute) and first is None:
                first = minute
        assert first == wrong_after_min, (name, each_min, first)
        assert one.check(value + 0.01, 60000 * 600)


def test_a_sensor_that_warms_up_is_ready_at_its_time():
    with Node() as node:
        started(node)
        for takes_ms in (0, 2500):
            warm = Warm(node.clock, lambda n: (8.0,))
            warm.takes_ms = takes_ms
            mast = Mast(
                node,
                (("pm25_ugm3",), warm, {}),
                (TEMPERATURE, Chip(node.clock, lambda n: (20,)), {}),
            )
            start = round(node.clock.unix_ms() / 1000 - YEAR_2024) // 300 * 300
            mast.run(601)
            log = [(what, at - start) for what, at in warm.log]
            assert log == [
                ("wake", 267),
                ("read", 300),
                ("sleep", 300),
                ("wake", 567),
                ("read", 600),
                ("sleep", 600),
            ]


def test_one_that_would_hardly_sleep_stays_awake():
    with Node() as node:
        started(node, 40)
        warm = Warm(node.clock, lambda n: (8.0,))
        Mast(node, (("pm25_ugm3",), warm, {"interval_s": 30})).run(300)
        assert warm.log[:4] == [("wake", 40), ("read", 60), ("read", 90), ("read", 120)]


def test_how_much_earlier_a_deep_sleep_ends_for_it():
    with Node() as node:
        started(node)
        warm = Warm(node.clock, lambda n: (8.0,))
        mast = Mast(
            node,
            (("pm25_ugm3",), warm, {"interval_s": 600}),
            (TEMPERATURE, Chip(node.clock, lambda n: (1,)), {}),
        )
        assert mast.sampler.lead_ms == 0  # nobody knows yet what it needs
        mast.run(2)
        assert mast.sampler.lead_ms == 0  # at 300 it is not read
        mast.run(300)
        assert mast.sampler.lead_ms == 33000


def test_pressure_goes_to_who_compensates_for_it():
    with Node() as node:
        started(node)

        class Co2(Chip):
            told = []  # noqa: RUF012

            def set_pressure(self, pa):
                self.told.append(pa)

        Mast(
            node,
            (("pressure_pa",), Chip(node.clock, lambda n: FAULT if n == 1 else (100000 + n,)), {}),
            (("co2_ppm",), Co2(node.clock, lambda n: (500,)), {}),
        ).run(901)
        assert Co2.told == [100000, 100000, 100002]


def test_gusts_are_looked_at_each_second():
    with Node() as node:
        started(node)

        class Cups(Chip):
            steps = 0

            def step(self):
                self.steps += 1

        cups = Cups(node.clock, lambda n: (1, 2))
        mast = Mast(node, (("wind_ms", "gust_ms"), cups, {}))
        assert mast.sampler.has_steps
        assert not Mast(node, (TEMPERATURE, Chip(node.clock, lambda n: (1,)), {})).sampler.has_steps

        async def main():
            promise = Promise(node.clock)
            mast.sampler._channels[0].open()
            task = asyncio.create_task(mast.sampler.step(promise))
            await node.clock.sleep_ms(60500)
            await cancelled(task)

        asyncio.run(main())
        assert cups.steps == 61


def test_a_driver_that_does_not_take_its_options_is_a_fault_and_no_crash():
    with Node() as node:
        started(node)

        def make():
            raise TypeError("unexpected keyword argument")

        channel = Channel(Sensor(0, "odd", 0x40, 0, 0), TEMPERATURE, make, None, True)
        mast = Mast(node, (TEMPERATURE, Chip(node.clock, lambda n: (1,)), {}))
        mast.sampler._channels.insert(0, channel)
        mast.run(301)
        near(mast.told("temperature_c"), [(300, 1)])
        assert mast.events() == [("fault_on", 0, 300)]

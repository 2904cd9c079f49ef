"""The traffic task: samples into passages, passages into records; in virtual time."""

import asyncio

import _clock
from node.core.fields import Fields
from node.core.quiet import Quiet
from node.core.sampler import Sampler
from node.core.sights import Pulses, Ranges
from node.core.traffic import Traffic
from node.sensors import SensorError
from node.traffic.across import Across
from node.traffic.aggregate import Aggregate
from node.traffic.magnet import Magnet
from node.traffic.pulse import Pulse
from node.traffic.ring import FAST, SLOW, Ring
from node.wire import schema
from node.wire.cbor import UNDEFINED
from node_bench import YEAR_2024, Node, Promise, cancelled, set_date

NACK = OSError(19)
CAR_MS = 1000
VALUES = (
    "bikes_1", "cars_1", "heavy_1", "bikes_2", "cars_2", "heavy_2", "occupancy_pct",
)  # fmt: skip


class Timer:
    """Calls as the chip's timer does: late where something holds it up, never twice for that."""

    def __init__(self, clock, slower=1):
        self._clock = clock
        self._slower = slower
        self._task = None
        self.running = False

    def start(self, ms, call):
        self.stop()
        self.running = True
        self._task = asyncio.create_task(self._run(ms, call))

    async def _run(self, ms, call):
        task = self._task
        while self.running and task is self._task:
            await self._clock.sleep_ms(ms * self._slower)
            if self.running and task is self._task:
                call(self)

    def stop(self):
        self.running = False


class Chip:
    """A magnetometer beside a lane: `cars` are times (s since the start) at which one is there.

    `script` has (from s, to s, error) of what it raises; `offset` is that of its bridge, which
    creeps by 1 nT a second.
    """

    def __init__(self, clock, cars=(), script=()):
        self._clock = clock
        self._start = clock.uptime_ms()
        self._cars, self._script = cars, script
        self.reads = self.nulls = 0
        self._nulled = 0
        self.t_ms = self.x_nt = self.y_nt = self.z_nt = 0
        self.valid = True

    def _now(self):
        return self._clock.uptime_ms() - self._start

    def read(self):
        ms = self._now()
        for start, end, error in self._script:
            if 1000 * start <= ms < 1000 * end:
                raise error
        self.reads += 1
        self.t_ms = self._clock.ticks_ms()
        near = 0
        for car in self._cars:
            if abs(ms - 1000 * car) < CAR_MS // 2:
                near = 3000
        self.x_nt = 20000 + near + (ms - self._nulled) // 1000
        self.y_nt, self.z_nt = -4000 + near, 41000 + self.reads % 7
        return True

    def null(self):
        self.nulls += 1
        self._nulled = self._now()
        _clock.advance_us(20000)


class Loop:
    """A loop detector: `cars` are the times (s since the start) at which one has gone."""

    def __init__(self, clock, cars):
        self._clock = clock
        self._start = clock.uptime_ms()
        self._cars = list(cars)
        self.t_ms = self.occupied_ms = 0

    def read(self):
        if not self._cars or self._clock.uptime_ms() - self._start < 1000 * self._cars[0]:
            return False
        self._cars.pop(0)
        self.t_ms = self._clock.ticks_ms()
        self.occupied_ms = CAR_MS
        return True


class Post:
    """A traffic node: the sampler gives the instants, as on the node."""

    def __init__(self, node, interval=300, quiet=None, phase=0, sampler=True):
        self.node = node
        self.promises = [Promise(node.clock) for _ in range(3)]
        self.recoveries = 0
        self.quiet = quiet
        self.interval = interval
        self.phase = phase
        self.made = 0

    def of(self, ring, make, detector, lanes=1):
        node = self.node

        def made():
            self.made += 1
            return make(ring)

        self.traffic = Traffic(
            "mmc5983", -1, ring, made, self.recover, detector, Aggregate(lanes), lambda: 3.9,
            self.quiet, node.recorder, node.clock, node.counters, node.log,
        )  # fmt: skip
        return self

    def field(self, *chips, slower=10):
        """Magnetometers, read ten times more rarely than on the node unless that matters."""
        timer = Timer(self.node.clock, slower)
        return self.of(Ring(FAST), lambda ring: Fields(ring, chips, timer), Magnet(2500, 0, 1, 150))

    def loop(self, cars):
        chip = Loop(self.node.clock, cars)
        return self.of(Ring(SLOW), lambda ring: Pulses(ring, (chip,)), Pulse())

    def recover(self):
        self.recoveries += 1
        return True

    def run(self, seconds, *events):
        """Count for some time; events are (seconds from the start, what to call)."""
        node = self.node
        sampler = Sampler(
            [], lambda: None, self.interval, node.recorder, node.clock, node.counters, node.log,
            phase_s=self.phase, traffic=self.traffic,
        )  # fmt: skip

        async def main():
            runs = [run for _, run in self.traffic.tasks()] + [sampler.run]
            tasks = [asyncio.create_task(runs[i](self.promises[i])) for i in range(len(runs))]
            start = node.clock.uptime_ms()
            for at, call in events + ((seconds, None),):
                await node.clock.sleep_ms(int(1000 * at) - node.clock.uptime_ms() + start)
                if call:
                    call()
            for i in range(len(tasks)):
                assert not tasks[i].done()
                await cancelled(tasks[i])
                self.promises[i].within(0)

        asyncio.run(main())
        for promise in self.promises:
            assert promise.broken == []
        return self

    def records(self):
        return [r for r in self.node.records() if r.kind == schema.TRAFFIC]

    def told(self):
        """Return (end, minutes, cars, status) of each record."""
        return [
            (r.t - YEAR_2024, r.values["interval_s"] // 60, r.values["cars_1"], r.status)
            for r in self.records()
        ]

    def events(self):
        return [
            (r.values["code"], r.values["detail"])
            for r in self.node.records()
            if r.kind == schema.EVENT
        ]


def known(node, unix_s):
    set_date(unix_s)
    node.clock.known = True
    node.crumb.synced_s = unix_s


OK = schema.CLOCK_SYNCED
FIRST = OK | schema.RESTARTED


def test_a_record_at_each_whole_interval_tells_how_long_it_was():
    cars = [5 + 10 * i for i in range(130)]
    with Node() as node:
        # It starts in the middle of an interval: two and a half minutes are left of it.
        known(node, YEAR_2024 + 150)
        post = Post(node).loop(cars).run(1100)
        assert post.told() == [
            (300, 3, 15, FIRST), (600, 5, 30, OK), (900, 5, 30, OK), (1200, 5, 30, OK)
        ]  # fmt: skip
        last = post.records()[-1].values
        assert last["battery_v"] == 3.9
        assert 9 <= last["occupancy_pct"] <= 12  # 1 s of 10 s
        assert last["speed_1_kmh"] is None
        assert post.events() == []


def test_what_is_too_short_to_be_told_goes_with_the_next_record():
    with Node() as node:
        known(node, YEAR_2024 + 280)
        post = Post(node).loop([8, 15, 100]).run(700)
        assert post.told() == [(600, 5, 3, FIRST), (900, 5, 0, OK)]


def test_steps_of_the_clock_make_intervals_longer_or_shorter_and_lose_no_vehicle():
    for step, expected in (
        # 140 s before the instant at 300 the clock goes on by 100 s; or back.
        (100, [(300, 3, 20), (600, 5, 30)]),
        (-100, [(300, 7, 40), (600, 5, 30)]),
    ):
        with Node() as node:
            known(node, YEAR_2024)
            post = Post(node).loop([5 + 10 * i for i in range(90)])
            move = 1000 * (YEAR_2024 + 160 + step)
            post.run(700 - step, (160, lambda node=node, move=move: node.clock.set(move)))
            assert [row[:3] for row in post.told()][:2] == expected, step


def test_a_record_made_before_the_clock_was_set_gets_its_date():
    with Node() as node:
        set_date(946684800)
        post = Post(node).loop([100, 400])

        def set_clock():
            node.recorder.clock_set(node.clock.set(1000 * (YEAR_2024 + 420)))

        post.run(700, (420, set_clock))
        assert [row[:3] for row in post.told()][:3] == [(300, 5, 1), (600, 5, 1), (900, 5, 0)][:2]


def test_a_silent_sensor_is_told_and_nothing_is_made_up():
    for error in (NACK, SensorError("timeout")):
        with Node() as node:
            known(node, YEAR_2024)
            # Silent from 20 s on, for two whole intervals; a hiccup later on.
            script = [(20, 185, error), (250, 250.5, error)]
            chip = Chip(node.clock, [10, 232, 260], script)
            post = Post(node, 60).field(chip).run(310)
            fault = OK | schema.SENSOR_FAULT
            assert [(r.t - YEAR_2024, r.status) for r in post.records()] == [
                (60, fault | schema.RESTARTED), (120, fault), (180, fault), (240, fault), (300, OK),
            ]  # fmt: skip
            for place, cars in ((0, 1), (1, UNDEFINED), (2, UNDEFINED), (3, 1), (4, 1)):
                values = post.records()[place].values
                assert values["interval_s"] == 60
                for name in VALUES:
                    if name not in ("cars_1", "occupancy_pct"):
                        assert values[name] == (0 if cars == 1 else UNDEFINED)
                assert values["cars_1"] is cars or values["cars_1"] == cars
                assert values["battery_v"] == 3.9
            assert post.events() == [("fault_on", -1), ("fault_off", -1)]
            assert node.counters.sensor_faults == 4
            assert (post.recoveries > 5) == (error is NACK)
            assert post.made == 1  # the driver sets the chip up again by itself


def test_a_sensor_that_is_not_there_at_the_start_is_tried_again():
    with Node() as node:
        known(node, YEAR_2024)
        chip = Chip(node.clock, [50], [(0, 30, NACK)])

        def make(ring):
            chip.read()  # as a constructor does
            return Fields(ring, (chip,), Timer(node.clock, 10))

        post = Post(node, 60).of(Ring(FAST), make, Magnet(2500)).run(125)
        assert post.told() == [(60, 1, 1, FIRST | schema.SENSOR_FAULT), (120, 1, 0, OK)]
        assert post.events() == [("fault_on", -1), ("fault_off", -1)]
        assert 4 < post.made < 8


def test_samples_wait_while_the_radio_must_not_be_late_and_none_is_lost():
    for every, lost in ((3.0, False), (0.4, True)):
        with Node() as node:
            known(node, YEAR_2024)
            quiet = Quiet(node.clock)
            chip = Chip(node.clock, [7 + 5 * i for i in range(10)])
            post = Post(node, interval=60, quiet=quiet).field(chip, slower=1)

            def appoint(node=node, quiet=quiet):
                quiet.plan(node.clock.uptime_ms() + 500)

            appointments = [(2 + every * i, appoint) for i in range(int(25 / every))]
            post.run(62, *appointments)
            (record,) = post.records()
            # Appointments without an end between them leave nobody time: that is told.
            assert bool(record.status & schema.OVERRUN) == lost
            assert lost or record.values["cars_1"] == 10
            assert chip.reads >= 6000


def test_the_offset_of_the_bridge_is_measured_while_the_lane_is_free():
    """It creeps by 600 nT, four times the threshold, between two of them."""
    with Node() as node:
        known(node, YEAR_2024)
        # When it is due first, a queue is there.
        cars = [598 + 0.8 * i for i in range(20)] + [700, 1300, 1303]
        chip = Chip(node.clock, cars)
        post = Post(node, interval=1500).field(chip, slower=20).run(1505)
        assert chip.nulls == 2
        assert [row[2] for row in post.told()] == [4]


def test_with_lorawan_records_come_at_the_phase_of_the_node():
    with Node() as node:
        known(node, YEAR_2024)
        post = Post(node, phase=77).loop([100, 150, 400]).run(700)
        assert [row[:3] for row in post.told()] == [(77, 1, 0), (377, 5, 2), (677, 5, 1)]


class Finder:
    """A range finder at 100 Hz whose frames come `late_ms` after a whole 10 ms; they can wait."""

    def __init__(self, clock, cuts, late_ms, place_m=0.0):
        self._clock, self._cuts, self._late = clock, cuts, late_ms
        self._next = clock.uptime_ms() // 10 + 1
        self.t_ms = self.distance_mm = 0
        self.strength = 900
        self.valid = True

    def read(self):
        now = self._clock.uptime_ms()
        due = 10 * self._next + self._late
        if due > now:
            return False
        # As Stream tells it: the last one is now, those before it a period each.
        self.t_ms = self._clock.ticks_ms() - 10 * ((now - due) // 10)
        self.distance_mm = 0
        for start, end in self._cuts:
            if start <= due < end:
                self.distance_mm = 2200
        self._next += 1
        return True


def test_two_beams_that_are_not_in_step_tell_the_speed():
    for late in (0, 3, 9):
        with Node() as node:
            known(node, YEAR_2024)
            start = node.clock.uptime_ms()
            # 2 m apart, at 20 m/s; read whenever there is time.
            cuts = [[(start + 1013 * i, start + 1013 * i + 230) for i in range(2, 50)]]
            cuts.append([(a + 100, b + 100) for a, b in cuts[0]])
            chips = [Finder(node.clock, cuts[0], 0), Finder(node.clock, cuts[1], late)]
            from node.traffic.across import AcrossPair

            post = Post(node).of(
                Ring(FAST),
                lambda ring, chips=chips, node=node: Ranges(ring, chips, node.clock, 10),
                AcrossPair(2000, 8000, 4750),
            )
            speeds = []
            post.traffic.passed = lambda passage, speeds=speeds: speeds.append(passage.speed_mms)

            async def busy(node=node):
                # Others work up to 60 ms without a pause.
                for i in range(800):
                    await node.clock.sleep_ms(37)
                    _clock.advance_us(1000 * (i * 13 % 60))

            post.run(62, (0.5, lambda busy=busy: asyncio.create_task(busy())))
            assert len(speeds) == 48
            mean = sum(speeds) / len(speeds)
            assert 19400 <= mean <= 20600, late


def test_a_loop_detector_is_silent_while_nothing_passes():

    class Stuck(Loop):
        def read(self):
            if self._cars and self._cars[0] < 0:
                self._cars.pop(0)
                raise SensorError("skipped")
            return Loop.read(self)

    with Node() as node:
        known(node, YEAR_2024)
        # Nothing for minutes, then one that stays for long.
        chip = Stuck(node.clock, [3, 200, -1, 230])
        post = Post(node).of(Ring(SLOW), lambda ring: Pulses(ring, (chip,)), Pulse()).run(605)
        fault = schema.SENSOR_FAULT
        assert post.told() == [(300, 5, 3, FIRST | fault), (600, 5, 0, OK)]
        assert post.events() == [("fault_on", -1), ("fault_off", -1)]


def test_lanes_of_a_beam_are_directions():
    with Node() as node:
        known(node, YEAR_2024)
        start = node.clock.uptime_ms()
        chip = Finder(node.clock, [(start + 2000, start + 2300), (start + 9000, start + 9300)], 0)
        post = Post(node, 60).of(
            Ring(FAST),
            lambda ring: Ranges(ring, (chip,), node.clock, 10),
            Across(8000, (2000, 5500), (1, 2)),
            2,
        )
        post.run(62)
        values = post.records()[0].values
        assert (values["cars_1"], values["cars_2"]) == (0, 2)

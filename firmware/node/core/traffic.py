"""The traffic task: samples through the detector, and at each instant a record of what has passed.

The instants are the sampler's. How long a record's interval really was is told by the uptime, so
that neither a start in the middle of one nor a step of the clock makes traffic thinner or denser.
"""

from node.core.log import describe
from node.sensors import SensorError
from node.wire import schema
from node.wire.cbor import UNDEFINED
from node.wire.const import const

_SLACK_MS = const(30000)
_PAUSE_MS = const(50)
_TURN = const(16)  # samples before the other tasks have their turn
_SILENT_MS = const(5000)
_FIRST_DELAY_MS = const(1000)
_LONGEST_DELAY_MS = const(30000)
_STEADY_MS = const(60000)
# The offset of a magnetometer's bridge goes with the warmth: by less than a threshold in this time.
_NULL_MS = const(600000)
# What a record can tell as its interval, in ms: half a minute is rounded to one.
_SHORTEST_MS = const(30000)

_NAMES = tuple([row[0] for row in schema.RECORDS[schema.TRAFFIC][1][:-1]])


class Traffic:
    """Counts with `detector` what comes into `ring` from the sight that `make_sight` makes.

    A sight is one of `core.sights` or `core.fields`; to make it may raise what its drivers do, and
    is tried again then. `recover()` frees the buses; `battery()` gives volts, None or UNDEFINED;
    `quiet` is as in the sampler; `place` is the number that events tell. `passed`, where it is set,
    is called with each passage.
    """

    def __init__(
        self,
        name,
        place,
        ring,
        make_sight,
        recover,
        detector,
        aggregate,
        battery,
        quiet,
        recorder,
        clock,
        counters,
        log,
    ) -> None:
        self._name = name
        self._place = place
        self._ring = ring
        self._make_sight = make_sight
        self._recover = recover
        self._detector = detector
        self._aggregate = aggregate
        self._battery = battery
        self._quiet = quiet
        self._recorder = recorder
        self._clock = clock
        self._counters = counters
        self._log = log
        self._sight = None
        self._first = True
        self._since_ms = self._heard_ms = self._nulled_ms = clock.uptime_ms()
        self._works = self._silent = self._missed = False
        self._t = 0
        self._gap_ms = 0
        self.failing = False
        self.passed = None

    def tasks(self) -> list:
        """Return the tasks, as pairs of name and coroutine function."""
        return [("traffic", self.run), ("passages", self.count)]

    def report(self, unix_s: int) -> None:
        """Have the record of the interval that ends at `unix_s` accepted."""
        now = self._clock.uptime_ms()
        length_ms = now - self._since_ms
        if length_ms < _SHORTEST_MS:
            return  # it goes with the next one
        self._since_ms = now
        self._look_for_silence()
        told = self._aggregate.values((length_ms + 500) // 1000)
        values = {}
        for i in range(len(_NAMES)):
            values[_NAMES[i]] = told[i] if self._works or not i else UNDEFINED
        status = schema.RESTARTED if self._first else 0
        if self._silent or not self._works:
            status |= schema.SENSOR_FAULT
            self._counters.sensor_faults += 1
        if self._missed or self._ring.lost:
            status |= schema.OVERRUN
        self._works, self._silent, self._missed = False, self.failing, False
        self._ring.lost = 0
        volts = self._battery()
        if volts is not None:
            values["battery_v"] = volts
        self._first = False
        self._recorder.accept(schema.TRAFFIC, values, status, unix_s)

    # -- the sensor -----------------------------------------------------------------------------

    async def run(self, progress) -> None:
        """Read the sensor for ever; what it does not bear is told, and it is tried again."""
        clock = self._clock
        delay = _FIRST_DELAY_MS
        while True:
            start = clock.uptime_ms()
            progress.within(_SLACK_MS)
            try:
                await self._still()
                await self._watch(progress)
            except OSError as error:
                self._log.debug(self._name, describe(error))
                if not self._recover():
                    self._log.debug(self._name, "bus held low")
            except SensorError as error:
                self._log.debug(self._name, describe(error))
            finally:
                if self._sight is not None:
                    self._sight.stop()
            self._look_for_silence()
            if clock.uptime_ms() - start > _STEADY_MS:
                delay = _FIRST_DELAY_MS
            progress.within(delay + _SLACK_MS)
            await clock.sleep_ms(delay)
            delay = min(2 * delay, _LONGEST_DELAY_MS)

    async def _watch(self, progress) -> None:
        sight = self._sight
        if sight is None:
            sight = self._sight = self._make_sight()
        self._gap_ms = 0  # until now nothing was to be seen
        sight.start()
        while True:
            progress.within(_SLACK_MS)
            if sight.collect():
                self._hear()
            else:
                self._look_for_silence()
            if sight.nulls and self._clock.uptime_ms() - self._nulled_ms > _NULL_MS:
                await self._still()
                if self._detector.still:
                    self._nulled_ms = self._clock.uptime_ms()
                    sight.null()
                    self._ring.clear()
                    self._detector.move()
            await self._clock.sleep_ms(sight.pause_ms)

    def _hear(self) -> None:
        self._heard_ms = self._clock.uptime_ms()
        self._works = True
        if self.failing:
            self.failing = False
            self._tell("fault_off", "works again")

    def _look_for_silence(self) -> None:
        if not self.failing and self._clock.uptime_ms() - self._heard_ms > _SILENT_MS:
            self.failing = self._silent = True
            self._tell("fault_on", "silent")

    def _tell(self, code: str, text: str) -> None:
        self._log.warning(self._name, text)
        self._recorder.accept(schema.EVENT, {"code": code, "detail": self._place})

    # -- what it sees ---------------------------------------------------------------------------

    async def count(self, progress) -> None:
        """Give the detector what has come, for ever; while the radio must not be late it waits."""
        while True:
            progress.within(_SLACK_MS)
            await self._still()
            if self._drain():
                await self._clock.sleep_ms(0)
            else:
                sight = self._sight
                pause = _PAUSE_MS if sight is None else max(_PAUSE_MS, sight.pause_ms)
                await self._clock.sleep_ms(pause)

    async def _still(self) -> None:
        if self._quiet is not None:
            await self._quiet.wait()

    def _drain(self) -> bool:
        """Take samples until others should have their turn; return whether there are more."""
        ring, sight = self._ring, self._sight
        rows = ring.rows
        for _ in range(_TURN):
            if sight is None or not ring.take():
                return False
            t = rows[ring.at]
            gap = self._gap_ms
            if gap and t - self._t > gap:
                self._missed = True
            self._gap_ms = sight.gap_ms
            self._t = t
            passage = sight.feed(self._detector)
            if passage is not None:
                self._aggregate.add(passage)
                if self.passed is not None:
                    self.passed(passage)
                return True  # the end of a vehicle is the most work
        return True

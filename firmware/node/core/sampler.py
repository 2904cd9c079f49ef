"""The sampler: reads sensors at whole intervals of the clock, and has their records accepted."""

import asyncio

from node.core.log import describe
from node.sensors import SensorError
from node.wire import schema
from node.wire.const import const

_SLACK_MS = const(60000)
# An instant that the clock has jumped over, or a start has missed, by no more is sampled late.
_LATE_MS = const(30000)
# What a sensor is woken ahead of its warm-up: its commands take some of it.
_AHEAD_MS = const(3000)
_STEP_MS = const(1000)


class Sampler:
    """Reads `channels` and has `recorder` accept a record of each kind that they have fields of.

    A record is due at each whole `interval_s`. Channels with an interval of their own are read at
    its multiples: what came since the last record is added up in the next one. Where two sensors
    have a field, the first one's good value counts. A field whose sensors all failed is UNDEFINED,
    one without a sensor is not sampled. `battery()` gives volts, None or UNDEFINED. With `spread`
    lowest and highest values and deviations go into the records.

    `aim_s` is the instant that a deep sleep was to end at, 0 after no sleep. `quiet` (see `Quiet`),
    where there is one, says when not to hold up the other tasks. `phase_s` is how long after the
    whole interval this node samples, so that not all send at once. `traffic`, where there is one,
    has its `report(unix_s)` called with each record. `progress.within(ms)` is called before each
    wait.
    """

    def __init__(
        self,
        channels,
        battery,
        interval_s,
        recorder,
        clock,
        counters,
        log,
        aim_s=0,
        quiet=None,
        phase_s=0,
        spread=False,
        traffic=None,
    ) -> None:
        self._channels = channels
        self._battery = battery
        self._aim_ms = 1000 * aim_s
        self._quiet = quiet
        self._phase_s = phase_s
        self._spread = spread
        self._traffic = traffic
        self._recorder = recorder
        self._clock = clock
        self._counters = counters
        self._log = log
        self._last_ms = 0
        self._status = 0
        self._pressure_pa = None
        self._kinds = _kinds(channels)
        self.sampled = asyncio.Event()
        self._set(interval_s)

    def pace(self, interval_s: int) -> None:
        """Make records at another interval from now on."""
        if interval_s != self.interval_s:
            self._set(interval_s)
            self._clock.changed.set()  # who waits for the instant looks again

    def _set(self, interval_s: int) -> None:
        self.interval_s = interval_s
        step = interval_s
        for channel in self._channels:
            if channel.interval_s:
                step = _divisor(step, channel.interval_s)
        self._step_ms = 1000 * step
        self._phase_ms = 1000 * (self._phase_s % interval_s)
        self._late_ms = min(_LATE_MS, 500 * step)

    async def run(self, progress) -> None:
        """Sample for ever."""
        for channel in self._channels:
            try:
                if channel.early:
                    channel.open()
            except (OSError, SensorError, ValueError, TypeError) as error:
                self._log.debug(channel.name, describe(error))
        while True:
            instant = await self._next(progress)
            await self.sample(instant // 1000, progress)

    async def step(self, progress) -> None:
        """Look at the gusts, for ever."""
        while True:
            for channel in self._channels:
                if hasattr(channel.driver, "step"):
                    channel.driver.step()
            progress.within(_SLACK_MS)
            await self._clock.sleep_ms(_STEP_MS)

    @property
    def has_steps(self) -> bool:
        """Whether there is anything for `step` to do."""
        return any(["gust_ms" in channel.fields for channel in self._channels])

    @property
    def lead_ms(self) -> int:
        """How long before the next instant sensors have to be woken up."""
        instant = self.due() // 1000
        leads = [c.warm_up_ms + _AHEAD_MS for c in self._cold(instant)]
        return max(leads) if leads else 0

    def due(self) -> int:
        """Return the next instant to sample at, by the clock as it is now, in Unix ms.

        It is a whole multiple of the step since 1970, and the phase.
        """
        step, phase = self._step_ms, self._phase_ms
        target = ((self._clock.unix_ms() - phase) // step + 1) * step + phase
        if 0 <= self._last_ms - target < step:
            # The clock was put back a little: this instant has its record already.
            target = self._last_ms + step
        return target

    async def _next(self, progress) -> int:
        # Sleep until the next instant, by the clock as it is then: it may be set meanwhile.
        clock = self._clock
        target, aim = self.due(), self._aim_ms
        self._aim_ms = 0
        if self._missed(aim):
            target = aim
        while True:
            wait = target - clock.unix_ms()
            if wait <= 0:
                self._last_ms = target
                return target
            for channel in self._cold(target // 1000):
                lead = channel.warm_up_ms + _AHEAD_MS
                if wait > lead:
                    wait -= lead  # until then
                    break
                progress.within(channel.longest_ms)
                await channel.wake(self._log)
            else:
                wait = target - clock.unix_ms()
            progress.within(max(0, wait) + _SLACK_MS)
            clock.changed.clear()
            try:
                await asyncio.wait_for(clock.changed.wait(), max(0, wait) / 1000)
                if not self._missed(target):
                    target = self.due()
            except asyncio.TimeoutError:
                pass

    def _missed(self, instant: int) -> bool:
        return 0 <= self._clock.unix_ms() - instant <= self._late_ms

    def _cold(self, unix_s: int) -> list:
        """Return the channels that are read at an instant and have to warm up, slowest first."""
        cold = [
            c for c in self._channels if c.warm_up_ms and not c.awake and self._is_due(c, unix_s)
        ]
        cold.sort(key=lambda c: -c.warm_up_ms)
        return cold

    def _is_due(self, channel, unix_s: int) -> bool:
        each = channel.interval_s or self.interval_s
        return (unix_s - self._phase_ms // 1000) % each == 0

    async def sample(self, unix_s: int, progress) -> None:
        """Read what is due at `unix_s`, and have the records accepted if they are due."""
        await self._still()
        for channel in self._channels:
            if self._is_due(channel, unix_s):
                progress.within(channel.longest_ms)
                await self._read(channel)
        progress.within(_SLACK_MS)
        if (unix_s - self._phase_ms // 1000) % self.interval_s == 0:
            await self._report(unix_s)
        for channel in self._channels:
            if channel.awake and self._rests(channel):
                progress.within(channel.longest_ms)
                await channel.rest(self._log)
        if (unix_s - self._phase_ms // 1000) % self.interval_s == 0:
            self.sampled.set()

    def _rests(self, channel) -> bool:
        each = channel.interval_s or self.interval_s
        return 1000 * each > channel.warm_up_ms + 2 * _AHEAD_MS

    async def _report(self, unix_s: int) -> None:
        values: dict = {}
        for channel in self._channels:
            channel.put(values, self._spread)
        await self._still()
        if self._traffic is not None:
            self._traffic.report(unix_s)
            if not self._channels:
                return
        volts = self._battery()
        for kind, names in self._kinds:
            told = {name: values[name] for name in names if name in values}
            if volts is not None:
                told["battery_v"] = volts
                volts = None  # once is enough
            self._recorder.accept(kind, told, self._status, unix_s)
            self._status = 0

    async def _still(self) -> None:
        if self._quiet is not None:
            await self._quiet.wait()

    async def _read(self, channel) -> None:
        reading = await channel.read(self._clock, self._log, self._pressure_pa)
        failing = reading is None
        if failing != channel.failing:
            channel.failing = failing
            self._event(
                "fault_on" if failing else "fault_off", channel, "no reading", "works again"
            )
        if failing:
            self._status |= schema.SENSOR_FAULT
            self._counters.sensor_faults += 1
        suspect = not channel.take(reading, self._clock.uptime_ms())
        if suspect:
            self._status |= schema.SUSPECT
        if not failing and suspect != channel.suspect:
            channel.suspect = suspect
            code = "suspect_on" if suspect else "suspect_off"
            self._event(code, channel, "reading hardly possible", "plausible again")
        if not failing and not suspect and "pressure_pa" in channel.fields:
            self._pressure_pa = reading[channel.fields.index("pressure_pa")]

    def _event(self, code: str, channel, worse: str, better: str) -> None:
        text = worse if code[-2:] == "on" else better
        self._log.warning(channel.name, "sensor %d: %s" % (channel.place, text))
        self._recorder.accept(schema.EVENT, {"code": code, "detail": channel.place})


def _kinds(channels) -> list:
    """Return the record types that the channels have fields of, each with its fields' names."""
    kinds = []
    for kind in (schema.CLIMATE, schema.WEATHER):
        names = [row[0] for row in schema.RECORDS[kind][1]]
        if any([field in names for channel in channels for field in channel.fields]):
            kinds.append((kind, names))
    return kinds or [(schema.CLIMATE, ())]


def _divisor(a: int, b: int) -> int:
    """Return the greatest common divisor."""
    while b:
        a, b = b, a % b
    return a

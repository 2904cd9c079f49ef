"""The sampler: at each whole interval of the clock one climate record from all sensors."""

import asyncio

from node.core.log import describe
from node.sensors import SensorError
from node.wire import schema
from node.wire.cbor import UNDEFINED
from node.wire.const import const

_RETRY_MS = const(20)
_SLACK_MS = const(60000)
# An instant that the clock has jumped over, or a start has missed, by no more is sampled late.
_LATE_MS = const(30000)


class Channel:
    """A sensor of the configuration: its driver's class, and the driver while it works."""

    def __init__(self, driver_class, sensor) -> None:
        self.driver_class = driver_class
        self.place = sensor.place
        self.name = sensor.chip
        self.address = sensor.address
        self.settle_ms = sensor.settle_ms
        self.retries = sensor.retries
        self.driver = None
        self.failing = False


class Sampler:
    """Measures with `channels` on `bus` and has `recorder` accept the result.

    Where two sensors have a field, the first one's good value counts. A field whose sensors all
    failed is UNDEFINED, one without a sensor is not sampled. `battery()` gives volts, None or
    UNDEFINED. `aim_s` is the instant that a deep sleep was to end at, 0 after no sleep.
    `quiet` (see `Quiet`), where there is one, says when not to hold up the other tasks. `phase_s`
    is how long after the whole interval this node samples, so that not all send at once.
    `progress.within(ms)` is called before each wait.
    """

    def __init__(
        self,
        channels,
        bus,
        battery,
        interval_s,
        recorder,
        clock,
        counters,
        log,
        aim_s=0,
        quiet=None,
        phase_s=0,
    ) -> None:
        self._channels = channels
        self._bus = bus
        self._battery = battery
        self._aim_ms = 1000 * aim_s
        self._quiet = quiet
        self._phase_s = phase_s
        self._recorder = recorder
        self._clock = clock
        self._counters = counters
        self._log = log
        self._last_ms = 0
        self.sampled = asyncio.Event()
        self._set(interval_s)

    def pace(self, interval_s: int) -> None:
        """Sample at another interval from now on."""
        if interval_s != self.interval_s:
            self._set(interval_s)
            self._clock.changed.set()  # who waits for the instant looks again

    def _set(self, interval_s: int) -> None:
        self.interval_s = interval_s
        self._interval_ms = 1000 * interval_s
        self._phase_ms = 1000 * (self._phase_s % interval_s)
        self._late_ms = min(_LATE_MS, 500 * interval_s)

    async def run(self, progress) -> None:
        """Sample for ever."""
        settle_ms = sum([c.settle_ms * (c.retries + 1) for c in self._channels])
        while True:
            instant = await self._next(progress)
            progress.within(settle_ms + _SLACK_MS)
            await self.sample(instant // 1000)
            self.sampled.set()

    def due(self) -> int:
        """Return the next instant to sample at, by the clock as it is now, in Unix ms.

        It is a whole multiple of the interval since 1970, and the phase.
        """
        interval, phase = self._interval_ms, self._phase_ms
        target = ((self._clock.unix_ms() - phase) // interval + 1) * interval + phase
        if 0 <= self._last_ms - target < interval:
            # The clock was put back a little: this instant has its record already.
            target = self._last_ms + interval
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
            progress.within(wait + _SLACK_MS)
            clock.changed.clear()
            try:
                await asyncio.wait_for(clock.changed.wait(), wait / 1000)
                if not self._missed(target):
                    target = self.due()
            except asyncio.TimeoutError:
                pass

    def _missed(self, instant: int) -> bool:
        return 0 <= self._clock.unix_ms() - instant <= self._late_ms

    async def sample(self, unix_s: int) -> None:
        """Measure once with every sensor and have the record of `unix_s` accepted."""
        await self._still()
        values = {}
        status = 0
        for channel in self._channels:
            reading = await self._read(channel)
            if (reading is None) != channel.failing:
                channel.failing = reading is None
                self._event("fault_on" if channel.failing else "fault_off", channel)
            if reading is None:
                status |= schema.SENSOR_FAULT
                self._counters.sensor_faults += 1
                reading = (UNDEFINED,) * len(channel.driver_class.FIELDS)
            for i in range(len(reading)):
                field = channel.driver_class.FIELDS[i]
                if values.get(field, UNDEFINED) is UNDEFINED:
                    values[field] = reading[i]
        await self._still()
        volts = self._battery()
        if volts is not None:
            values["battery_v"] = volts
        self._recorder.accept(schema.CLIMATE, values, status, unix_s)

    async def _still(self) -> None:
        if self._quiet is not None:
            await self._quiet.wait()

    async def _read(self, channel: Channel):
        # One good reading, or None when all tries are used up.
        for attempt in range(channel.retries + 1):
            if attempt:
                await self._clock.sleep_ms(_RETRY_MS)
            try:
                if channel.driver is None:
                    channel.driver = channel.driver_class(self._bus, channel.address, self._clock)
                    if channel.settle_ms:
                        await self._clock.sleep_ms(channel.settle_ms)
                return await channel.driver.measure()
            except OSError as error:
                channel.driver = None
                self._log.debug(channel.name, describe(error))
                if not self._bus.recover():
                    self._log.debug("i2c", "held low")
            except SensorError as error:
                channel.driver = None
                self._log.debug(channel.name, describe(error))
        return None

    def _event(self, code: str, channel: Channel) -> None:
        text = "no reading" if channel.failing else "works again"
        self._log.warning(channel.name, "0x%02x %s" % (channel.address, text))
        self._recorder.accept(schema.EVENT, {"code": code, "detail": channel.place})

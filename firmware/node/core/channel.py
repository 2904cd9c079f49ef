"""One sensor at work: its driver, made anew after a fault, and what its readings add up to."""

from node.core.interval import Interval
from node.core.log import describe
from node.core.plausible import Plausible
from node.sensors import SensorError
from node.wire.const import const

_RETRY_MS = const(20)
_SLOW_MS = const(5000)
_SLACK_MS = const(60000)
# A driver whose sensor has to warm up does so by itself if nobody woke it, and may try it twice.
_ALONE = const(3)


class Channel:
    """A sensor of the configuration and its `fields`.

    `make()` returns its driver or raises what drivers raise; `recover()` frees its bus and tells
    whether it is free, None where there is nothing to free. An `early` one is made at the start:
    what counts has to count from then on, and what warms up has to say how long.
    """

    def __init__(self, sensor, fields, make, recover=None, early=False) -> None:
        self.place = sensor.place
        self.name = sensor.chip
        self.fields = fields
        self.interval_s = sensor.interval_s
        self.early = early
        self.driver = None
        self.failing = False
        self.suspect = False
        self.awake = False
        self._make = make
        self._recover = recover
        self._settle_ms = sensor.settle_ms
        self._retries = sensor.retries
        self._adjust = [sensor.adjust.get(name) for name in fields]
        self._checks = [Plausible(name, sensor.limits.get(name)) for name in fields]
        self._intervals = [Interval(name) for name in fields]

    @property
    def warm_up_ms(self) -> int:
        """How long the sensor has to be awake before it is read; 0: it needs no warm-up."""
        return getattr(self.driver, "WARM_UP_MS", 0)

    @property
    def longest_ms(self) -> int:
        """The longest that `read` may take."""
        return (self._retries + 1) * (self._settle_ms + _ALONE * self.warm_up_ms) + _SLACK_MS

    def open(self):
        """Return the driver, made if need be; raises OSError, SensorError."""
        if self.driver is None:
            self.driver = self._make()
        return self.driver

    async def wake(self, log) -> None:
        """Have a sensor with a warm-up begin it; a fault shows when it is read."""
        self.awake = True
        try:
            await self.open().wake()
        except (OSError, SensorError) as error:
            self._drop(log, error)

    async def rest(self, log) -> None:
        """Have a sensor with a warm-up sleep."""
        self.awake = False
        try:
            if self.driver is not None:
                await self.driver.sleep()
        except (OSError, SensorError) as error:
            self._drop(log, error)

    async def read(self, clock, log, pressure_pa=None):
        """Return one good reading, adjusted; None when all tries are used up.

        A slow sensor that has failed before gets one: the others wait meanwhile.
        """
        for attempt in range(self._retries + 1):
            start = clock.uptime_ms()
            if attempt:
                await clock.sleep_ms(_RETRY_MS)
            try:
                fresh = self.driver is None
                driver = self.open()
                if fresh and self._settle_ms:
                    await clock.sleep_ms(self._settle_ms)
                if pressure_pa is not None and hasattr(driver, "set_pressure"):
                    driver.set_pressure(pressure_pa)
                return self._adjusted(await driver.measure())
            except (OSError, SensorError, ValueError, TypeError) as error:
                # The last two: options that the driver does not take.
                self._drop(log, error)
                if self.failing and clock.uptime_ms() - start > _SLOW_MS:
                    break
        return None

    def _drop(self, log, error) -> None:
        self.driver = None
        log.debug(self.name, describe(error))
        if isinstance(error, OSError) and self._recover is not None and not self._recover():
            log.debug("i2c", "held low")

    def _adjusted(self, reading):
        if not any(self._adjust):
            return reading
        values = list(reading)
        for i in range(len(values)):
            pair = self._adjust[i]
            if pair is not None and isinstance(values[i], (int, float)):
                values[i] = values[i] * pair[0] + pair[1]
        return values

    def take(self, reading, uptime_ms: int) -> bool:
        """Take a reading, None for a failure, into the interval; return whether it is plausible."""
        plausible = True
        for i in range(len(self.fields)):
            if reading is None:
                self._intervals[i].fail()
                continue
            self._intervals[i].add(reading[i])
            plausible = self._checks[i].check(reading[i], uptime_ms) and plausible
        return plausible

    def put(self, values: dict, spread: bool) -> None:
        """Put what the interval gave into `values` and begin the next one."""
        for interval in self._intervals:
            interval.put(values, spread)

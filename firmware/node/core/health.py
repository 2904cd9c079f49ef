"""The health record: how the node itself is."""

from node.wire import schema
from node.wire.const import const

_SLACK_MS = const(60000)
_FIRST_MS = const(2000)
# The port's ticks, and so its sleep, are good for 6.2 days.
_LONGEST_SLEEP_S = const(86400)


class Health:
    """Has a health record accepted after the start and then each `interval_s`.

    `fixed` has the values that stay as they are, `measure()` returns those of the hardware (heap,
    link), both by the schema's names. `crumb.health_s` is when the last one was made, by the
    clock, so that deep sleep keeps the interval.
    """

    def __init__(self, interval_s, fixed, measure, recorder, spool, clock, counters, crumb) -> None:
        self._interval_s = interval_s
        self._fixed = fixed
        self._measure = measure
        self._recorder = recorder
        self._spool = spool
        self._clock = clock
        self._counters = counters
        self._crumb = crumb

    @property
    def due(self) -> bool:
        """Whether a record is due; also when the clock was set back or far ahead."""
        past = self._clock.unix_ms() // 1000 - self._crumb.health_s
        return not 0 <= past < self._interval_s

    async def run(self, progress) -> None:
        """Report for ever."""
        # The start is the busiest moment: heap and link say more a little later.
        progress.within(_FIRST_MS + _SLACK_MS)
        await self._clock.sleep_ms(_FIRST_MS)
        while True:
            self.report()
            left = self._interval_s
            while left > 0:
                part = min(left, _LONGEST_SLEEP_S)
                progress.within(1000 * part + _SLACK_MS)
                await self._clock.sleep_ms(1000 * part)
                left -= part

    def report(self) -> None:
        """Have one health record accepted."""
        values = dict(self._fixed)
        values.update(self._measure())
        counters = self._counters
        values["uptime_s"] = self._clock.uptime_ms() // 1000
        values["spool_records"] = self._spool.pending
        values["dropped"] = counters.dropped + counters.lost
        values["sensor_faults"] = counters.sensor_faults
        values["link_reconnects"] = counters.link_reconnects
        values["broker_reconnects"] = counters.broker_reconnects
        self._recorder.accept(schema.HEALTH, values)
        self._crumb.health_s = self._clock.unix_ms() // 1000

"""The application: its tasks, the time of day, and deep sleep where the profile asks for it."""

import asyncio

from node.wire import schema
from node.wire.const import const

# With deep sleep: how long a start may take to deliver before it sleeps on what it has, and how
# long at least it sleeps (ms).
_DELIVER_MS = const(30000)
_MIN_SLEEP_MS = const(1000)
_POLL_MS = const(100)
_STEP_EVENT_MS = const(2000)


class App:
    """Runs `tasks`, pairs (name, coroutine function of a Progress), under the supervisor.

    `sleep(ms)` is deep sleep and does not return; it is used if `config.deep_sleep`.
    """

    def __init__(
        self,
        config,
        clock,
        crumb,
        recorder,
        spool,
        sampler,
        health,
        supervisor,
        counters,
        log,
        sleep,
    ) -> None:
        self._config = config
        self._clock = clock
        self._crumb = crumb
        self._recorder = recorder
        self._spool = spool
        self._sampler = sampler
        self._health = health
        self._supervisor = supervisor
        self._counters = counters
        self._log = log
        self._sleep = sleep
        self._stop = asyncio.Event()

    def on_time(self, unix_ms: int) -> None:
        """Take the time of day from the network."""
        known = self._clock.known
        step_ms = self._clock.set(unix_ms)
        self._crumb.synced_s = unix_ms // 1000
        self._crumb.save()
        if not known:
            self._recorder.clock_set(step_ms)
        if not known or abs(step_ms) >= _STEP_EVENT_MS:
            self._log.info("ntp", "clock set, moved %d s" % (step_ms // 1000))
            detail = max(-0x80000000, min(0x7FFFFFFF, step_ms // 1000))
            self._recorder.accept(schema.EVENT, {"code": "clock_set", "detail": detail})

    async def run(self, tasks) -> None:
        """Run until deep sleep, or for ever."""
        for name, run in tasks:
            self._supervisor.start(name, run)
        if self._config.deep_sleep:
            self._supervisor.start("sleep", self._until_sleep)
        await self._supervisor.run(self._stop)
        await self._supervisor.stop()
        self._counters_kept()
        interval = 1000 * self._config.interval_s
        wait = interval - self._clock.unix_ms() % interval
        # The start takes its time as well: too short a sleep would miss the instant.
        self._sleep(wait if wait > _MIN_SLEEP_MS else wait + interval)

    async def _until_sleep(self, progress) -> None:
        clock = self._clock
        progress.within(1000 * self._config.interval_s + 2 * _DELIVER_MS)
        if not self._config.sensors:
            self._sampler.sampled.set()
        elif not self._sampler.sampled.is_set():
            await self._sampler.sampled.wait()
        if self._health.due:
            self._health.report()
        start = clock.ticks_ms()
        while self._spool.pending and clock.ticks_diff(clock.ticks_ms(), start) < _DELIVER_MS:
            await clock.sleep_ms(_POLL_MS)
        self._stop.set()
        while True:
            progress.within(_DELIVER_MS)
            await clock.sleep_ms(_DELIVER_MS // 2)

    def _counters_kept(self) -> None:
        self._crumb.save(self._counters.pack())
        self._log.info("app", "deep sleep")

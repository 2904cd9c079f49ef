"""The application: its tasks, the time of day, and deep sleep where the profile asks for it."""

import asyncio

from node.wire import schema
from node.wire.const import const

# With deep sleep: how long a start may take to deliver before it sleeps on what it has, how long
# to have the clock set when that is due, what is worth to sleep, and how long before the instant
# of the next sample it wakes up: the start takes some of it, the WiFi the rest.
_DELIVER_MS = const(30000)
_SYNC_MS = const(5000)
_SYNC_EACH_S = const(3600)
_MIN_SLEEP_MS = const(1000)
_LEAD_MS = const(1500)
_POLL_MS = const(100)
_STEP_EVENT_MS = const(2000)


class App:
    """Runs `tasks`, pairs (name, coroutine function of a Progress), under the supervisor.

    `sleep(ms)` is deep sleep and does not return; it is used if `config.deep_sleep`. `uplink` is
    one that itself knows when the node may sleep and what it has to keep (`finish`, `resume`,
    `pack`); without it delivery and time are waited for.
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
        uplink=None,
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
        self._uplink = uplink
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
            self._log.info("clock", "set, moved %d s" % (step_ms // 1000))
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
        self._crumb.aim_s = self._sampler.due() // 1000
        self.keep()
        self._log.info("app", "deep sleep")
        self._sleep(max(1, self._sleep_ms()))

    def keep(self) -> None:
        """Put what the next start needs into RTC memory; nothing may be done after that."""
        session = self._uplink.pack() if self._uplink is not None else b""
        self._crumb.save(self._counters.pack(), session)

    def _sleep_ms(self) -> int:
        sampler = self._sampler
        return sampler.due() - self._clock.unix_ms() - sampler.lead_ms - _LEAD_MS

    async def _until_sleep(self, progress) -> None:
        sampled, spool = self._sampler.sampled, self._spool
        # Once the clock is set the instant may be one more interval away. A sampler that crashes
        # must not keep the node awake.
        longest = 2000 * self._sampler.interval_s + _DELIVER_MS
        while True:
            if self._config.sensors:
                await self._while(lambda: not sampled.is_set(), longest, progress)
            if self._health.due:
                self._health.report()
            if self._uplink is not None:
                await self._uplink.finish(progress)
            else:
                await self._while(lambda: spool.pending, _DELIVER_MS, progress)
                if not spool.pending:
                    await self._while(self._is_sync_due, _SYNC_MS, progress)
            if self._sleep_ms() >= _MIN_SLEEP_MS:
                break
            if self._uplink is not None:
                self._uplink.resume()
            # The next instant is too near: it is waited for.
            sampled.clear()
            await self._clock.sleep_ms(_POLL_MS)
        self._stop.set()
        while True:
            progress.within(_DELIVER_MS)
            await self._clock.sleep_ms(_DELIVER_MS // 2)

    async def _while(self, condition, longest_ms: int, progress) -> None:
        start = self._clock.uptime_ms()
        while condition() and self._clock.uptime_ms() - start < longest_ms:
            progress.within(_DELIVER_MS)
            await self._clock.sleep_ms(_POLL_MS)

    def _is_sync_due(self) -> bool:
        past = self._clock.unix_ms() // 1000 - self._crumb.synced_s
        return not (self._clock.known and 0 <= past < _SYNC_EACH_S)

"""Tasks, and the watchdog that is fed only while every one of them gets on."""

import asyncio

from node.core.log import describe
from node.wire.const import const

_CHECK_MS = const(15000)
_RESTART_MS = const(1000)
_LONGEST_RESTART_MS = const(60000)
_SLACK_MS = const(30000)
# A task that ran this long before it crashed is not in a loop of crashes.
_STEADY_MS = const(600000)


class Progress:
    """What a task says of itself: that it will be back within a time."""

    def __init__(self, name: str, clock) -> None:
        self.name = name
        self._clock = clock
        self._until_ms = clock.uptime_ms() + _SLACK_MS

    def within(self, ms: int) -> None:
        """Promise to call again within `ms` milliseconds."""
        self._until_ms = self._clock.uptime_ms() + ms

    @property
    def late(self) -> bool:
        """Whether the promise was not kept."""
        return self._clock.uptime_ms() > self._until_ms


class Supervisor:
    """Runs coroutines `run(progress)` by name, restarts those that end, feeds the watchdog.

    `feed()` feeds it, `trace(error)` returns where an exception came from.
    """

    def __init__(self, clock, counters, log, feed, trace) -> None:
        self._clock = clock
        self._counters = counters
        self._log = log
        self._feed = feed
        self._trace = trace
        self._tasks: list = []
        self._progress: list = []

    def start(self, name: str, run) -> None:
        """Start a task."""
        progress = Progress(name, self._clock)
        self._progress.append(progress)
        self._tasks.append(asyncio.create_task(self._guard(run, progress)))

    async def run(self, until) -> None:
        """Watch over the tasks until the Event `until`."""
        watch = asyncio.create_task(self._watch())
        try:
            await until.wait()
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        # A task of its own: a wait with a timeout would make one for each look.
        while True:
            late = [p.name for p in self._progress if p.late]
            if late:
                self._log.error("app", "no progress: " + " ".join(late))
            else:
                self._feed()
            await self._clock.sleep_ms(_CHECK_MS)

    async def stop(self) -> None:
        """Cancel all tasks and wait for their end."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            try:
                await task
            except asyncio.CancelledError:
                pass
        self._tasks = []
        self._progress = []

    async def _guard(self, run, progress) -> None:
        # The task's edge: whatever ends it is counted, told, and followed by a new start.
        delay = _RESTART_MS
        while True:
            start = self._clock.uptime_ms()
            progress.within(_SLACK_MS)
            try:
                await run(progress)
                self._log.error(progress.name, "ended")
            except Exception as error:
                self._log.error(
                    progress.name, "crashed: %s %s" % (describe(error), self._trace(error))
                )
            self._counters.crashes += 1
            if self._clock.uptime_ms() - start > _STEADY_MS:
                delay = _RESTART_MS
            progress.within(delay + _SLACK_MS)
            await self._clock.sleep_ms(delay)
            delay = min(2 * delay, _LONGEST_RESTART_MS)

"""An engine in virtual time: it does not wait for what is due next, it goes on to it."""

import heapq
from collections.abc import Callable
from functools import partial
from typing import TypeVarTuple, Unpack

from citynode.virtual.engine import Engine, Timer
from citynode.virtual.world.clock import NS, VirtualClock

Ts = TypeVarTuple("Ts")

FOREVER_NS = 1 << 61
_LOOK_EACH = 256  # rounds between two looks at the descriptors

_Queue = list[tuple[int, int, Timer]]


class StalledError(RuntimeError):
    """Nothing is due any more, and what `run` was to wait for has not come."""


class VirtualEngine(Engine):
    """An engine whose clock jumps from one timer to the next.

    Calls are made one at a time, in the order of their times and, where these are equal, in the
    order in which they were asked for; between two of them the condition of `run` is asked. File
    descriptors and calls from other threads are served in between, at no particular virtual time:
    what depends on them is not the same in each run. `lead_ns` is the longest that a program may be
    ahead of the engine, where nothing could happen anyway.
    """

    lead_ns = 60 * NS

    def __init__(self, seed: int = 0, wall_start_ns: int | None = None) -> None:
        super().__init__(seed, wall_start_ns)
        self._virtual = VirtualClock(wall_start_ns)
        self.clock = self._virtual
        self._own: _Queue = []
        self._condition: Callable[[], bool] | None = None
        self._rounds = 0

    def call_own_at(self, due_ns: int, fn: Callable[[Unpack[Ts]], object], *args: *Ts) -> Timer:
        """As `call_at`, for what changes nothing outside of one board until that board acts."""
        timer = Timer(due_ns, partial(fn, *args))
        heapq.heappush(self._own, (due_ns, next(self._order), timer))
        return timer

    def run(self, until: int | Callable[[], bool] | None = None) -> None:
        """Run until `stop`, a time (ns of the engine's clock) or a condition that comes true.

        Raises StalledError where a condition was given and nothing is due any more.
        """
        self._condition = until if callable(until) else None
        try:
            super().run(until)
        finally:
            self._condition = None

    def next_shared_ns(self) -> int:
        """Return when the next call is due that may concern any board, `FOREVER_NS` if none is."""
        return _next(self._timers)

    def next_ns(self) -> int:
        """Return when the next call is due, `FOREVER_NS` if none is."""
        return min(_next(self._timers), _next(self._own))

    def reach(self, ns: int) -> bool:
        """Let time go on to `ns` if nothing else is to happen until then; else return False.

        This is for who would ask for a call at `ns` otherwise, as the last thing that it does.
        """
        for queue in (self._timers, self._own):
            if queue and queue[0][0] <= ns and _next(queue) <= ns:
                return False
        if self._posted or self._stopping.is_set():
            return False
        self._rounds += 1
        if self._rounds >= _LOOK_EACH or (self._condition is not None and self._condition()):
            return False
        self._virtual.move_to(ns)
        return True

    def _round(self) -> None:
        self._rounds += 1
        due = self.next_ns()
        if self._rounds >= _LOOK_EACH or self._posted or due == FOREVER_NS:
            self._rounds = 0
            if self._look_outside(wait=due == FOREVER_NS):
                return
        # Both are clean at the top: `next_ns` has thrown away what was cancelled.
        queue = self._timers
        if not queue or (self._own and self._own[0] < queue[0]):
            queue = self._own
        if queue:
            due, _, timer = heapq.heappop(queue)
            self._virtual.move_to(due)
            timer.fire()

    def _look_outside(self, *, wait: bool) -> bool:
        """Look at descriptors and posted calls; tell whether there were any."""
        blocks = wait and not self._posted and self._condition is None
        served = self._look(None if blocks else 0.0)
        if wait and not served and self._condition is not None and not self._condition():
            raise StalledError("nothing is due any more")
        return served


def _next(queue: _Queue) -> int:
    while queue and not queue[0][2].pending:
        heapq.heappop(queue)
    return queue[0][0] if queue else FOREVER_NS

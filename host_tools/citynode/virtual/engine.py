"""The engine: one thread, one clock, one order of events for all virtual boards of a rack.

Everything that waits, waits here: timers, file descriptors, calls from other threads. Because
nobody else waits or asks for the time, `virtualtime` can put another clock in the place of the real
one.
"""

import contextlib
import heapq
import itertools
import random
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVarTuple, Unpack

from citynode.virtual.world.chance import Chance
from citynode.virtual.world.clock import NS, Clock, RealClock


class HasFileno(Protocol):
    """A socket, pipe or file."""

    def fileno(self) -> int:
        """Return the file descriptor."""
        ...


FileLike = int | HasFileno
Ts = TypeVarTuple("Ts")


class Timer:
    """A call that is due at `due_ns` of the engine's clock."""

    __slots__ = ("_call", "due_ns")

    def __init__(self, due_ns: int, call: Callable[[], object]) -> None:
        self.due_ns = due_ns
        self._call: Callable[[], object] | None = call

    @property
    def pending(self) -> bool:
        """Whether the call is still to come."""
        return self._call is not None

    def cancel(self) -> None:
        """Take the call back; nothing happens if it was made or cancelled already."""
        self._call = None

    def fire(self) -> None:
        """Make the call unless it was cancelled (the engine's business)."""
        call, self._call = self._call, None
        if call is not None:
            call()


class Engine:
    """A single-threaded event loop with timers, file descriptors and seeded chance.

    `seed` decides every random stream; `wall_start_ns` is the world's date at the start (ns since
    1970; the machine's if None). Only `call_soon_threadsafe` and `stop` may be called from other
    threads. An exception in a callback ends `run` with that exception: nothing is swallowed.
    """

    def __init__(self, seed: int = 0, wall_start_ns: int | None = None) -> None:
        self.clock: Clock = RealClock(wall_start_ns)
        self.seed = seed
        self._chance = Chance(seed)
        self._timers: list[tuple[int, int, Timer]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        self._handlers: dict[int, list[Callable[[], object] | None]] = {}
        self._posted: deque[Callable[[], object]] = deque()
        self._stopping = threading.Event()
        self._closed = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self.add_reader(self._wake_in, self._drain_wake)

    # -- chance ---------------------------------------------------------------------------------

    def rng(self, name: str) -> random.Random:
        """Return a generator at the start of the stream `name` of this engine's seed."""
        return self._chance.rng(name)

    # -- calls ----------------------------------------------------------------------------------

    def call_at(self, due_ns: int, fn: Callable[[Unpack[Ts]], object], *args: *Ts) -> Timer:
        """Call `fn(*args)` when the clock reaches `due_ns`; equal times keep their order."""
        timer = Timer(due_ns, partial(fn, *args))
        heapq.heappush(self._timers, (due_ns, next(self._order), timer))
        return timer

    def call_own_at(self, due_ns: int, fn: Callable[[Unpack[Ts]], object], *args: *Ts) -> Timer:
        """As `call_at`, for what changes nothing outside of one board until that board acts."""
        return self.call_at(due_ns, fn, *args)

    def call_later(self, seconds: float, fn: Callable[[Unpack[Ts]], object], *args: *Ts) -> Timer:
        """Call `fn(*args)` in `seconds` from now."""
        return self.call_at(self.clock.now_ns() + round(seconds * NS), fn, *args)

    def call_soon_threadsafe(self, fn: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """Call `fn(*args)` on the engine's thread as soon as it can; from any thread."""
        self._posted.append(partial(fn, *args))
        self._wake()

    # -- file descriptors -----------------------------------------------------------------------

    def add_reader(self, file: FileLike, fn: Callable[[], object]) -> None:
        """Call `fn()` whenever `file` can be read without waiting (or has ended)."""
        self._watch(_fd(file), 0, fn)

    def remove_reader(self, file: FileLike) -> None:
        """Stop watching `file` for input; nothing happens if it was not watched."""
        self._watch(_fd(file), 0, None)

    def add_writer(self, file: FileLike, fn: Callable[[], object]) -> None:
        """Call `fn()` whenever `file` can take output."""
        self._watch(_fd(file), 1, fn)

    def remove_writer(self, file: FileLike) -> None:
        """Stop watching `file` for room; nothing happens if it was not watched."""
        self._watch(_fd(file), 1, None)

    def _watch(self, fd: int, side: int, fn: Callable[[], object] | None) -> None:
        pair = self._handlers.get(fd)
        if pair is None:
            if fn is None:
                return
            pair = self._handlers[fd] = [None, None]
            pair[side] = fn
            self._selector.register(fd, _events(pair))
            return
        pair[side] = fn
        if events := _events(pair):
            self._selector.modify(fd, events)
        else:
            del self._handlers[fd]
            self._selector.unregister(fd)

    # -- running --------------------------------------------------------------------------------

    def run(self, until: int | Callable[[], bool] | None = None) -> None:
        """Run until `stop`, a time (ns of the engine's clock) or a condition that comes true.

        The condition is asked after each round of events. An exception that a callback raises
        comes out of here; the engine can be run again after it.
        """
        deadline = self.call_at(until, self.stop) if isinstance(until, int) else None
        try:
            while not self._stopping.is_set() and not (callable(until) and until()):
                self._round()
        finally:
            self._stopping.clear()
            if deadline is not None:
                deadline.cancel()

    def stop(self) -> None:
        """Make `run` return after the call in progress; from any thread or signal handler."""
        self._stopping.set()
        self._wake()

    def close(self) -> None:
        """Release the engine's own descriptors; it cannot be run after that."""
        if not self._closed:
            self._closed = True
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()

    def _round(self) -> None:
        """Wait for the next thing that happens and make the calls that are due."""
        self._look(self._idle_s())
        now = self.clock.now_ns()
        while self._timers and self._timers[0][0] <= now and not self._stopping.is_set():
            heapq.heappop(self._timers)[2].fire()

    def _look(self, timeout_s: float | None) -> bool:
        """Serve descriptors and posted calls, waiting for the former; tell whether any was."""
        served = False
        for key, mask in self._selector.select(timeout_s):
            served = True
            for side, event in enumerate((selectors.EVENT_READ, selectors.EVENT_WRITE)):
                # An earlier call of this round may have taken the descriptor off the list.
                pair = self._handlers.get(key.fd)
                handler = pair[side] if pair and mask & event else None
                if handler is not None:
                    handler()
                if self._stopping.is_set():
                    return True
        # Calls posted or due from now on wait for the next round, or two calls that post each
        # other would keep the descriptors from being looked at.
        for _ in range(len(self._posted)):
            served = True
            self._posted.popleft()()
            if self._stopping.is_set():
                return True
        return served

    def _idle_s(self) -> float | None:
        """Return how long nothing is due (seconds), or None if nothing ever is."""
        if self._posted:
            return 0.0
        while self._timers and not self._timers[0][2].pending:
            heapq.heappop(self._timers)
        if not self._timers:
            return None
        return max(0, self._timers[0][0] - self.clock.now_ns()) / NS

    def _wake(self) -> None:
        # A full socket wakes the loop as well as one more byte would; a closed one has no loop.
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake_out.send(b"\0")

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_in.recv(4096):
                pass


def _fd(file: FileLike) -> int:
    return file if isinstance(file, int) else file.fileno()


def _events(pair: list[Callable[[], object] | None]) -> int:
    return (selectors.EVENT_READ if pair[0] else 0) | (selectors.EVENT_WRITE if pair[1] else 0)

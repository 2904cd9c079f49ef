"""Clocks: the only place of the virtual boards that reads the machine's time."""

import time
from typing import Protocol

NS = 1_000_000_000


class Clock(Protocol):
    """Time as an engine and all that lives on it sees it."""

    def now_ns(self) -> int:
        """Return the nanoseconds since the engine was made; never goes backwards."""
        ...

    def unix_ns(self) -> int:
        """Return the world's true time in nanoseconds since 1970 (UTC)."""
        ...


class RealClock:
    """The machine's monotonic clock, with the world's date laid over it.

    `wall_start_ns` is the date (ns since 1970) at the start; the machine's own if None. Stepping
    the machine's date later does not step the world's.
    """

    def __init__(self, wall_start_ns: int | None = None) -> None:
        self._start_ns = time.monotonic_ns()
        self._wall_start_ns = time.time_ns() if wall_start_ns is None else wall_start_ns

    def now_ns(self) -> int:
        """Return the nanoseconds since the clock was made."""
        return time.monotonic_ns() - self._start_ns

    def unix_ns(self) -> int:
        """Return the world's true time in nanoseconds since 1970 (UTC)."""
        return self._wall_start_ns + self.now_ns()

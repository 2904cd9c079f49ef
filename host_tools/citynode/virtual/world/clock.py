"""Clocks: the only place of the virtual boards that reads the machine's time."""

import time
from typing import Protocol

NS = 1_000_000_000
# The date at which worlds in virtual time begin if none is given: 2026-01-01 00:00 UTC.
VIRTUAL_START_NS = 1_767_225_600 * NS


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


class VirtualClock:
    """A clock that stands still until it is moved.

    `wall_start_ns` is the world's date (ns since 1970) at the start; 2026-01-01 if None.
    """

    def __init__(self, wall_start_ns: int | None = None) -> None:
        self._now_ns = 0
        self._wall_start_ns = VIRTUAL_START_NS if wall_start_ns is None else wall_start_ns

    def now_ns(self) -> int:
        """Return the nanoseconds since the clock was made."""
        return self._now_ns

    def unix_ns(self) -> int:
        """Return the world's true time in nanoseconds since 1970 (UTC)."""
        return self._wall_start_ns + self._now_ns

    def move_to(self, ns: int) -> None:
        """Go on to a time; nothing happens if it is over."""
        self._now_ns = max(self._now_ns, ns)

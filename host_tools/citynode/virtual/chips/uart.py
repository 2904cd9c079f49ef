"""What chips on a UART have in common: bytes that take their time, a supply, a plug."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from citynode.virtual.chips import SerialLine, Timeline, Timer

NS = 1_000_000_000
MS = 1_000_000
_BITS = 10  # of a byte with start and stop


class SerialChip(ABC):
    """A chip at `baud`; `faults` breaks it: "dead", "bad-sum" (in all that it sends), "noisy".

    A noisy line has a few bytes of noise in front of everything, which end as a frame may begin.
    """

    noise = b""

    def __init__(self, timeline: Timeline, baud: int) -> None:
        self.baud = baud
        self.faults: set[str] = set()
        self.on = True
        self._timeline = timeline
        self._line: SerialLine | None = None
        self._busy_ns = 0
        self._sending: list[tuple[int, bytes, Timer]] = []
        self._timers: list[Timer] = []

    # -- what a chip fills in -------------------------------------------------------------------

    @abstractmethod
    def hear(self, data: bytes) -> None:
        """Take what the board has sent."""

    @abstractmethod
    def start(self) -> None:
        """Start as after the supply came."""

    @abstractmethod
    def spoilt(self, data: bytes) -> bytes:
        """Return a frame whose sum is wrong."""

    # -- the outside ----------------------------------------------------------------------------

    def plug(self, line: SerialLine) -> None:
        """Connect the chip to a board."""
        line.baud = self.baud
        line.on_data = self._on_data
        self._line = line

    def unplug(self) -> None:
        """Pull the plug: what of a frame is not on the wire yet stays away."""
        self.on = False
        self._quiet()

    def power_up(self) -> None:
        """Give it its supply, anew if it had it."""
        self._quiet()
        self.on = True
        self.start()

    def supply(self, level: int) -> None:
        """Follow a switch in the supply."""
        if not level:
            self.unplug()
        elif not self.on:
            self.power_up()

    # -- what it uses ---------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The time in ns."""
        return self._timeline.clock.now_ns()

    def later(self, due_ns: int, call: Callable[[], object]) -> None:
        """Do something at a time, unless the supply goes before."""

        def fire() -> None:
            self._timers.remove(timer)
            call()

        timer = self._timeline.call_at(due_ns, fire)
        self._timers.append(timer)

    def say(self, data: bytes, after_ms: float = 0.0) -> None:
        """Send a frame, behind what is being sent; the board has it with its last bit."""
        if not self.on or "dead" in self.faults:
            return
        if "bad-sum" in self.faults:
            data = self.spoilt(data)
        if "noisy" in self.faults:
            data = self.noise + data
        start = max(self.now + round(after_ms * MS), self._busy_ns)
        self._busy_ns = start + len(data) * _BITS * NS // self.baud
        timer = self._timeline.call_at(self._busy_ns, self._deliver)
        self._sending.append((start, data, timer))

    def _deliver(self) -> None:
        _, data, _ = self._sending.pop(0)
        if self._line is not None:
            self._line.send(data)

    def _on_data(self, data: bytes, baud: int) -> None:
        if self.on and "dead" not in self.faults and abs(baud - self.baud) <= self.baud * 0.03:
            self.hear(data)

    def _quiet(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        sending, self._sending = self._sending, []
        for start, data, timer in sending:
            timer.cancel()
            out = max(0, self.now - start) * self.baud // (_BITS * NS)
            if out and self._line is not None:
                self._line.send(data[:out])
        self._busy_ns = 0

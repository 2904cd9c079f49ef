"""The time that bytes take on the serial line, for boards that are asked to keep it."""

from collections import deque
from collections.abc import Callable

from citynode.virtual.engine import Engine, Timer
from citynode.virtual.soc.line import bits_per_character
from citynode.virtual.soc.rfc2217 import Settings
from citynode.virtual.world.clock import NS

_SLICE_NS = 1_000_000  # bytes of one millisecond go together, as USB adapters hand them on


class Lane:
    """One direction of a serial line: bytes go in with their settings and come out in time.

    `deliver(data, settings)` gets them: at once when `paced` is false, else each byte when its
    last bit has passed. Bytes keep the settings they were sent with.
    """

    def __init__(
        self, engine: Engine, deliver: Callable[[bytes, Settings], object], *, paced: bool
    ) -> None:
        self._engine = engine
        self._deliver = deliver
        self._paced = paced
        self._queue: deque[tuple[bytearray, Settings]] = deque()
        self._free_ns = 0  # when the byte before the queue's first has passed
        self._timer: Timer | None = None
        self._when_idle: deque[Callable[[], object]] = deque()
        self.on_room: Callable[[], object] | None = None

    @property
    def pending(self) -> int:
        """How many bytes are still on their way."""
        return sum(len(data) for data, _ in self._queue)

    def send(self, data: bytes, settings: Settings) -> None:
        """Put bytes on the line."""
        if not data:
            return
        if not self._paced:
            self._deliver(data, settings)
            return
        if not self._queue:
            self._free_ns = max(self._free_ns, self._engine.clock.now_ns())
        if self._queue and self._queue[-1][1] == settings:
            self._queue[-1][0].extend(data)
        else:
            self._queue.append((bytearray(data), settings))
        self._plan()

    def clear(self) -> None:
        """Throw away what has not passed yet; calls that wait for the end are dropped too."""
        self._queue.clear()
        self._when_idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def when_idle(self, call: Callable[[], object]) -> None:
        """Call once all bytes sent so far have passed; at once if none are on their way."""
        if self._queue:
            self._when_idle.append(call)
        else:
            call()

    def _plan(self) -> None:
        if self._timer is not None or not self._queue:
            return
        data, settings = self._queue[0]
        byte_ns = _byte_ns(settings)
        count = min(len(data), max(1, int(_SLICE_NS / byte_ns)))
        self._timer = self._engine.call_at(self._free_ns + int(count * byte_ns), self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._engine.clock.now_ns()
        while self._queue:
            data, settings = self._queue[0]
            byte_ns = _byte_ns(settings)
            count = min(len(data), int((now - self._free_ns) / byte_ns))
            if count <= 0:
                break
            # Advancing by whole bytes, not to `now`, keeps a late timer from slowing the line.
            self._free_ns += int(count * byte_ns)
            out = bytes(data[:count])
            del data[:count]
            if not data:
                self._queue.popleft()
            self._deliver(out, settings)
            if self.on_room is not None:
                self.on_room()
        if not self._queue:
            while self._when_idle and not self._queue:
                self._when_idle.popleft()()
        self._plan()


def _byte_ns(settings: Settings) -> float:
    return bits_per_character(settings) * NS / settings.baud

"""JSN-SR04T and AJ-SR04M: ultrasonic in a serial mode, on a UART."""

from citynode.virtual.chips import Range, Timeline
from citynode.virtual.chips.a02yyuw import A02YYUW

_MEASURE_MS = 40.0


class JSNSR04T(A02YYUW):
    """The sensor; `ask` is the byte that it waits for (0x55, AJ-SR04M: 0x01), None: it does not.

    `bare`: its sum is without the head. It says 0 where it has no echo.
    """

    nearest_mm = 200

    def __init__(
        self, timeline: Timeline, seen: Range, *, ask: int | None = None, bare: bool = False
    ) -> None:
        self.ask = ask
        self.bare = bare
        super().__init__(timeline, seen)

    def start(self) -> None:
        """Start to measure, or to wait."""
        if self.ask is None:
            super().start()

    def hear(self, data: bytes) -> None:
        """Measure when asked."""
        if self.ask is not None and self.ask in data:
            self.later(self.now + round(_MEASURE_MS * 1e6), self.measure)

    def no_echo(self) -> int:
        """Return 0."""
        return 0

    def sum(self, body: bytes) -> int:
        """Return the sum of a frame."""
        return sum(body[1:] if self.bare else body) & 0xFF

"""DFRobot/DYP A02YYUW: ultrasonic (SEN0311 manual), on a UART.

Where nobody knows what is before it, it has no echo.
"""

from citynode.virtual.chips import Range, Timeline
from citynode.virtual.chips.uart import MS, SerialChip

_PERIOD_NS = 100 * MS
_START_NS = 500 * MS
_NO_ECHO = 0xFFFD


class A02YYUW(SerialChip):
    """The sensor, its RX low: what it measures, every 100 ms.

    `faults` beside those of `SerialChip`: "interfered" (another one's sound: 65534).
    """

    noise = b"\x12\xff"
    nearest_mm, reach_mm = 30, 4500

    def __init__(self, timeline: Timeline, seen: Range) -> None:
        super().__init__(timeline, 9600)
        self._seen = seen
        self.start()

    def start(self) -> None:
        """Start to measure."""
        self.later(self.now + _START_NS, self._tick)

    def hear(self, data: bytes) -> None:
        """Take no commands."""

    def spoilt(self, data: bytes) -> bytes:
        """Return a frame whose sum is wrong."""
        return data[:-1] + bytes((data[-1] ^ 0x40,))

    def _tick(self) -> None:
        self.later(self.now + _PERIOD_NS, self._tick)
        self.measure()

    def measure(self) -> None:
        """Send a distance."""
        seen = self._seen(self.now)
        mm = 0 if seen is None else round(seen[0])
        if "interfered" in self.faults:
            mm = 0xFFFE
        elif not mm or mm > self.reach_mm:
            mm = self.no_echo()
        else:
            mm = max(mm, self.nearest_mm)
        body = b"\xff" + mm.to_bytes(2, "big")
        self.say(body + bytes((self.sum(body),)))

    def no_echo(self) -> int:
        """Return what it sends when it hears nothing."""
        return _NO_ECHO

    def sum(self, body: bytes) -> int:
        """Return the sum of a frame."""
        return sum(body) & 0xFF

"""What Sensirion's sensors with 16-bit commands have in common on I2C (SCD4x, SPS30).

A command has words behind it, in both directions 16 bits with a CRC-8 each. An argument with a
wrong CRC is not acknowledged, and the command is not carried out.
"""

from abc import ABC, abstractmethod

from citynode.virtual.chips import Clock
from citynode.virtual.chips.sht4x import crc8, words

MS = 1_000_000


class WordTarget(ABC):
    """A target that takes commands; `faults` breaks it: "dead", "bad-crc" (in its answers)."""

    def __init__(self, clock: Clock, address: int) -> None:
        self.address = address
        self.faults: set[str] = set()
        self._clock = clock
        self._received = bytearray()
        self._refused = False
        self._answer = b""
        self._answer_ns = 0
        self._sending = b""
        self._busy_ns = 0

    # -- what a chip fills in -------------------------------------------------------------------

    @abstractmethod
    def present(self, now: int) -> bool:
        """Tell whether the chip listens at all."""

    @abstractmethod
    def takes(self, command: int) -> bool:
        """Tell whether the chip acknowledges a command in the state that it is in."""

    @abstractmethod
    def carry_out(self, command: int, arguments: list[int]) -> None:
        """Do what a command says."""

    # -- what it uses ---------------------------------------------------------------------------

    def busy(self, ms: float) -> None:
        """Do not listen for some time."""
        self._busy_ns = self._clock.now_ns() + round(ms * MS)

    def answer(self, *values: int, after_ms: float = 1.0) -> None:
        """Have words to read, some time from now."""
        self._answer = words(*values)
        self._answer_ns = self._clock.now_ns() + round(after_ms * MS)

    def start_over(self) -> None:
        """Forget what was said and heard."""
        self._received.clear()
        self._refused = False
        self._answer = self._sending = b""
        self._answer_ns = self._busy_ns = 0

    # -- the bus --------------------------------------------------------------------------------

    def begin(self, read: bool) -> bool:
        """Acknowledge when there is nothing else to do, a read only with something to give."""
        self._run()
        now = self._clock.now_ns()
        if "dead" in self.faults or not self.present(now) or now < self._busy_ns:
            return False
        if not read:
            self._refused = False
            return True
        if now < self._answer_ns:
            return False
        # An answer is given once.
        self._sending, self._answer = self._answer, b""
        if "bad-crc" in self.faults and self._sending:
            self._sending = self._sending[:2] + bytes((self._sending[2] ^ 1,)) + self._sending[3:]
        return bool(self._sending)

    def write(self, byte: int) -> bool:
        """Take a byte of a command or of its words."""
        if self._refused:
            return False
        self._received.append(byte)
        length = len(self._received)
        if length == 2:
            self._refused = not self.takes(int.from_bytes(self._received, "big"))
        elif length > 2 and length % 3 == 2:
            self._refused = crc8(bytes(self._received[-3:-1])) != byte
        return not self._refused

    def read(self) -> int:
        """Give the next byte; the line stays high behind the end."""
        byte, self._sending = (self._sending or b"\xff")[0], self._sending[1:]
        return byte

    def end(self) -> None:
        """Do what was said."""
        self._sending = b""
        self._run()

    def _run(self) -> None:
        received, self._received = bytes(self._received), bytearray()
        if len(received) >= 2 and not self._refused:
            values = [
                int.from_bytes(received[i : i + 2], "big") for i in range(2, len(received) - 2, 3)
            ]
            self._answer = b""
            self.carry_out(int.from_bytes(received[:2], "big"), values)

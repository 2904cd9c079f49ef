"""What chips on I2C have in common whose registers follow each other."""

from abc import ABC, abstractmethod

from citynode.virtual.chips import Clock

MS = 1_000_000


class RegisterChip(ABC):
    """A chip at `address`: a write sets the place and then writes, a read goes on from there.

    `faults` breaks it: "dead" (it does not answer).
    """

    def __init__(self, clock: Clock, address: int) -> None:
        self.address = address
        self.faults: set[str] = set()
        self.clock = clock
        self.place = 0
        self._first = True
        self.power_up()

    # -- what a chip fills in -------------------------------------------------------------------

    @abstractmethod
    def power_up(self) -> None:
        """Start as after the supply came."""

    @abstractmethod
    def load(self, place: int) -> int:
        """Return a register as it is read."""

    @abstractmethod
    def store(self, place: int, value: int) -> None:
        """Take what is written to a register."""

    def answers(self) -> bool:
        """Return whether it acknowledges its address."""
        return "dead" not in self.faults

    def after(self, place: int) -> int:
        """Return where a read goes on."""
        return (place + 1) & 0xFF

    # -- the bus --------------------------------------------------------------------------------

    def begin(self, read: bool) -> bool:
        """Acknowledge the address."""
        self._first = not read
        return self.answers()

    def write(self, byte: int) -> bool:
        """Take the place, and what is to be there."""
        if self._first:
            self._first = False
            self.place = byte
        else:
            self.store(self.place, byte)
            self.place = self.after(self.place)
        return True

    def read(self) -> int:
        """Give a register."""
        value = self.load(self.place)
        self.place = self.after(self.place)
        return value

    def end(self) -> None:  # noqa: B027
        """Take a STOP, which changes nothing."""

"""What a bench gives to its boards and to tests, whatever bench it is."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from citynode.boards import Board
from citynode.hil.slots import Slot
from citynode.identity import Identity, Store
from citynode.soak.listener import Address


class Switch(Protocol):
    """Something that can be switched: a board's supply, an access point."""

    def switch(self, on: bool) -> None:
        """Switch it; raises CitynodeError."""


class Site(Protocol):
    """A board's place while tests use it; `switches` are those of the slot's cuts."""

    @property
    def port(self) -> str:
        """The board's serial port."""
        ...

    @property
    def store(self) -> Store:
        """Where the board's identity is kept."""
        ...

    @property
    def switches(self) -> Mapping[str, Switch]:
        """What can be taken away from the board, by its name in CUTS."""
        ...

    def image(self, board: Board) -> bytes:
        """Return the MicroPython that is to run; raises CitynodeError."""
        ...

    def welcome(self, identity: Identity) -> None:
        """Take note of who the board is, before it sends anything."""


class Lab(Protocol):
    """A bench as one process of tests sees it."""

    @property
    def slots(self) -> Sequence[Slot]:
        """Its boards, in their order."""
        ...

    @property
    def given(self) -> Mapping[str, str | bytes]:
        """Settings of all identities: WiFi and broker."""
        ...

    @property
    def broker(self) -> Address | None:
        """Where the records of all nodes arrive."""
        ...

    @property
    def uplink(self) -> Mapping[str, object]:
        """Keys of a profile's uplink over WiFi."""
        ...

    @property
    def ca(self) -> bytes | None:
        """The certificate (DER) that nodes check the broker against."""
        ...

    @property
    def ntp(self) -> str:
        """The time server of nodes on WiFi."""
        ...

    @property
    def shared(self) -> bool:
        """Whether what is cut for one board is cut for others as well."""
        ...

    def open(self, slot: Slot) -> Site:
        """Take a board for as long as the tests run; raises CitynodeError."""
        ...

    def close(self) -> None:
        """Give everything back."""

"""What a soak needs of the place where its nodes are: a bench with ports, or a virtual city."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from citynode.soak.schedule import Due


@dataclass(frozen=True)
class Station:
    """A node of the site; `quiet_s` is the longest time that it is silent when all is well."""

    id: str
    board: str
    profile: str
    quiet_s: float = 0.0


class Ear(Protocol):
    """Who is told what happens at a site; times are seconds since the soak began."""

    def line(self, node: str, text: str, now_s: float) -> None:
        """Take a line from a node's serial port."""

    def message(self, topic: str, payload: bytes, now_s: float) -> None:
        """Take what arrived at broker or network server."""

    def link(self, node: str, rssi_dbm: float, snr_db: float | None, now_s: float) -> None:
        """Take how well a node was heard."""

    def joined(self, node: str, now_s: float) -> None:
        """Take note that a node has joined the network."""

    def on_air(self, node: str, seconds: float, now_s: float) -> None:
        """Take note that a node begins to send, for so long."""

    def change(self, what: str, now_s: float) -> None:
        """Take note of a port or broker that has gone or come back."""

    def began(self, fault: Due, now_s: float, did: str = "") -> None:
        """Take note of a fault that begins, and of what it did where the plan does not say that."""

    def ended(self, fault: Due, now_s: float) -> None:
        """Take note of a fault that is over."""


class Site(Protocol):
    """A place with nodes. Faults of a kind that is not in `kinds` it cannot do."""

    @property
    def stations(self) -> Sequence[Station]:
        """The nodes."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of faults that it can do."""
        ...

    @property
    def delivers(self) -> bool:
        """Whether messages can be heard, not ports alone."""
        ...

    @property
    def started_s(self) -> float:
        """When the soak began, by the site's own date (s since 1970)."""
        ...

    def open(self, ear: Ear, faults: Sequence[Due]) -> None:
        """Start the nodes, and have these faults done to them at their times."""

    def run(self, until_s: float) -> None:
        """Let time go on to `until_s`."""

    def erases(self, node: str) -> Mapping[int, int]:
        """Return how often each sector of a node's flash was erased, as far as that is known."""
        ...

    def energy_mah(self, node: str) -> float | None:
        """Return what a node has drawn from its battery (mAh), None if that is not known."""
        ...

    def close(self) -> None:
        """Let go of everything."""

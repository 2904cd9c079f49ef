"""What the air asks of those who use it: an engine's time and chance, and a station's receiver."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from citynode.virtual.air.frames import Frame, Modulation


class Pending(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Take it back."""
        ...


class Now(Protocol):
    """A clock."""

    def now_ns(self) -> int:
        """Return the nanoseconds since the engine was made."""
        ...


class Timeline(Protocol):
    """What the air and the radios need of an engine."""

    @property
    def clock(self) -> Now:
        """The time."""
        ...

    def call_at(self, due_ns: int, fn: Callable[[], object], /) -> Pending:
        """Call `fn()` at a time."""
        ...

    def rng(self, name: str) -> random.Random:
        """Return the start of a stream of chance."""
        ...

    def run(self, until: Callable[[], bool]) -> None:
        """Run until a condition comes true, which is asked after each round of events."""
        ...


@dataclass(slots=True, eq=False)
class Reception:
    """A frame as one receiver gets it.

    `power_dbm` is at the receiver's antenna. `header_ok` is known from the end of the header on,
    `payload` and `payload_ok` at the end of the frame: what came out of the demodulator, and
    whether it is what the sender put in.
    """

    frame: Frame
    power_dbm: float
    snr_db: float
    detected_ns: int
    header_ok: bool = True
    payload: bytes = b""
    payload_ok: bool = False


class Receiver(Protocol):
    """A station's receiver while it listens; the calls come in the order of a frame's parts."""

    @property
    def name(self) -> str:
        """The station."""
        ...

    @property
    def noise_figure_db(self) -> float:
        """How much noise it adds."""
        ...

    @property
    def capacity(self) -> int:
        """How many frames it can follow at once."""
        ...

    def tuned(self, modulation: Modulation) -> bool:
        """Tell whether its preamble detector answers to such a frame."""
        ...

    def on_preamble(self, reception: Reception) -> None:
        """Hear that the detector has locked."""
        ...

    def on_sync(self, reception: Reception) -> bool:
        """Hear the sync word; return whether it is the own one, or the lock is given up."""
        ...

    def on_header(self, reception: Reception) -> bool:
        """Hear the end of the header; return whether to go on."""
        ...

    def on_end(self, reception: Reception) -> None:
        """Hear the end of the frame."""
        ...


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on the air.

    `kind`: "sent", "cut" (the sender gave up), "heard", or "missed" with a `reason`: "weak", "late"
    (too little preamble left), "busy" (following another), "collision", "sync", "header", "crc",
    "lost".
    """

    at_ns: int
    kind: str
    frame: Frame
    receiver: str = ""
    reason: str = ""

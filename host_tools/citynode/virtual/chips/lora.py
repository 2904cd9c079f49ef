"""What the LoRa radios have in common: a station on the air, an SPI target, and lines."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum

from citynode.virtual.air.frames import Frame, Modulation
from citynode.virtual.air.medium import Air
from citynode.virtual.air.stations import Pending, Reception

US = 1_000
MS = 1_000_000
CRYSTAL_HZ = 32_000_000
# What leaves the board where the amplifier that was chosen has no antenna, or the switch is wrong.
UNCONNECTED_DB = 40.0
# Errata that cost sensitivity name no figure: this one is assumed.
ERRATUM_DB = 3.0


class Activity(Enum):
    """What a radio's antenna is used for."""

    NONE = "none"
    RECEIVING = "receiving"
    SENDING = "sending"


class LoRaRadio(ABC):
    """A radio called `name` on the air; `air` gives it its time and chance.

    `on_line(line)` is called when a line ("dio0", "busy" …) may have changed, `on_activity()` when
    `activity` may have. `faults` breaks it:
    "dead" (it does not answer), "no-tx-done" (it sends and never says so), "deaf" (its receiver
    neither hears nor gives up), and what the chip's own class names.
    """

    capacity = 1

    def __init__(self, air: Air, name: str) -> None:
        self.air = air
        self.name = name
        self.faults: set[str] = set()
        self.on_line: Callable[[str], object] = lambda line: None
        self.on_activity: Callable[[], object] = lambda: None
        self._calls: list[Pending] = []
        self._frame: Frame | None = None
        self._tuning: Modulation | None = None
        self._held = False

    # -- time -----------------------------------------------------------------------------------

    def now_ns(self) -> int:
        """Return the engine's time."""
        return self.air.engine.clock.now_ns()

    def later(self, due_ns: int, call: Callable[[], object]) -> None:
        """Do something at a time, unless the radio goes into another mode before."""
        self._calls.append(self.air.engine.call_at(due_ns, call))

    # -- lines ----------------------------------------------------------------------------------

    @abstractmethod
    def line(self, name: str) -> int:
        """Return the level of an output."""

    @abstractmethod
    def power_up(self) -> None:
        """Start as after the supply came back."""

    def reset_line(self, level: int) -> None:
        """Hear NRESET; while it is low the chip does nothing."""
        if not level:
            self._held = True
            self.quiet()
        elif self._held:
            self._held = False
            self.power_up()

    # -- the air --------------------------------------------------------------------------------

    def quiet(self) -> None:
        """Leave the air: stop sending, receiving and all that was to come."""
        for call in self._calls:
            call.cancel()
        self._calls.clear()
        self.air.deafen(self)
        self._tuning = None
        if self._frame is not None:
            self.air.cut(self._frame)
            self._frame = None
        self.on_activity()

    @property
    def activity(self) -> Activity:
        """What it does on the air."""
        if self._frame is not None:
            return Activity.SENDING
        return Activity.NONE if self._tuning is None else Activity.RECEIVING

    def send(
        self,
        payload: bytes,
        modulation: Modulation,
        power_dbm: float,
        start_ns: int,
        impairment_db: float = 0.0,
    ) -> int:
        """Send a frame and return when it ends."""
        self._frame = self.air.transmit(
            self.name, payload, modulation, power_dbm, start_ns, impairment_db=impairment_db
        )
        self.on_activity()
        return self._frame.end_ns

    def carry(self, freq_hz: int, power_dbm: float, start_ns: int) -> None:
        """Send a bare carrier until something else is done."""
        self._frame = self.air.carry(self.name, freq_hz, power_dbm, start_ns)
        self.on_activity()

    def receive(self, tuning: Modulation, since_ns: int) -> None:
        """Listen from a time on for frames of a kind."""
        self._tuning = tuning
        self.on_activity()
        if "deaf" not in self.faults:
            self.air.listen(self, since_ns)

    def tuned(self, modulation: Modulation) -> bool:
        """Tell whether the detector answers to such chirps.

        The carrier may be off by 25 % of the bandwidth (SX1302 datasheet rev. 1.0, FERR).
        """
        own = self._tuning
        return (
            own is not None
            and own.sf == modulation.sf
            and own.bw_hz == modulation.bw_hz
            and own.iq_inverted == modulation.iq_inverted
            and own.legacy == modulation.legacy
            and 4 * abs(own.freq_hz - modulation.freq_hz) <= own.bw_hz
        )

    def demodulated(self, reception: Reception, length: int) -> tuple[bytes, bool]:
        """Return the payload as this receiver's settings have it, and whether it came out right.

        `length` is what the receiver expects where there is no header.
        """
        own = self._tuning
        sent = reception.frame.modulation
        payload = reception.payload
        if own is None:
            return b"", False
        alike = own.implicit == sent.implicit and own.low_rate == sent.low_rate
        if own.implicit:
            alike = alike and own.cr == sent.cr and own.crc == sent.crc
            alike = alike and length == len(payload)
            payload = payload[:length].ljust(length, b"\0")
        if not alike:
            return self.air.garble(payload), False
        return payload, reception.payload_ok

    @abstractmethod
    def on_preamble(self, reception: Reception) -> None:
        """Hear that the detector has locked."""

    @abstractmethod
    def on_sync(self, reception: Reception) -> bool:
        """Hear the sync word."""

    @abstractmethod
    def on_header(self, reception: Reception) -> bool:
        """Hear the end of the header."""

    @abstractmethod
    def on_end(self, reception: Reception) -> None:
        """Hear the end of the frame."""

    @property
    @abstractmethod
    def noise_figure_db(self) -> float:
        """How much noise the receiver adds, as it is set."""

"""The gateways of a network: what they heard, what they are asked to send, and when they may."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from citynode.virtual.air.frames import Modulation
from citynode.virtual.air.gateway import Gateway, Uplink
from citynode.virtual.air.jit import TX_LEAD_US
from citynode.virtual.air.network.region import BANDS, band
from citynode.virtual.air.stations import Pending
from citynode.virtual.world.clock import NS, Clock

_HOUR_NS = 3600 * NS
_MS = 1_000_000
_GAP_NS = 1000 * TX_LEAD_US  # a forwarder wants it between two transmissions


class Timeline(Protocol):
    """What a network needs of an engine."""

    @property
    def clock(self) -> Clock:
        """The time, and the date."""
        ...

    def call_at(self, due_ns: int, fn: Callable[[], object], /) -> Pending:
        """Call `fn()` at a time."""
        ...

    def rng(self, name: str) -> random.Random:
        """Return the start of a stream of chance."""
        ...


@dataclass(frozen=True)
class Downlink:
    """A frame to be sent `delay_ns` behind the end of the uplink that `context` stands for.

    `context` is the gateway's own time of that end; `at_ns` is the start on the network's clock.
    """

    payload: bytes
    freq_hz: int
    sf: int
    bw_hz: int
    power_dbm: int
    delay_ns: int
    at_ns: int
    context: int

    @property
    def modulation(self) -> Modulation:
        """How it is sent: IQ inverted and without CRC."""
        return Modulation(self.freq_hz, self.sf, self.bw_hz, iq_inverted=True, crc=False)

    @property
    def airtime_ns(self) -> int:
        """How long it is on the air."""
        return self.modulation.airtime_ns(len(self.payload))


class Antenna(Protocol):
    """A gateway as the network sees it."""

    @property
    def eui(self) -> bytes:
        """Its EUI, 8 bytes."""
        ...

    def send(self, downlink: Downlink, done: Callable[[str | None], object]) -> None:
        """Send, and call `done` with an error of TX_ACK: "NONE" where it will be sent.

        None says that the gateway has not answered.
        """
        ...


@dataclass(frozen=True)
class Heard:
    """An uplink as one gateway has heard it; `end_ns` is on the network's clock."""

    antenna: Antenna
    payload: bytes
    freq_hz: int
    sf: int
    bw_hz: int
    cr: int
    rssi_dbm: float
    snr_db: float
    end_ns: int
    context: int


class AirAntenna:
    """The door to the air: a gateway of the medium, whose times are exact."""

    def __init__(self, gateway: Gateway, eui: bytes, on_heard: Callable[[Heard], object]) -> None:
        self.gateway = gateway
        self.eui = eui
        self._on_heard = on_heard
        self._before = gateway.on_uplink
        gateway.on_uplink = self._hear

    def _hear(self, uplink: Uplink) -> None:
        self._before(uplink)
        self._on_heard(
            Heard(
                self, uplink.payload, uplink.freq_hz, uplink.sf, uplink.bw_hz, uplink.cr,
                uplink.rssi_dbm, uplink.snr_db, uplink.end_ns, uplink.end_ns,
            )
        )  # fmt: skip

    def send(self, downlink: Downlink, done: Callable[[str | None], object]) -> None:
        """Send at the exact time; TOO_LATE where that is over."""
        try:
            self.gateway.send(
                downlink.payload,
                at_ns=downlink.context + downlink.delay_ns,
                freq_hz=downlink.freq_hz,
                sf=downlink.sf,
                bw_hz=downlink.bw_hz,
                power_dbm=float(downlink.power_dbm),
            )
        except ValueError:
            done("TOO_LATE")
        else:
            done("NONE")


class Diary:
    """What one gateway has sent in the last hour and is going to send."""

    def __init__(self, *, duty_cycle: bool) -> None:
        self._duty_cycle = duty_cycle
        self._sendings: deque[tuple[int, int, int | None]] = deque()

    def refusal(self, downlink: Downlink) -> str | None:
        """Return why it cannot be sent: COLLISION_PACKET or DUTY_CYCLE_OVERFLOW."""
        start, airtime = downlink.at_ns, downlink.airtime_ns
        while self._sendings and self._sendings[0][1] < start - _HOUR_NS:
            self._sendings.popleft()
        if any(
            start < end + _GAP_NS and begin < start + airtime + _GAP_NS
            for begin, end, _ in self._sendings
        ):
            return "COLLISION_PACKET"
        index = band(downlink.freq_hz)
        if self._duty_cycle and index is not None:
            used = sum(
                end - begin
                for begin, end, where in self._sendings
                if where == index and end > start - _HOUR_NS
            )
            if used + airtime > BANDS[index][2] * _MS:
                return "DUTY_CYCLE_OVERFLOW"
        return None

    def book(self, downlink: Downlink) -> None:
        """Take the time."""
        end = downlink.at_ns + downlink.airtime_ns
        self._sendings.append((downlink.at_ns, end, band(downlink.freq_hz)))

    def cancel(self, downlink: Downlink) -> None:
        """Give the time back: the gateway has refused."""
        end = downlink.at_ns + downlink.airtime_ns
        self._sendings.remove((downlink.at_ns, end, band(downlink.freq_hz)))

"""A gateway's radio: hears all channels and spreading factors, and sends when it is told to."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from citynode.virtual.air.frames import PUBLIC_SYNC_WORD, Frame, Modulation
from citynode.virtual.air.medium import Air
from citynode.virtual.air.stations import Reception
from citynode.virtual.world.clock import NS

_PATHS = 8  # frames that an SX1301 demodulates at once (datasheet, "8 x LoRa demodulators")
_NOISE_FIGURE_DB = (
    4.0  # gives the -126.5 dBm at SF7 and -139 dBm at SF12 of the SX1301 reference design
)
_KEPT = 10_000
_EIRP_DBM = 14.0


@dataclass(frozen=True, slots=True)
class Uplink:
    """A frame that a gateway has heard whole, with the times of its first and last instant."""

    payload: bytes
    start_ns: int
    end_ns: int
    freq_hz: int
    sf: int
    bw_hz: int
    cr: int
    rssi_dbm: float
    snr_db: float
    frame: Frame


class Gateway:
    """A station that stands in for the network: LoRaWAN's public sync word, IQ as nodes send it.

    `uplinks` has what was heard with a right CRC and not yet taken (the last 10,000);
    `on_uplink(uplink)` is called at the end of each. What it sends has the IQ inverted and no CRC,
    as downlinks have. While it sends, it hears nothing; while it follows `paths` frames, it misses
    others.
    """

    capacity = _PATHS
    noise_figure_db = _NOISE_FIGURE_DB

    def __init__(
        self,
        air: Air,
        name: str = "gateway",
        *,
        sync_word: int = PUBLIC_SYNC_WORD,
        paths: int = _PATHS,
        on_uplink: Callable[[Uplink], object] = lambda uplink: None,
    ) -> None:
        self.name = name
        self.air = air
        self.sync_word = sync_word
        self.capacity = paths
        self.on_uplink = on_uplink
        self.uplinks: deque[Uplink] = deque(maxlen=_KEPT)
        self.crc_errors = 0
        air.listen(self, air.engine.clock.now_ns())

    # -- what a test does -----------------------------------------------------------------------

    def close(self) -> None:
        """Hear nothing any more."""
        self.air.deafen(self)

    def next_uplink(self, timeout_s: float) -> Uplink:
        """Run the engine until there is an uplink, and take it; raises TimeoutError.

        For the thread that owns the engine; where another one runs it, use `on_uplink`.
        """
        engine = self.air.engine
        limit = engine.clock.now_ns() + round(timeout_s * NS)
        guard = engine.call_at(limit, lambda: None)  # the condition is asked after each event
        engine.run(until=lambda: bool(self.uplinks) or engine.clock.now_ns() >= limit)
        guard.cancel()
        if not self.uplinks:
            raise TimeoutError(f"no uplink in {timeout_s} s")
        return self.uplinks.popleft()

    def send(
        self,
        payload: bytes,
        *,
        at_ns: int,
        freq_hz: int,
        sf: int,
        bw_hz: int = 125_000,
        power_dbm: float = _EIRP_DBM,
        **other: Any,
    ) -> Frame:
        """Send a downlink whose preamble starts at `at_ns`; `other` are fields of Modulation.

        Raises ValueError if that time is over.
        """
        fields = {"iq_inverted": True, "crc": False, "sync_word": self.sync_word, **other}
        modulation = Modulation(freq_hz, sf, bw_hz, **fields)
        late_ns = self.air.engine.clock.now_ns() - at_ns
        if late_ns > 0:
            raise ValueError(f"{late_ns} ns too late to send")
        return self.air.transmit(self.name, payload, modulation, power_dbm, at_ns)

    def answer(self, uplink: Uplink, payload: bytes, delay_s: float = 1.0, **other: Any) -> Frame:
        """Send a downlink `delay_s` behind the end of an uplink, on its channel as RX1 does."""
        fields = {"freq_hz": uplink.freq_hz, "sf": uplink.sf, "bw_hz": uplink.bw_hz, **other}
        return self.send(payload, at_ns=uplink.end_ns + round(delay_s * NS), **fields)

    # -- the air's calls ------------------------------------------------------------------------

    def tuned(self, modulation: Modulation) -> bool:
        """Tell whether it is an uplink, on whatever channel."""
        return not modulation.iq_inverted and not modulation.implicit

    def on_preamble(self, reception: Reception) -> None:
        """Take a path for it."""

    def on_sync(self, reception: Reception) -> bool:
        """Tell whether it is of the own network."""
        return reception.frame.modulation.sync_word == self.sync_word

    def on_header(self, reception: Reception) -> bool:
        """Follow what has a header."""
        return reception.header_ok

    def on_end(self, reception: Reception) -> None:
        """Give the uplink to who waits for it."""
        frame = reception.frame
        m = frame.modulation
        if not reception.payload_ok or m.low_rate != m.wants_low_rate:
            self.crc_errors += 1
            return
        uplink = Uplink(
            reception.payload, frame.start_ns, frame.end_ns, m.freq_hz, m.sf, m.bw_hz, m.cr,
            reception.power_dbm, reception.snr_db, frame,
        )  # fmt: skip
        self.uplinks.append(uplink)
        self.on_uplink(uplink)

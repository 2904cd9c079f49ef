"""The air between the stations of a rack: who hears which frame, when, and how well."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from citynode.virtual.air.frames import Frame, Modulation
from citynode.virtual.air.propagation import (
    BEST_SNR_DB,
    Links,
    noise_floor_dbm,
    rejection_db,
    sensitivity_dbm,
)
from citynode.virtual.air.stations import Event, Receiver, Reception, Timeline

# Upchirps that a receiver needs to lock. LoRaMac-node (region/Region.h) and LMIC (MINRX_SYMS) both
# hold that a window of five symbols is the least that works, and that with a preamble of eight it
# may then be off by one and a half either way: five symbols of the window must be preamble.
DETECT_SYMBOLS = 5
LONGEST = 255  # bytes that a header can announce
_NEVER_NS = 1 << 62


@dataclass(slots=True, eq=False)
class _Session:
    """One opening of a receiver."""

    since_ns: int
    receptions: list[Reception] = field(default_factory=list)


class _Rule:
    """Picks the first `count` frames that match, for one receiver or all."""

    def __init__(self, match: Callable[[Frame], bool], count: int, at: str | None) -> None:
        self._match = match
        self._count = count
        self._at = at
        self._picked: set[int] = set()

    def picks(self, frame: Frame, receiver: str) -> bool:
        if self._at not in (None, receiver):
            return False
        if frame.number not in self._picked:
            if len(self._picked) >= self._count or not self._match(frame):
                return False
            self._picked.add(frame.number)
        return True


class Air:
    """One radio medium for all stations of a rack.

    Stations are known by their names. All times are those of the engine's clock (ns); what happens
    at a time is computed from that time, not from when the engine got round to it.
    """

    def __init__(self, engine: Timeline, shadowing_db: float = 0.0) -> None:
        self.engine = engine
        self.links = Links(engine.rng, shadowing_db)
        self._chance = engine.rng("air")
        self._frames: list[Frame] = []  # on the air, and those that one on the air has met
        self._number = 0
        self._sessions: dict[Receiver, _Session] = {}
        self._observers: list[Callable[[Event], object]] = []
        self._losses: list[_Rule] = []
        self._corruptions: list[_Rule] = []

    # -- what a test does -----------------------------------------------------------------------

    def observe(self, observer: Callable[[Event], object]) -> None:
        """Call `observer(event)` at everything that happens."""
        self._observers.append(observer)

    def lose(
        self, match: Callable[[Frame], bool], count: int = 1, *, at: str | None = None
    ) -> None:
        """Let nobody (or not the receiver `at`) hear the next `count` frames that match."""
        self._losses.append(_Rule(match, count, at))

    def corrupt(
        self, match: Callable[[Frame], bool], count: int = 1, *, at: str | None = None
    ) -> None:
        """Spoil the payload of the next `count` frames that match, everywhere or at one place."""
        self._corruptions.append(_Rule(match, count, at))

    # -- what a transmitter does ----------------------------------------------------------------

    def transmit(
        self,
        sender: str,
        payload: bytes,
        modulation: Modulation,
        power_dbm: float,
        start_ns: int | None = None,
        *,
        impairment_db: float = 0.0,
    ) -> Frame:
        """Put a frame on the air from `start_ns` on (now if None); ValueError above 255 bytes."""
        if len(payload) > LONGEST:
            raise ValueError(f"a LoRa frame has no room for {len(payload)} bytes")
        start = self.engine.clock.now_ns() if start_ns is None else start_ns
        self._number += 1
        frame = Frame(
            self._number, sender, bytes(payload), modulation, power_dbm, start, impairment_db
        )
        self.engine.call_at(start, partial(self._begin, frame))
        return frame

    def carry(self, sender: str, freq_hz: int, power_dbm: float, start_ns: int) -> Frame:
        """Put a bare carrier on the air, until it is cut."""
        frame = self.transmit(
            sender, b"", Modulation(freq_hz, sf=12, carrier=True), power_dbm, start_ns
        )
        frame.end_ns = _NEVER_NS
        return frame

    def cut(self, frame: Frame) -> None:
        """End a frame now, or before it has begun."""
        now = self.engine.clock.now_ns()
        if now < frame.end_ns:
            frame.cut = True
            frame.end_ns = max(now, frame.start_ns)
            self._tell(now, "cut", frame)

    # -- what a receiver does -------------------------------------------------------------------

    def listen(self, receiver: Receiver, since_ns: int) -> None:
        """Open a receiver; it hears what comes from `since_ns` on."""
        session = self._sessions[receiver] = _Session(since_ns)
        now = self.engine.clock.now_ns()
        for frame in self._frames:
            if frame.end_ns > now:
                self._consider(receiver, session, frame, since_ns)

    def deafen(self, receiver: Receiver) -> None:
        """Close a receiver; nothing happens if it is not open."""
        self._sessions.pop(receiver, None)

    def active(self, receiver: Receiver) -> bool:
        """Tell whether a frame that `receiver` could follow is on the air."""
        now = self.engine.clock.now_ns()
        return any(
            frame.overlaps(now, now + 1)
            and not frame.modulation.carrier
            and receiver.tuned(frame.modulation)
            and self._audible(receiver, frame)
            for frame in self._frames
        )

    def level_dbm(self, receiver: Receiver, freq_hz: int, bw_hz: int) -> float:
        """Return the power in a channel at `receiver`'s antenna, noise included."""
        now = self.engine.clock.now_ns()
        total = 10 ** (noise_floor_dbm(bw_hz, receiver.noise_figure_db) / 10)
        for frame in self._frames:
            apart = abs(frame.modulation.freq_hz - freq_hz)
            if frame.overlaps(now, now + 1) and apart < (frame.modulation.bw_hz + bw_hz) / 2:
                total += 10 ** (self._power_dbm(receiver, frame) / 10)
        return 10 * math.log10(total)

    # -- the way of a frame ---------------------------------------------------------------------

    def _begin(self, frame: Frame) -> None:
        if frame.cut:
            return
        alive = min((f.start_ns for f in self._frames if f.end_ns > frame.start_ns), default=None)
        self._frames = [f for f in self._frames if alive is not None and f.end_ns > alive]
        self._frames.append(frame)
        self._tell(frame.start_ns, "sent", frame)
        for receiver, session in list(self._sessions.items()):
            self._consider(receiver, session, frame, session.since_ns)

    def _consider(
        self,
        receiver: Receiver,
        session: _Session,
        frame: Frame,
        since_ns: int,
        again: bool = False,
    ) -> None:
        """Have the receiver's detector lock when it has had enough of the preamble."""
        m = frame.modulation
        start = max(frame.start_ns, since_ns)
        if m.carrier or frame.sender == receiver.name or start >= frame.end_ns:
            return
        if not receiver.tuned(m):
            return
        due = start + DETECT_SYMBOLS * m.symbol_ns
        reason = ""
        if not self._audible(receiver, frame):
            reason = "weak"
        elif due > frame.start_ns + m.chirps_ns:
            reason = "late"
        if not reason:
            self.engine.call_at(due, partial(self._detect, receiver, session, frame, start, due))
        elif not again:
            self._tell(start, "missed", frame, receiver, reason)

    def _detect(
        self, receiver: Receiver, session: _Session, frame: Frame, start_ns: int, at_ns: int
    ) -> None:
        if self._sessions.get(receiver) is not session or frame.cut:
            return
        if any(reception.frame is frame for reception in session.receptions):
            return
        reason = ""
        if len(session.receptions) >= receiver.capacity:
            reason = "busy"
        elif any(rule.picks(frame, receiver.name) for rule in self._losses):
            reason = "lost"
        elif self._drowned(receiver, frame, start_ns, at_ns):
            reason = "collision"
        if reason:
            self._tell(at_ns, "missed", frame, receiver, reason)
            return
        power = self._power_dbm(receiver, frame)
        noise = noise_floor_dbm(frame.modulation.bw_hz, receiver.noise_figure_db)
        snr = min(power - noise - frame.impairment_db, BEST_SNR_DB)
        reception = Reception(frame, power, snr, at_ns)
        session.receptions.append(reception)
        due = frame.start_ns + frame.modulation.sync_ns
        self.engine.call_at(due, partial(self._sync, receiver, session, reception, start_ns))
        receiver.on_preamble(reception)

    def _follows(self, receiver: Receiver, session: _Session, reception: Reception) -> bool:
        return self._sessions.get(receiver) is session and reception in session.receptions

    def _let_go(
        self, receiver: Receiver, session: _Session, reception: Reception, at_ns: int
    ) -> None:
        """Free a path of a receiver; if it had none left, its detector looks at the air anew."""
        if not self._follows(receiver, session, reception):
            return
        full = len(session.receptions) >= receiver.capacity
        session.receptions.remove(reception)
        if full:
            for frame in self._frames:
                if frame is not reception.frame:
                    self._consider(receiver, session, frame, at_ns, again=True)

    def _sync(
        self, receiver: Receiver, session: _Session, reception: Reception, start_ns: int
    ) -> None:
        if not self._follows(receiver, session, reception):
            return
        frame = reception.frame
        at = frame.start_ns + frame.modulation.sync_ns
        if frame.end_ns < at or not receiver.on_sync(reception):
            self._tell(at, "missed", frame, receiver, "sync")
            self._let_go(receiver, session, reception, at)
            return
        due = frame.start_ns + frame.modulation.header_ns
        self.engine.call_at(due, partial(self._header, receiver, session, reception, start_ns))

    def _header(
        self, receiver: Receiver, session: _Session, reception: Reception, start_ns: int
    ) -> None:
        if not self._follows(receiver, session, reception):
            return
        frame = reception.frame
        at = frame.start_ns + frame.modulation.header_ns
        reception.header_ok = frame.end_ns >= at and not self._drowned(
            receiver, frame, start_ns, at
        )
        if not receiver.on_header(reception):
            self._tell(at, "missed", frame, receiver, "header")
            self._let_go(receiver, session, reception, at)
            return
        # A receiver does not notice that a sender has given up.
        end = frame.start_ns + frame.modulation.airtime_ns(len(frame.payload))
        self.engine.call_at(end, partial(self._end, receiver, session, reception, start_ns, end))

    def _end(
        self,
        receiver: Receiver,
        session: _Session,
        reception: Reception,
        start_ns: int,
        at_ns: int,
    ) -> None:
        if not self._follows(receiver, session, reception):
            return
        frame = reception.frame
        spoilt = any(rule.picks(frame, receiver.name) for rule in self._corruptions)
        reception.payload_ok = not (
            spoilt or frame.cut or self._drowned(receiver, frame, start_ns, at_ns)
        )
        reception.payload = frame.payload if reception.payload_ok else self.garble(frame.payload)
        self._tell(
            at_ns, "heard" if reception.payload_ok else "missed", frame, receiver,
            "" if reception.payload_ok else "crc",
        )  # fmt: skip
        receiver.on_end(reception)
        self._let_go(receiver, session, reception, at_ns)

    def garble(self, payload: bytes) -> bytes:
        """Return other bytes of the same length, as a demodulator makes them of a spoilt frame."""
        return bytes(byte ^ self._chance.randrange(1, 256) for byte in payload)

    # -- power ----------------------------------------------------------------------------------

    def _power_dbm(self, receiver: Receiver, frame: Frame) -> float:
        return frame.power_dbm - self.links.loss_db(frame.sender, receiver.name)

    def _audible(self, receiver: Receiver, frame: Frame) -> bool:
        m = frame.modulation
        weakest = sensitivity_dbm(m.sf, m.bw_hz, receiver.noise_figure_db)
        return self._power_dbm(receiver, frame) >= weakest + frame.impairment_db

    def _drowned(self, receiver: Receiver, frame: Frame, start_ns: int, end_ns: int) -> bool:
        """Tell whether others were too strong in a part of a frame; those of a kind add up."""
        noise: dict[float, float] = {}
        for other in self._frames:
            if other is frame or not other.overlaps(start_ns, end_ns):
                continue
            if other.sender == receiver.name:
                return True  # nobody hears while it sends
            needed = rejection_db(frame.modulation, other.modulation)
            if needed is not None:
                milliwatts = 10 ** (self._power_dbm(receiver, other) / 10)
                noise[needed] = noise.get(needed, 0.0) + milliwatts
        power = self._power_dbm(receiver, frame)
        return any(power - 10 * math.log10(total) < needed for needed, total in noise.items())

    def _tell(
        self,
        at_ns: int,
        kind: str,
        frame: Frame,
        receiver: Receiver | None = None,
        reason: str = "",
    ) -> None:
        if self._observers:
            event = Event(at_ns, kind, frame, receiver.name if receiver else "", reason)
            for observer in self._observers:
                observer(event)

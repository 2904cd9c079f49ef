"""The exchange of a data uplink: NbTrans transmissions, two windows each, at most one downlink."""

from node.lorawan import adr, frames
from node.lorawan.actions import Deliver, LorawanError, Save, Sent
from node.lorawan.certify import PORT as CERTIFY_PORT
from node.lorawan.duty import NEVER_MS
from node.lorawan.frames import ACK, ADR, ADR_ACK_REQ, MAX_FOPTS, NO_PORT, FrameError
from node.lorawan.hopping import Hopper
from node.lorawan.region import CHANNELS
from node.wire.const import const

# Uplink counters are reserved in blocks: storage sees one write for so many uplinks.
_BLOCK = const(32)
MAX_FCNT = const(0xFFFFFFFF)
_LAST_PORT = const(223)
# RP002 section 3.3: RETRANSMIT_TIMEOUT is 2 s, a second more or less by chance.
_TIMEOUT_MS = const(1000)
_TIMEOUT_SPREAD_MS = const(2001)
# Between repetitions of an unconfirmed uplink, so that two nodes do not collide again.
_REPEAT_SPREAD_MS = const(1000)


class Uplink:
    """The data exchange of `mac`. `urgent`: the network waits for the next uplink."""

    def __init__(self, mac, random) -> None:
        self._mac = mac
        self._random = random
        self._hopper = Hopper(random)
        self.urgent = False
        self._hold_ms = 0
        self._confirmed = False
        self._fcnt = 0
        self._size = 0
        self._channel = 0
        self._ready = 0
        self._sent = 0
        self._reserving = False

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._hold_ms = max(0, self._hold_ms - ms)

    def room(self, session) -> int:
        """Return the longest application payload of the next uplink."""
        if self._mac.commands.adr:
            adr.step(session)
        pending = self._mac.commands.pending(session)
        if pending > MAX_FOPTS:
            return 0
        return self._limit(session) - pending

    def build(self, session, port, payload, confirmed: bool) -> None:
        """Make the frame; from here on it is only sent, again and again, or given up."""
        mac = self._mac
        certification = mac.certification
        room = self.room(session)
        if session.fcnt_up > MAX_FCNT:
            raise LorawanError("counter")
        if port is None:
            if payload:
                raise LorawanError("port")
            if certification.answer and room:
                port = CERTIFY_PORT
                payload = certification.answer[:room]
                certification.answer = b""
        elif not 1 <= port <= _LAST_PORT:
            raise LorawanError("port")
        elif len(payload) > room or mac.commands.pending(session) > MAX_FOPTS:
            raise LorawanError("size", room)
        if certification.confirmed is not None:
            confirmed = certification.confirmed
        options = b""
        if mac.commands.pending(session) > MAX_FOPTS:
            port = 0
            payload = mac.commands.take(session, self._limit(session))
        else:
            options = mac.commands.take(session, MAX_FOPTS)
            if port is None:
                port = NO_PORT
        fctrl = ACK if session.ack else 0
        if mac.commands.adr:
            fctrl |= ADR | (ADR_ACK_REQ if adr.asks(session) else 0)
            session.adr_count = min(0xFFFF, session.adr_count + 1)
        self._fcnt = session.fcnt_up
        session.fcnt_up += 1
        self._confirmed = confirmed
        self._sent = 0
        self.urgent = False
        self._size = frames.build_data(
            mac.outbox, mac.nwk, mac.app, confirmed, session.dev_addr, fctrl, self._fcnt,
            options, port, payload,
        )  # fmt: skip

    def wait_ms(self) -> int:
        """Return how long the frame must wait for a channel, 0 when it may go at once."""
        session = self._mac.session
        airtime_us = self._mac.region.airtime_us(self._size, session.rate)
        return max(self._hold_ms, self._channel_wait_ms(session, airtime_us))

    def estimate_ms(self, session, size: int) -> int:
        """Return how long an uplink with `size` bytes of payload would have to wait now."""
        return max(self._hold_ms, self._channel_wait_ms(session, self._mac.airtime_us(size)))

    def resting(self, out: list) -> None:
        """Nothing has to be stored while waiting."""

    def rest_ms(self, wait_ms: int) -> int:
        """Return for how long to wait at a stretch."""
        return wait_ms

    def begin(self, out: list):
        """Pick a channel; return length, frequency, rate and TXPower index of the transmission."""
        mac = self._mac
        session = mac.session
        airtime_us = mac.region.airtime_us(self._size, session.rate)
        self._channel = self._hopper.pick(self._ready)
        mac.ledger.take(session.bands[self._channel], airtime_us, session.max_duty)
        self._reserving = self._fcnt >= session.fcnt_limit
        if self._reserving:
            session.fcnt_limit = self._fcnt + _BLOCK
            out.append(Save(mac.saved()))
        return self._size, session.up_hz[self._channel], session.rate, session.power

    def done(self) -> None:
        """The frame was on the air."""
        self._sent += 1
        if self._sent == 1:
            self._mac.session.ack = False

    def window(self, number: int):
        """Return delay, frequency and rate of a receive window."""
        session = self._mac.session
        delay_ms = 1000 * session.rx_delay_s
        if number == 1:
            rate = self._mac.region.rx1_rates[session.rate][session.rx1_offset]
            return delay_ms, session.down_hz[self._channel], rate
        return delay_ms + 1000, session.rx2_hz, session.rx2_rate

    def read(self, size: int, rssi: int, snr: int, since_end_ms: int, out: list) -> bool:
        """Take a frame from the buffer; return whether it was for us."""
        mac = self._mac
        session = mac.session
        try:
            frame = frames.parse_data(
                mac.inbox, size, mac.nwk, mac.app, session.dev_addr, session.fcnt_down
            )
        except FrameError:
            return False
        if self._confirmed and not frame.ack:
            self._hold(since_end_ms)
        session.fcnt_down = frame.fcnt + 1
        adr.heard(session)
        session.answers = bytearray()
        told: list = []
        start, end = frame.options, frame.options_end
        if frame.port == 0:
            start, end = frame.payload, frame.payload_end
        mac.commands.run(session, mac.inbox, start, end, snr, mac.end_ms, told)
        if frame.confirmed:
            session.ack = True
        self.urgent = frame.pending or session.ack or len(session.answers) > 0
        if frame.port > 0 or frame.ack:
            mac.certification.count()
        if frame.port > 0:
            payload = bytes(memoryview(mac.inbox)[frame.payload : frame.payload_end])
            if frame.port <= _LAST_PORT:
                told.append(Deliver(frame.port, payload, rssi, snr))
            elif frame.port == CERTIFY_PORT and mac.certification.on:
                mac.certification.run(payload, told)
                self.urgent = self.urgent or len(mac.certification.answer) > 0
        mac.commands.asked = []
        out.append(Save(mac.saved()))
        out.extend(told)
        out.append(Sent(self._fcnt, self._sent, True, frame.ack if self._confirmed else None))
        return True

    def silent(self, since_end_ms: int, out: list) -> bool:
        """Both windows were empty; return whether the frame is sent again."""
        again = self._sent < self._mac.session.nb_trans
        if self._confirmed:
            self._hold(since_end_ms)
        elif again:
            self._hold_ms = self._random(_REPEAT_SPREAD_MS)
        if not again:
            self.give_up(out)
        return again

    def give_up(self, out: list) -> None:
        """No more transmissions of this frame."""
        mac = self._mac
        if self._sent:
            mac.commands.keep_sticky(mac.session)
            mac.commands.asked = []
        else:
            mac.commands.untake()
            self.urgent = mac.session.ack or len(mac.session.answers) > 0
        out.append(Sent(self._fcnt, self._sent, False, False if self._confirmed else None))

    def failed(self, out: list) -> bool:
        """The transmission could not be made; return whether another one is tried."""
        if self._reserving:
            # Perhaps it was the reservation that could not be stored.
            self._mac.session.fcnt_limit = self._mac.session.fcnt_up
        self.give_up(out)
        return False

    def _hold(self, since_end_ms: int) -> None:
        # TS001 section 4.3.1.3: without the acknowledgement asked for, the next frame, be it the
        # same or a new one, waits from the begin of RX2 on.
        rx2_ms = 1000 * self._mac.session.rx_delay_s + 1000
        timeout_ms = _TIMEOUT_MS + self._random(_TIMEOUT_SPREAD_MS)
        self._hold_ms = max(0, rx2_ms + timeout_ms - since_end_ms)

    def _limit(self, session) -> int:
        region = self._mac.region
        table = region.max_payload_repeater if self._mac.settings.repeater else region.max_payload
        return table[session.rate]

    def _channel_wait_ms(self, session, airtime_us: int) -> int:
        # Also notes the channels that need not wait.
        best = NEVER_MS
        ready = 0
        usable = session.usable(session.mask, session.rate)
        for i in range(CHANNELS):
            if usable >> i & 1:
                wait_ms = self._mac.ledger.wait_ms(session.bands[i], airtime_us)
                best = min(best, wait_ms)
                if not wait_ms:
                    ready |= 1 << i
        self._ready = ready
        return best

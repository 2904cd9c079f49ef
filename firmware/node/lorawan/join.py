"""The exchange of over-the-air activation: join requests until there is an answer (TS001 6.2)."""

from node.lorawan import frames
from node.lorawan.actions import Joined, JoinFailed, Save
from node.lorawan.crypto import APP_KEY, NWK_KEY
from node.lorawan.frames import FrameError
from node.lorawan.hopping import Hopper
from node.lorawan.session import Session
from node.wire.const import const

MAX_NONCE = const(0xFFFF)

_REQUEST_BYTES = const(23)
_ACCEPT_DELAY_MS = const(5000)
# While it waits, a node that may lose power at any time stores how far its back-off has come.
_PROGRESS_MS = const(900000)


class Join:
    """The join exchange of `mac`."""

    def __init__(self, mac, random) -> None:
        self._mac = mac
        self._hopper = Hopper(random)
        self._rate = 0
        self._hz = 0
        self._nonce = 0
        self._unsaved_ms = 0

    def advance(self, ms: int) -> None:
        """Let time pass."""
        self._unsaved_ms += ms

    def wait_ms(self) -> int:
        """Return how long the next request must wait."""
        mac = self._mac
        airtime_us = mac.region.airtime_us(_REQUEST_BYTES, self._next_rate())
        wait_ms = mac.backoff.due_ms(airtime_us)
        waits = [
            mac.ledger.wait_ms(mac.region.band(hz), airtime_us) for hz in mac.region.channels_hz
        ]
        return max(wait_ms, min(waits))

    def resting(self, out: list) -> None:
        """Store the back-off's progress now and then."""
        if self._unsaved_ms >= _PROGRESS_MS:
            self._unsaved_ms = 0
            out.append(Save(self._mac.saved()))

    def rest_ms(self, wait_ms: int) -> int:
        """Return for how long to wait at a stretch."""
        return min(wait_ms, _PROGRESS_MS)

    def begin(self, out: list):
        """Build a request; return length, frequency, rate and TXPower index."""
        mac = self._mac
        region = mac.region
        self._rate = self._next_rate()
        airtime_us = region.airtime_us(_REQUEST_BYTES, self._rate)
        ready = 0
        for i in range(len(region.channels_hz)):
            if not mac.ledger.wait_ms(region.band(region.channels_hz[i]), airtime_us):
                ready |= 1 << i
        self._hz = region.channels_hz[self._hopper.pick(ready)]
        self._nonce = mac.dev_nonce
        mac.dev_nonce += 1
        mac.backoff.sent(airtime_us)
        mac.ledger.take(region.band(self._hz), airtime_us, 0)
        self._unsaved_ms = 0
        out.append(Save(mac.saved()))
        size = frames.build_join_request(
            mac.outbox, mac.root, mac.join_eui, mac.dev_eui, self._nonce
        )
        return size, self._hz, self._rate, 0

    def done(self) -> None:
        """The request was on the air."""

    def window(self, number: int):
        """Return delay, frequency and rate of a receive window: the region's, never a session's."""
        region = self._mac.region
        if number == 1:
            return _ACCEPT_DELAY_MS, self._hz, region.rx1_rates[self._rate][0]
        return _ACCEPT_DELAY_MS + 1000, region.rx2_hz, region.rx2_rate

    def read(self, size: int, rssi: int, snr: int, since_end_ms: int, out: list) -> bool:
        """Take a frame from the buffer; return whether it was our join accept."""
        mac = self._mac
        try:
            frame = frames.parse_join_accept(mac.inbox, size, mac.root)
        except FrameError:
            return False
        # The MIC does not cover the request's nonce: an old answer is known by its JoinNonce.
        if frame.join_nonce <= mac.join_nonce:
            return False
        mac.join_nonce = frame.join_nonce
        session = Session(
            mac.region,
            frame.dev_addr,
            mac.root.derive(NWK_KEY, frame.nonces, self._nonce),
            mac.root.derive(APP_KEY, frame.nonces, self._nonce),
        )
        session.accept(frame, self._rate)
        mac.backoff.stop()
        mac.activate(session)
        out.append(Save(mac.saved()))
        out.append(Joined(session.dev_addr))
        return True

    def silent(self, since_end_ms: int, out: list) -> bool:
        """Both windows were empty; return whether there is another request."""
        mac = self._mac
        mac.backoff.unheard(mac.region.airtime_us(_REQUEST_BYTES, self._rate))
        if mac.dev_nonce > MAX_NONCE:
            out.append(JoinFailed("exhausted"))
            return False
        out.append(JoinFailed("unheard"))
        return True

    def give_up(self, out: list) -> None:
        """The caller wants no more requests now; the back-off stays."""

    def failed(self, out: list) -> bool:
        """The transmission could not be made; the nonce is used up all the same."""
        return self.silent(0, out)

    def _next_rate(self) -> int:
        rates = self._mac.region.join_rates
        return rates[self._mac.backoff.attempt % len(rates)]

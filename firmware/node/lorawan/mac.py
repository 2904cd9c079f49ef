"""The MAC of a class A end-device: one exchange at a time, as a state machine.

Every call takes the caller's clock in milliseconds (it may begin anywhere, and does not run
backwards) and returns a list of actions (`actions.py`) to be done in their order. A caller's
loop, in short:

    join or send -> Save, Tx -> done -> Rx(1) -> received or missed -> Rx(2) or the end: Sent
    Idle(until_ms) -> tick

It draws no time, no chance and no cipher from anywhere but its arguments.
"""

from node.lorawan import adr, frames, state
from node.lorawan.actions import Idle, JoinFailed, LorawanError, Tx
from node.lorawan.backoff import Backoff
from node.lorawan.certify import Certification
from node.lorawan.commands import DEVICE_TIME, LINK_CHECK, Commands
from node.lorawan.crypto import Key
from node.lorawan.duty import Ledger
from node.lorawan.frames import MAX_PHY, ROOM
from node.lorawan.join import MAX_NONCE, Join
from node.lorawan.region import EU868
from node.lorawan.settings import Settings
from node.lorawan.uplink import MAX_FCNT, Uplink
from node.lorawan.windows import open_window
from node.wire.const import const

_IDLE = const(0)
_WAIT = const(1)
_TX = const(2)
_RX1 = const(3)
_RX2 = const(4)

_TICK = const(0)
_DONE = const(1)
_FAILED = const(2)
_FRAME = const(3)
_MISSED = const(4)
_CANCEL = const(5)

# TR007 section 4.1: a device that is in contact renews its session once a month at most.
_MONTH_S = const(30 * 86400)


class Mac:
    """One end-device.

    `dev_eui`, `join_eui` and `app_key` are as printed; `aes_ecb(key)` returns a block function
    (`crypto.py`); `random(n)` returns 0 … n-1, another sequence on every device. `dev_nonce` is
    the first one to use where there is no saved state.
    """

    def __init__(
        self, dev_eui, join_eui, app_key, aes_ecb, random, settings=None, now_ms=0, dev_nonce=0
    ) -> None:
        self.region = EU868
        self.settings = settings or Settings()
        self.dev_eui = dev_eui
        self.join_eui = join_eui
        self.dev_nonce = dev_nonce
        self.join_nonce = -1
        self.session = None
        self.nwk = None
        self.app = None
        # A frame stays in its buffer for repetitions, so what is heard between has its own.
        self.outbox = frames.new_buffer()
        self.inbox = frames.new_buffer()
        self.ledger = Ledger(self.region)
        self.backoff = Backoff(random)
        self.commands = Commands(self.region, self.settings)
        self.certification = Certification(self.settings, self.commands, self.ledger)
        self.root = Key(aes_ecb(app_key))
        euis = join_eui + dev_eui
        self.tag = bytes(self.root.cmac(euis, 0, len(euis))[:4])
        self._aes_ecb = aes_ecb
        self._out_view = memoryview(self.outbox)
        self._in_view = memoryview(self.inbox)
        self._join = Join(self, random)
        self._uplink = Uplink(self, random)
        self._exchange = self._uplink
        self._state = _IDLE
        self._rate = 0
        self._at_ms = now_ms
        self.end_ms = now_ms
        self._age_ms = 0

    # What a caller can ask at any time.

    @property
    def joined(self) -> bool:
        """Whether there is a session."""
        return self.session is not None

    @property
    def busy(self) -> bool:
        """Whether an exchange is under way; sleep then loses it."""
        return self._state != _IDLE

    @property
    def urgent(self) -> bool:
        """Whether an uplink should follow soon: an answer is due, or a downlink waits for it."""
        return self._uplink.urgent

    @property
    def lost(self) -> bool:
        """Whether only a new join helps: the network is silent, or a counter is used up."""
        session = self.session
        return session is not None and (
            (self.commands.adr and adr.lost(session))
            or max(session.fcnt_up, session.fcnt_down) > MAX_FCNT
        )

    @property
    def rate(self) -> int:
        """The data rate of the next uplink."""
        return self._live().rate

    def max_payload(self) -> int:
        """Return the longest payload `send` takes now.

        0: the network's commands need a frame of their own; send one without a port first.
        """
        return self._uplink.room(self._live())

    def airtime_us(self, size: int) -> int:
        """Return the air time of one transmission of an uplink with `size` bytes of payload."""
        session = self._live()
        size += self.commands.pending(session) + 13
        return self.region.airtime_us(min(size, MAX_PHY), session.rate)

    def ready_ms(self, now_ms: int, size: int) -> int:
        """Return when an uplink with `size` bytes of payload could begin."""
        session = self._live()
        self._advance(now_ms)
        return now_ms + self._uplink.estimate_ms(session, size)

    def snapshot(self, now_ms: int) -> bytes:
        """Return the exact state, for memory that survives sleep; "busy" in an exchange.

        It is good for one `restore`: erase it there before the first action is done, or counters
        are used twice after a crash.
        """
        self._advance(now_ms)
        if self.busy:
            raise LorawanError("busy")
        return state.pack(self, False)

    def saved(self) -> bytes:
        """Return the state of Save actions."""
        return state.pack(self, True)

    # What a caller can set between exchanges.

    def restore(self, data, off_ms: int = 0) -> None:
        """Take over a saved state or a snapshot; `off_ms` at least passed since, 0 if unknown.

        Raises LorawanError "state" when it is damaged; nothing is changed then.
        """
        if self.busy:
            raise LorawanError("busy")
        state.unpack(bytes(data), self)
        self._pass(off_ms)

    def use_rate(self, rate: int) -> None:
        """Choose the data rate; only where ADR is off."""
        session = self._live()
        if self.commands.adr or not session.usable(session.mask, rate):
            raise LorawanError("rate")
        session.rate = rate

    def check_link(self) -> None:
        """Ask the network with the next uplink how well it hears us."""
        self.commands.want(LINK_CHECK)

    def ask_time(self) -> None:
        """Ask the network for its time with the next uplink."""
        self.commands.want(DEVICE_TIME)

    # What happens.

    def join(self, now_ms: int, force: bool = False) -> list:
        """Join, or go on with it after a restart; ends with Joined or JoinFailed "exhausted".

        A running session is kept until there is a new one. It is renewed once a month at most,
        unless it is lost or the join is forced.
        """
        self._idle(now_ms)
        if self.session and not force and not self.lost and self.session.age_s < _MONTH_S:
            raise LorawanError("rejoin", _MONTH_S - self.session.age_s)
        if self.dev_nonce > MAX_NONCE:
            return [JoinFailed("exhausted"), Idle(None)]
        out: list = []
        self.backoff.start(self.settings.spread_ms)
        self._exchange = self._join
        self._go(now_ms, out)
        return out

    def send(self, now_ms: int, port=None, payload=b"", confirmed: bool = False) -> list:
        """Send a payload on a port of 1 … 223, or without a port what the MAC has to say.

        Raises LorawanError "session", "busy", "port", "size" or "counter"; nothing is sent then.
        """
        self._idle(now_ms)
        out: list = []
        self._uplink.build(self._live(), port, payload, confirmed)
        self._exchange = self._uplink
        self._go(now_ms, out)
        return out

    def tick(self, now_ms: int) -> list:
        """The time of an Idle has come."""
        return self._event(_TICK, now_ms)

    def done(self, now_ms: int) -> list:
        """The transmission has ended at `now_ms`."""
        return self._event(_DONE, now_ms)

    def failed(self, now_ms: int) -> list:
        """The transmission was not made: the radio or the storage before it failed."""
        return self._event(_FAILED, now_ms)

    def received(self, now_ms: int, data, rssi: int, snr: int) -> list:
        """A frame was received in the window that is open."""
        n = len(data)
        if self._state not in (_RX1, _RX2):
            raise LorawanError("event")
        if not 0 < n <= MAX_PHY:
            return self._event(_MISSED, now_ms)
        self._size, self._rssi, self._snr = n, rssi, snr
        self._in_view[ROOM : ROOM + n] = data
        return self._event(_FRAME, now_ms)

    def missed(self, now_ms: int) -> list:
        """Nothing was received in the window that is open."""
        return self._event(_MISSED, now_ms)

    def cancel(self, now_ms: int) -> list:
        """Give up an exchange that waits for its (next) transmission."""
        return self._event(_CANCEL, now_ms)

    def activate(self, session) -> None:
        """Take over a session; for the exchanges and for `restore`."""
        self.session = session
        self.nwk = Key(self._aes_ecb(session.nwk_key))
        self.app = Key(self._aes_ecb(session.app_key))
        self._uplink.urgent = session.ack
        self._age_ms = 0

    def _live(self):
        if self.session is None:
            raise LorawanError("session")
        return self.session

    def _idle(self, now_ms: int) -> None:
        self._advance(now_ms)
        if self.busy:
            raise LorawanError("busy")

    def _advance(self, now_ms: int) -> None:
        self._pass(max(0, now_ms - self._at_ms))
        self._at_ms = now_ms

    def _pass(self, ms: int) -> None:
        if not ms:
            return
        self.ledger.advance(ms)
        self.backoff.advance(ms)
        self._join.advance(ms)
        self._uplink.advance(ms)
        if self.session:
            self._age_ms += ms
            self.session.grow_older(self._age_ms // 1000)
            self._age_ms %= 1000

    def _event(self, event: int, now_ms: int) -> list:
        self._advance(now_ms)
        handler = _TABLE.get((self._state, event))
        if handler is None:
            raise LorawanError("event")
        out: list = []
        handler(self, now_ms, out)
        return out

    def _go(self, now_ms: int, out: list) -> None:
        exchange = self._exchange
        wait_ms = exchange.wait_ms()
        if wait_ms > 0:
            self._state = _WAIT
            exchange.resting(out)
            out.append(Idle(now_ms + exchange.rest_ms(wait_ms)))
            return
        size, hz, rate, power = exchange.begin(out)
        self._rate = rate
        self._state = _TX
        sf, bw_khz = self.region.rates[rate]
        out.append(
            Tx(
                self._out_view[ROOM : ROOM + size], hz, sf, bw_khz, self.settings.power_dbm(power),
                self.region.airtime_us(size, rate),
            )
        )  # fmt: skip

    def _on_air(self, now_ms: int, out: list) -> None:
        self.end_ms = now_ms
        self._exchange.done()
        self._state = _RX1
        self._listen(1, out)

    def _first_empty(self, now_ms: int, out: list) -> None:
        self._state = _RX2
        self._listen(2, out)

    def _second_empty(self, now_ms: int, out: list) -> None:
        self._over(now_ms, out, self._exchange.silent(now_ms - self.end_ms, out))

    def _frame(self, now_ms: int, out: list) -> None:
        window = 1 if self._state == _RX1 else 2
        rate = self._exchange.window(window)[2]
        since_end_ms = now_ms - self.end_ms
        if self._size <= self.region.max_payload[rate] + 13 and self._exchange.read(
            self._size, self._rssi, self._snr, since_end_ms, out
        ):
            self._over(now_ms, out, False)
        else:
            _TABLE[(self._state, _MISSED)](self, now_ms, out)

    def _not_sent(self, now_ms: int, out: list) -> None:
        self._over(now_ms, out, self._exchange.failed(out))

    def _give_up(self, now_ms: int, out: list) -> None:
        self._exchange.give_up(out)
        self._over(now_ms, out, False)

    def _rest(self, now_ms: int, out: list) -> None:
        out.append(Idle(None))

    def _nothing(self, now_ms: int, out: list) -> None:
        pass

    def _over(self, now_ms: int, out: list, again: bool) -> None:
        if again:
            self._go(now_ms, out)
        else:
            self._state = _IDLE
            out.append(Idle(None))

    def _listen(self, window: int, out: list) -> None:
        delay_ms, hz, rate = self._exchange.window(window)
        sf, bw_khz = self.region.rates[rate]
        out.append(open_window(self.settings, window, delay_ms, hz, sf, bw_khz))


# What is done in a state when something happens; nothing else is accepted.
_TABLE = {
    (_IDLE, _TICK): Mac._rest,
    (_IDLE, _CANCEL): Mac._rest,
    (_WAIT, _TICK): Mac._go,
    (_WAIT, _CANCEL): Mac._give_up,
    (_TX, _TICK): Mac._nothing,
    (_TX, _DONE): Mac._on_air,
    (_TX, _FAILED): Mac._not_sent,
    (_RX1, _TICK): Mac._nothing,
    (_RX1, _MISSED): Mac._first_empty,
    (_RX1, _FRAME): Mac._frame,
    (_RX2, _TICK): Mac._nothing,
    (_RX2, _MISSED): Mac._second_empty,
    (_RX2, _FRAME): Mac._frame,
}

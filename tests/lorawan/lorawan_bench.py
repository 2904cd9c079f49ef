"""A node around the MAC in virtual time: storage, radio, clock, and a network that answers."""

import gc

from lorawan_cipher import aes_ecb
from lorawan_network import Network, cflist
from node.lorawan.actions import Idle, LorawanError, Rx, Save, Tx
from node.lorawan.mac import Mac
from node.lorawan.region import airtime_us, symbol_us
from node.lorawan.settings import Settings

if hasattr(gc, "threshold"):
    # MicroPython: what the tests keep for long would be strewn all over the heap.
    gc.threshold(2000000)

DEV_EUI = bytes.fromhex("00afee7cf5ed6f1e")
JOIN_EUI = bytes.fromhex("70b3d57ed00000dc")
APP_KEY = bytes.fromhex("b6b53f4a168a7a88bdf7ea135ce9cfca")

# Channels 3 to 7 as The Things Network has them.
MORE_CHANNELS = (867100000, 867300000, 867500000, 867700000, 867900000)


class Chance:
    """Numerical Recipes' linear congruential generator: the same numbers everywhere."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        """Return 0 … n-1."""
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self.state >> 8) % n

    def bytes(self, n):
        """Return n bytes."""
        return bytes([self.below(256) for _ in range(n)])


class PowerCutError(Exception):
    """The node is off."""


def kind_of(error_type, call, *args):
    """Call; return the error's kind, or None when there was none."""
    try:
        call(*args)
    except error_type as error:
        return error.kind
    return None


class Sending:
    """One transmission: its begin and what was sent."""

    def __init__(self, at_ms, tx):
        self.at_ms = at_ms
        self.airtime_us = tx.airtime_us
        self.hz = tx.freq_hz
        self.sf = tx.sf
        self.power_dbm = tx.power_dbm
        self.phy = bytes(tx.payload)


class Bench:
    """A node. `replies` are (window, frame or a function that makes it), used up in order.

    `flash` is what Save stored last, at `flash_ms`; `cut(number)` may raise PowerCutError before
    the Save of that number, `cut_after(number)` after it. `heard` is what the network made of
    each transmission.
    """

    def __init__(self, seed=1, network=None, **settings):
        self.chance = Chance(seed)
        self.settings = Settings(**settings)
        self.network = network or Network(DEV_EUI, JOIN_EUI, APP_KEY)
        self.now = 0
        self.flash = None
        self.flash_ms = 0
        self.saves = 0
        self.cut = None
        self.cut_after = None
        self.replies = []
        self.snr = 7
        self.heard = []
        self.events = []
        self.sent = []
        self.windows = []
        self.wake = None
        self.end_us = 0
        self.mac = None
        self.power_on()

    def power_on(self, off_ms=0, state=None):
        """Start the node with what is in flash, or with a snapshot."""
        network = self.network
        self.mac = Mac(
            network.dev_eui, network.join_eui, network.app_key, aes_ecb, self.chance.below,
            self.settings, self.now,
        )  # fmt: skip
        self.wake = None
        state = state or self.flash
        if state is not None:
            self.mac.restore(state, off_ms)

    def do(self, actions):
        """Do what the MAC asks until it rests; return its other actions of this time."""
        actions = list(actions)
        first = len(self.events)
        while actions:
            action = actions.pop(0)
            if isinstance(action, Save):
                self._store(action.state)
            elif isinstance(action, Tx):
                assert not actions
                actions = self.transmit(action)
            elif isinstance(action, Rx):
                assert not actions
                actions = self._listen(action)
            elif isinstance(action, Idle):
                assert not actions
                self.wake = action.until_ms
            else:
                self.events.append(action)
        return self.events[first:]

    def _store(self, state):
        self.saves += 1
        if self.cut:
            self.cut(self.saves)
        self.flash = state
        self.flash_ms = self.now
        if self.cut_after:
            self.cut_after(self.saves)

    def transmit(self, tx):
        """Send, up to the end of transmission; return what the MAC wants then."""
        assert tx.airtime_us == airtime_us(len(tx.payload), tx.sf, tx.bw_khz)
        self.sent.append(Sending(self.now, tx))
        self.end_us = 1000 * self.now + tx.airtime_us
        self.now = (self.end_us + 999) // 1000
        self.heard.append(self.network.hear(self.sent[-1].phy))
        return self.mac.done(self.now)

    def _listen(self, rx):
        self.windows.append(rx)
        reply = None
        if self.replies and self.replies[0][0] == rx.window:
            reply = self.replies.pop(0)[1]
        open_us = self.end_us + rx.delay_us
        if reply is None:
            open_us += rx.symbols * symbol_us(rx.sf, rx.bw_khz)
            self.now = max(self.now, open_us // 1000)
            return self.mac.missed(self.now)
        if not isinstance(reply, (bytes, bytearray)):
            reply = reply()
        open_us += airtime_us(len(reply), rx.sf, rx.bw_khz, False)
        self.now = max(self.now, open_us // 1000)
        return self.mac.received(self.now, reply, -90, self.snr)

    def send(self, *args):
        """Send, and wait until it is over; return the events."""
        first = len(self.events)
        self.do(self.mac.send(self.now, *args))
        self.finish()
        return self.events[first:]

    def finish(self):
        """Let time pass until the MAC rests."""
        while self.mac.busy:
            self.now = max(self.now, self.wake)
            self.do(self.mac.tick(self.now))

    def pass_until(self, ms):
        """Let time pass, and wake the MAC when it wants."""
        while self.wake is not None and self.wake < ms:
            self.now = max(self.now, self.wake)
            self.do(self.mac.tick(self.now))
        self.now = max(self.now, ms)

    def join(self, **accept):
        """Join at the first request; return the bench."""
        self.replies = [(1, lambda: self.network.accept(**accept))]
        self.do(self.mac.join(self.now))
        self.finish()
        assert self.mac.joined
        self.events = []
        self.sent = []
        self.windows = []
        self.heard = []
        return self

    def reply(self, make, *args):
        """Send an empty uplink that is answered in RX1; return the events."""
        self.replies = [(1, make)]
        return self.send(*args)

    def error(self, *args):
        """Return the kind and detail of the LorawanError that `send` raises."""
        try:
            self.mac.send(self.now, *args)
        except LorawanError as error:
            return error.kind, error.detail
        return None


def joined(seed=1, **settings):
    """Return a bench with eight channels that has joined with DR5."""
    return Bench(seed, **settings).join(cflist=cflist(*MORE_CHANNELS))


def of(kind, events):
    """Return the events of one kind."""
    return [event for event in events if isinstance(event, kind)]

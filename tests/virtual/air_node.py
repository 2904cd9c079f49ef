"""A device on the air without a board: the firmware's own MAC, in time that a test moves."""

import select
import sys
from functools import partial

from citynode.resources import firmware
from citynode.virtual.air import Air, Gateway, Modulation
from citynode.virtual.air.network import Network
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from radio_bench import MS, NS, US, SimTime

sys.path.append(str(firmware()))

from node.lorawan.actions import Idle, Joined, Rx, Save, Tx
from node.lorawan.mac import Mac
from node.lorawan.settings import Settings

WALL_NS = 1_790_000_000 * NS
DEV_EUI = bytes.fromhex("00afee7cf5ed6f1e")
JOIN_EUI = bytes.fromhex("70b3d57ed00000dc")
APP_KEY = bytes.fromhex("b6b53f4a168a7a88bdf7ea135ce9cfca")


class WorldTime(SimTime):
    """Time that is moved, with a date; sockets of the loopback are read before it goes on."""

    def __init__(self, seed=1):
        super().__init__(seed)
        self._readers = {}

    def unix_ns(self):
        return WALL_NS + self.now_ns()

    def call_at(self, due_ns, fn, *args):
        return super().call_at(due_ns, partial(fn, *args))

    def call_later(self, seconds, fn, *args):
        return self.call_at(self.now_ns() + round(seconds * NS), fn, *args)

    def add_reader(self, file, fn):
        self._readers[file] = fn

    def remove_reader(self, file):
        self._readers.pop(file, None)

    def move_to(self, ns):
        self._read()
        while self._timers and self._timers[0][0] <= ns:
            super().move_to(max(self.now_ns(), self._timers[0][0]))
            self._read()
        super().move_to(ns)

    def _read(self):
        while ready := select.select(list(self._readers), [], [], 0)[0]:
            for file in ready:
                if file in self._readers:
                    self._readers[file]()


def aes_ecb(key):
    """Return a block function as the MAC wants it."""
    update = Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor().update

    def encrypt(source, target):
        target[:] = update(source)

    return encrypt


class Node:
    """An end-device: a station of the air that does what the MAC asks. `events` is what it told."""

    capacity = 1
    noise_figure_db = 6.0

    def __init__(self, air, number=0, **settings):
        self.name = f"node-{number}"
        self.dev_eui = DEV_EUI[:7] + bytes((DEV_EUI[7] + number,))
        self.app_key = APP_KEY[:15] + bytes((number,))
        self.air = air
        self.time = air.engine
        settings = {"spread_ms": 0, **settings}
        chance = self.time.rng(self.name)
        self.mac = Mac(
            self.dev_eui, JOIN_EUI, self.app_key, aes_ecb, chance.randrange, Settings(**settings)
        )
        self.events = []
        self.windows = []
        self.sent = []
        self._rx = None
        self._locked = False
        self._end_ns = 0
        self._wake = None

    # -- what a test does -----------------------------------------------------------------------

    def join(self):
        """Join; the first request has to do."""
        self.do(self.mac.join(self._ms()))
        self.settle()
        assert self.of(Joined), self.events
        return self

    def send(self, payload=b"", port=None, confirmed=False):
        """Send, wait until it is over, and return what the MAC told."""
        first = len(self.events)
        self.do(self.mac.send(self._ms(), port, payload, confirmed))
        self.settle()
        return self.events[first:]

    def settle(self):
        """Let time pass until the MAC rests, and a little more for the network."""
        limit = self.time.now_ns() + 4000 * NS
        while self.mac.busy and self.time.now_ns() < limit:
            self.time.advance(100 * MS)
        assert not self.mac.busy
        self.time.advance(NS)

    def of(self, kind):
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    # -- the loop around the MAC ----------------------------------------------------------------

    def _ms(self):
        return self.time.now_ns() // MS

    def do(self, actions):
        for action in actions:
            if isinstance(action, Tx):
                self._transmit(action)
            elif isinstance(action, Rx):
                self._rx = action
                self.windows.append(action)
                at = max(self._end_ns + action.delay_us * US, self.time.now_ns())
                self.time.call_at(at, lambda at=at, action=action: self._open(at, action))
            elif isinstance(action, Idle):
                if self._wake is not None:
                    self._wake.cancel()
                if action.until_ms is not None:
                    self._wake = self.time.call_at(
                        action.until_ms * MS, lambda: self.do(self.mac.tick(self._ms()))
                    )
            elif not isinstance(action, Save):
                self.events.append(action)

    def _transmit(self, tx):
        modulation = Modulation(tx.freq_hz, tx.sf, tx.bw_khz * 1000)
        frame = self.air.transmit(self.name, bytes(tx.payload), modulation, tx.power_dbm)
        self.sent.append((frame, tx))
        self._end_ns = frame.end_ns
        self.time.call_at(frame.end_ns, lambda: self.do(self.mac.done(self._ms())))

    def _open(self, at, rx):
        self._locked = False
        self.air.listen(self, at)
        symbol = Modulation(rx.freq_hz, rx.sf, rx.bw_khz * 1000).symbol_ns
        self.time.call_at(at + rx.symbols * symbol, lambda: self._give_up(rx))

    def _give_up(self, rx):
        if self._rx is rx and not self._locked:
            self._close()
            self.do(self.mac.missed(self._ms()))

    def _close(self):
        self._rx = None
        self.air.deafen(self)

    # -- the air's calls ------------------------------------------------------------------------

    def tuned(self, modulation):
        rx = self._rx
        own = rx.freq_hz, rx.sf, rx.bw_khz * 1000, True
        m = modulation
        return own == (m.freq_hz, m.sf, m.bw_hz, m.iq_inverted)

    def on_preamble(self, reception):
        self._locked = True

    def on_sync(self, reception):
        return True

    def on_header(self, reception):
        return reception.header_ok

    def on_end(self, reception):
        self._close()
        if reception.payload_ok:
            answer = reception.payload, round(reception.power_dbm), round(reception.snr_db)
            self.do(self.mac.received(self._ms(), *answer))
        else:
            self.do(self.mac.missed(self._ms()))


class Bench:
    """An air, a network with gateways, a node; `told` are the events, `frames` what was sent."""

    def __init__(self, gateways=1, profile=None, network=None, **settings):
        self.time = WorldTime()
        self.air = Air(self.time)
        self.frames = []
        self.air.observe(
            lambda event: self.frames.append(event.frame) if event.kind == "sent" else None
        )
        self.network = Network(self.time, **(network or {}))
        self.gateways = [Gateway(self.air, f"gateway-{n}") for n in range(gateways)]
        for gateway in self.gateways:
            self.network.attach(gateway)
        self.told = []
        self.network.observe(self.told.append)
        self.node = Node(self.air, **settings)
        self.device = self.register(self.node, profile)

    def _note(self, event):
        if event.kind == "sent":
            self.frames.append(event.frame)

    def register(self, node, profile=None):
        return self.network.register(
            node.dev_eui, JOIN_EUI, node.app_key, name=node.name, profile=profile
        )

    def of(self, kind):
        """Return the bodies of the events of a kind."""
        return [event.body for event in self.told if event.kind == kind]

    def down(self):
        """Return the frames that gateways have sent."""
        return [frame for frame in self.frames if frame.sender.startswith("gateway")]

    def joined(self):
        """Join; return the bench."""
        self.node.join()
        return self

    def send(self, *args, **kwargs):
        """Send from the node; return what its MAC told."""
        return self.node.send(*args, **kwargs)


__all__ = ["APP_KEY", "DEV_EUI", "JOIN_EUI", "Bench", "Node", "WorldTime"]

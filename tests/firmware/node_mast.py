"""A node with LoRaWAN, the radio that it has, and the network that hears it; MicroPython only.

All of it is in virtual time. The network is the strict one of the MAC's tests: it asserts that no
DevNonce and no counter comes twice.
"""

import asyncio

import _clock
from lorawan_cipher import aes_ecb, cmac
from lorawan_network import Network
from node.core.budget import Budget
from node.core.commands import Commands
from node.core.lora import LoraUplink
from node.core.modem import Modem
from node.core.quiet import Quiet
from node.core.sessions import Sessions
from node.lorawan.crypto import Key
from node.lorawan.mac import Mac
from node.lorawan.region import airtime_us, symbol_us
from node.lorawan.settings import Settings
from node.radio import RadioError
from node.wire import frame, schema
from node_bench import YEAR_2024, Board, Node, Promise, cancelled
from node_tools import Chance

DEV_EUI = bytes.fromhex("00afee7cf5ed6f1e")
JOIN_EUI = bytes(8)
APP_KEY = bytes.fromhex("b6b53f4a168a7a88bdf7ea135ce9cfca")
COMMAND_KEY = bytes(range(16))
FOLDER = "/f/lora"
GPS_EPOCH_S, LEAP_S = 315964800, 18
LINK_CHECK, DEVICE_TIME = 0x02, 0x0D


class Options:
    """What a profile says."""

    def __init__(self, **given):
        self.airtime_s = 30
        self.confirmed_every = 8
        self.link_check = True
        for name, value in given.items():
            setattr(self, name, value)


class Mast:
    """Gateway and network, which outlive the node. It answers whatever asks for an answer.

    `hears(phy)` and `answers(phy)` say whether an uplink arrives, and whether it is answered.
    `queue` has downlinks to go with the next answer: (port, payload), or MAC commands as bytes.
    """

    def __init__(self, network=None):
        self.network = network or Network(DEV_EUI, JOIN_EUI, APP_KEY)
        self.hears = lambda phy: True
        self.answers = lambda phy: True
        self.queue = []
        self.settings = {}
        self.sent = []  # all that was on the air: (start in ms, Hz, SF, us, PHY payload)
        self.got = []  # numbers of the records, in the order of arrival
        self.records = []
        self.seen = []  # the network's view of each data uplink
        self.downlink = None

    def unix_ms(self):
        """Return the true time."""
        return 1000 * YEAR_2024 + _clock.us() // 1000

    def take(self, phy, hz, sf, us):
        """Take a transmission that ends now."""
        end_us = _clock.us()
        self.sent.append(((end_us - us) // 1000, hz, sf, us, phy))
        self.downlink = None
        if not self.hears(phy):
            return
        heard = self.network.hear(phy)
        if heard == "join":
            if self.answers(phy):
                self._send(self.network.accept(**self.settings), end_us + 5000000, hz, sf)
            return
        if heard == "repeated":
            heard = self.seen[-1]
        else:
            self.seen.append(heard)
            if heard.port == 1:
                records = frame.decode(heard.payload)
                self.records += records
                self.got += [record.seq for record in records]
        if not self.answers(phy):
            return
        options = b""
        port, payload = None, b""
        if heard.port:
            asked = bytes(heard.options)
            if LINK_CHECK in asked:
                options += bytes((LINK_CHECK, 20, 1))
            if DEVICE_TIME in asked:
                gps_ms = self.unix_ms() - 1000 * (GPS_EPOCH_S - LEAP_S)
                seconds, rest = gps_ms // 1000, gps_ms % 1000 * 256 // 1000
                options += b"\x0d" + seconds.to_bytes(4, "little") + bytes((rest,))
        if self.queue:
            first = self.queue.pop(0)
            if isinstance(first, bytes):
                options += first
            else:
                port, payload = first
        if options or port is not None or heard.confirmed or heard.adr_ack_req:
            assert len(options) <= 15
            down = self.network.down(port, payload, options, ack=heard.confirmed)
            delay_us = 1000000 * self.settings.get("rx_delay", 1)
            self._send(down, end_us + delay_us, hz, sf)

    def _send(self, phy, at_us, hz, sf):
        self.downlink = (phy, at_us, hz, sf)

    def command(self, code, counter, argument=None, key=COMMAND_KEY, port=10):
        """Return the payload of a command."""
        body = bytes((code,)) + counter.to_bytes(4, "little")
        if argument is not None:
            body += argument.to_bytes(4, "little")
        return body + cmac(key, DEV_EUI + bytes((port,)) + body)[:8]


class Radio:
    """A radio that does as its driver says. `broken` has kinds of errors that come next."""

    MAX_SYMBOLS = 1023

    def __init__(self, mast, clock):
        self.mast = mast
        self.clock = clock
        self.broken = []
        self.asleep = False
        self.windows = []  # how late each opened, in us
        self.starts = 0

    def start(self):
        self.starts += 1

    def sleep(self):
        self.asleep = True

    def _fail(self):
        if self.broken:
            kind = self.broken.pop(0)
            if kind is not None:
                raise RadioError(kind)

    async def transmit(self, payload, freq_hz, sf, bw_khz, power_dbm):
        self.asleep = False
        self._fail()
        us = airtime_us(len(payload), sf, bw_khz)
        phy = bytes(payload)
        start = _clock.us()
        await self.clock.sleep_ms(us // 1000)
        if _clock.us() < start + us:
            _clock.advance_us(start + us - _clock.us())
        self.mast.take(phy, freq_hz, sf, us)
        return self.clock.ticks_us()

    async def receive(self, open_at_us, freq_hz, sf, bw_khz, symbols):
        clock = self.clock
        self._fail()
        assert 0 < symbols <= self.MAX_SYMBOLS
        left = clock.ticks_diff(open_at_us, clock.ticks_us())
        if left > 2000:
            await clock.sleep_ms((left - 1000) // 1000)
        left = clock.ticks_diff(open_at_us, clock.ticks_us())
        if left > 0:
            clock.wait_us(left)
        opened = _clock.us()
        self.windows.append(clock.ticks_diff(clock.ticks_us(), open_at_us))
        down, window = self.mast.downlink, symbols * symbol_us(sf, bw_khz)
        if down is not None:
            phy, at_us, hz, down_sf = down
            last = at_us + 3 * symbol_us(sf, bw_khz)
            if hz == freq_hz and down_sf == sf and opened <= last and at_us < opened + window:
                self.mast.downlink = None
                end = at_us + airtime_us(len(phy), sf, bw_khz, False)
                await clock.sleep_ms((end - opened) // 1000 + 1)
                return phy, -90, 7.25
        await clock.sleep_ms(window // 1000 + 1)
        return None


class Marks:
    """NVS: `board.marks`, with each write in the flash's journal."""

    def __init__(self, board):
        self._board = board

    def get(self, key):
        return self._board.marks.get(key, 0)

    def set(self, key, number):
        error = self._board.flash.fault("mark", 0, 0)
        if error:
            raise OSError(-error)
        if self._board.flash.journal is not None:
            self._board.flash.journal.append(("mark", key, number))
        self._board.marks[key] = number


class Pole(Board):
    """A board with a radio: what outlives the program."""

    def __init__(self):
        super().__init__()
        self.marks = {}


class Station:
    """One run of the program with a LoRaWAN uplink, as `hal.lorawan` joins it; for a `with`."""

    def __init__(self, mast=None, board=None, seed=1, limit=16384, known=False, **options):
        self.mast = mast or Mast()
        self.board = board or Pole()
        self.chance = Chance(seed)
        self.options = Options(**options)
        self.node = Node(self.board, limit=limit)
        node = self.node
        node.clock.known = node.clock.known or known
        self.radio = Radio(self.mast, node.clock)
        self.promise = Promise(node.clock)
        self.paces = []
        self.obeyed = []
        self.obeys = True
        self.interval_s = 300
        self.quiet = Quiet(node.clock)
        self.marks = Marks(self.board)
        self.sessions = Sessions(FOLDER, self.marks)
        settings = Settings(certification=True)
        mac = self.mac = Mac(
            DEV_EUI, JOIN_EUI, APP_KEY, aes_ecb, self.chance.below, settings,
            node.clock.uptime_ms(), 0 if self.sessions.state else self.sessions.first_nonce,
        )  # fmt: skip
        self.makes = lambda: self.radio
        self.modem = Modem(
            mac, lambda: self.makes(), self.sessions, self.quiet, node.clock, node.log
        )
        self.uplink = LoraUplink(
            self.modem,
            node.spool,
            node.recorder,
            Budget(self.options.airtime_s, node.clock.uptime_ms()),
            self.options,
            Commands(Key(aes_ecb(COMMAND_KEY)), DEV_EUI, self.marks),
            self.interval_s,
            self.paces.append,
            self.on_time,
            self._obey,
            lambda: 255,
            self.chance.below,
            43200,
            node.clock,
            node.counters,
            node.log,
        )
        found = node.crumb.found_session
        node.crumb.save()
        self.resumed = bool(found) and self.uplink.unpack(found)
        if self.sessions.state and not self.resumed:
            mac.restore(self.sessions.state)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.node.__exit__()

    def on_time(self, unix_ms):
        node = self.node
        known = node.clock.known
        step_ms = node.clock.set(unix_ms)
        if not known:
            node.recorder.clock_set(step_ms)

    def _obey(self, code, argument):
        self.obeyed.append((code, argument))
        return self.obeys

    def accept(self, count=1, kind=schema.CLIMATE):
        """Have records accepted, as the sampler does."""
        for number in range(count):
            values = {"temperature_c": 20 + number / 100, "humidity_pct": 50}
            if kind != schema.CLIMATE:
                values = {"code": "tamper"}
            assert self.node.recorder.accept(kind, values)

    def accept_past(self, count, each_s=300):
        """Have records accepted that were made in the past, as after a long time off the air."""
        now = self.node.unix_s()
        for number in range(count):
            values = {"temperature_c": 20 + number / 100, "humidity_pct": 50}
            at = now - each_s * (count - number)
            assert self.node.recorder.accept(schema.CLIMATE, values, 0, at)

    def run(self, seconds, *events, each_s=0):
        """Run; `events` are (seconds, call); `each_s`: a climate record so often."""

        async def main():
            clock = self.node.clock
            task = asyncio.create_task(self.uplink.run(self.promise))
            start = clock.uptime_ms()
            plan = list(events) + [(seconds, None)]
            if each_s:
                plan += [(at, self.accept) for at in range(each_s, seconds, each_s)]
            plan.sort(key=lambda row: row[0])
            for at, call in plan:
                await clock.sleep_ms(max(0, int(1000 * at) - clock.uptime_ms() + start))
                if call:
                    call()
            assert not task.done()
            await cancelled(task)
            self.promise.within(0)

        asyncio.run(main())
        assert self.promise.broken == []
        return self

    def joined(self):
        """Join, with all that the start has to tell delivered."""
        self.run(120)
        assert self.mac.joined
        assert self.node.spool.pending == 0
        return self

    def uplinks(self):
        """Return the data uplinks on the air: (ms, SF, us)."""
        return [(row[0], row[2], row[3]) for row in self.mast.sent if row[4][0] != 0]

    @property
    def pending(self):
        return self.node.spool.pending


def rate(dr, nb_trans=1):
    """Return a LinkADRReq for the three default channels."""
    return bytes((0x03, dr << 4, 0x07, 0x00, nb_trans))

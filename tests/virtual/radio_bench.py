"""A radio board around MicroPython in time of its own: the script's clock moves it."""

import heapq
import itertools
import json

from citynode.boards import load_board
from citynode.resources import firmware
from citynode.virtual.air import Air, Gateway, Modulation
from citynode.virtual.chips.sx1262 import SX1262
from citynode.virtual.chips.sx1276 import SX1276
from citynode.virtual.engine import Engine, Timer
from citynode.virtual.soc.peripherals import hardware
from citynode.virtual.soc.peripherals.radio import Radio
from citynode.virtual.world import World
from citynode.virtual.world.chance import Chance
from citynode.virtual.world.weather import Weather
from upy_bench import AIR, UpyBench

US = 1_000
MS = 1_000_000
NS = 1_000_000_000
# What a call costs on an ESP32 at 240 MHz, roughly.
_TICKS_CALL_NS = 10 * US
_SPI_CALL_NS = 30 * US
_SPI_BYTE_NS = 1 * US  # at 8 MHz

BOARDS = {"sx1276": "lilygo-t3-v1.6.1", "sx1262": "lilygo-t3-s3"}

_SCRIPT = """
import json, sys
sys.path.append({firmware!r})
from _rpc import call
from machine import SPI, Pin
from node.radio import RadioError

class Clock:
    first = {first}
    def ticks_us(self):
        return (call("sim.us") + self.first) & 0x3FFFFFFF
    def ticks_add(self, a, b):
        return (a + b) & 0x3FFFFFFF
    def ticks_diff(self, a, b):
        return ((a - b + 0x20000000) & 0x3FFFFFFF) - 0x20000000
    def wait_us(self, us):
        call("sim.sleep", us)
    def wait_ms(self, ms):
        call("sim.sleep", ms * 1000)
    async def sleep_ms(self, ms):
        call("sim.sleep", ms * 1000)

def run(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise RuntimeError("it waits for something else")

def attempt(do):
    try:
        do()
    except RadioError as error:
        return error.kind

def tell(*values):
    print(json.dumps([v.hex() if isinstance(v, bytes) else v for v in values]))

clock = Clock()
spi = SPI(1, baudrate=8000000, sck={sck}, mosi={mosi}, miso={miso})
cs, reset = Pin({cs}, Pin.OUT, value=1), Pin({reset}, Pin.OUT, value=1)
def make():
    {make}
"""
_MAKE = {
    "sx1276": "from node.radio.sx127x import SX127x as C; return C(spi, cs, reset, clock)",
    "sx1262": (
        "from node.radio.sx126x import SX126x as C; "
        "return C(spi, cs, reset, Pin({busy}, Pin.IN), clock, {tcxo_mv}, {switch})"
    ),
}


class SimTime:
    """An engine without a machine's clock: time is where it is moved to."""

    def __init__(self, seed=1):
        self._now_ns = 0
        self._chance = Chance(seed)
        self._timers = []
        self._order = itertools.count()
        self.clock = self

    def now_ns(self):
        return self._now_ns

    def rng(self, name):
        return self._chance.rng(name)

    def call_at(self, due_ns, fn):
        timer = Timer(due_ns, fn)
        heapq.heappush(self._timers, (due_ns, next(self._order), timer))
        return timer

    def advance(self, ns):
        self.move_to(self._now_ns + ns)

    def move_to(self, ns):
        while self._timers and self._timers[0][0] <= ns:
            due, _, timer = heapq.heappop(self._timers)
            self._now_ns = max(self._now_ns, due)
            timer.fire()
        self._now_ns = max(self._now_ns, ns)

    def run(self, until):
        while not until():
            if not self._timers:
                raise AssertionError("nothing will ever happen again")
            self.move_to(self._timers[0][0])


class RadioBench:
    """The board of a radio chip, a gateway, and time that only the board's own calls move.

    `real`: the time is the machine's, and the script has to bring its own clock.
    """

    def __init__(self, chip, first_tick=0, *, board=None, real=False):
        self.kind = chip
        self.spec = load_board(board or BOARDS[chip])
        self.first_tick = first_tick
        self.engine = Engine(seed=5)
        self.world = World(self.engine, Weather.constant(AIR))
        self.sim = self.engine if real else SimTime()
        self.air = Air(self.sim)
        self.events = []
        self.air.observe(self.events.append)
        self.gateway = Gateway(self.air)
        self.upy = UpyBench(self.engine)
        self.parts = hardware(self.spec, self.engine, self.world, "node", self.air)
        for part in self.parts:
            part.attach(self.upy)
        self.chip = next(part for part in self.parts if isinstance(part, Radio)).chip
        if not real:
            self.upy.expose("sim.us", self._us)
            self.upy.expose("sim.sleep", lambda us: self.sim.advance(us * US))
            self._transfer = self.upy.handlers["spi.transfer"]
            self.upy.expose("spi.transfer", self._spi)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.world.close()
        self.engine.close()

    def _us(self):
        self.sim.advance(_TICKS_CALL_NS)
        return self.sim.now_ns() // US

    def _spi(self, sck, mosi, miso, data):
        answer = self._transfer(sck, mosi, miso, data)
        self.sim.advance(_SPI_CALL_NS + len(data) * _SPI_BYTE_NS)
        return answer

    def hook(self, fn):
        """Call `fn(…)` where the script says `call("hook", …)`."""
        self.upy.expose("hook", fn)

    def ticks(self, ns):
        """Return the script's `ticks_us` at a time."""
        return (ns // US + self.first_tick) & 0x3FFFFFFF

    def ns(self, ticks):
        """Return the time of a tick of the script's that is less than 9 minutes away."""
        now = self.sim.now_ns() // US
        away = (ticks - self.ticks(now * US) + 0x20000000 & 0x3FFFFFFF) - 0x20000000
        return (now + away) * US

    def run(self, script):
        """Run a script behind the prelude; return what it told, a list for each line."""
        pins = self.spec.radio
        wiring = {"busy": pins.busy, "tcxo_mv": round((pins.tcxo_v or 0) * 1000)}
        prelude = _SCRIPT.format(
            firmware=str(firmware()),
            first=self.first_tick,
            sck=pins.sck,
            mosi=pins.mosi,
            miso=pins.miso,
            cs=pins.cs,
            reset=pins.reset,
            make=_MAKE[self.kind].format(**wiring, switch=pins.dio2_switch),
        )
        output = self.upy.run(prelude + script)
        assert "Traceback" not in output, output
        return [json.loads(line) for line in output.splitlines()]


class Wires:
    """A chip on its SPI, on an air with a gateway that is 100 m away."""

    def __init__(self, make, sync_word=0x34, **wiring):
        self.sim = SimTime()
        self.air = Air(self.sim)
        self.gateway = Gateway(self.air, sync_word=sync_word)
        self.chip = make(self.air, "node", **wiring)
        self.sim.advance(10 * MS)

    def spi(self, *data):
        self.chip.select()
        answer = bytes(self.chip.transfer(byte) for byte in data)
        self.chip.deselect()
        return answer

    def wait(self, ns):
        self.sim.advance(ns)

    def downlink(self, payload=b"reply", at_ns=None, power_dbm=14.0, **change):
        """Send to the chip; its fields are those of a LoRaWAN downlink unless changed."""
        fields = {"freq_hz": 868_100_000, "sf": 7, "iq_inverted": True, "crc": False} | change
        at = self.sim.now_ns() + 2 * MS if at_ns is None else at_ns
        return self.air.transmit("gateway", payload, Modulation(**fields), power_dbm, at)


class W1262(Wires):
    def __init__(self, **kw):
        super().__init__(SX1262, **kw)

    def settle(self):
        """Wait as long as a command takes that moves nothing."""
        if self.chip.line("busy"):
            self.wait(US)

    def cmd(self, *data):
        """Send a command and wait for BUSY to fall."""
        self.settle()
        answer = self.spi(*data)
        for _ in range(1000):
            if not self.chip.line("busy"):
                return answer
            self.wait(10 * US)
        raise AssertionError("BUSY stays high")

    def reg(self, address, *values):
        if values:
            return self.cmd(0x0D, address >> 8, address & 0xFF, *values)
        return self.cmd(0x1D, address >> 8, address & 0xFF, 0, 0)[4]

    def ask(self, opcode, count):
        self.settle()
        return int.from_bytes(self.spi(opcode, *bytes(count + 1))[2:], "big")

    def status(self):
        """Return chip mode and command status."""
        self.settle()
        byte = self.spi(0xC0, 0)[1]
        return byte >> 4 & 7, byte >> 1 & 7

    def irq(self):
        return self.ask(0x12, 2)

    def errors(self):
        return self.ask(0x17, 2)

    def packet(self, length=255, *, inverted=False, implicit=0, crc=1, preamble=8):
        self.cmd(0x8C, 0, preamble, implicit, length, crc, int(inverted))
        self.reg(0x0736, 0x09 if inverted else 0x0D)

    def lora(self):
        """Set SF7, 125 kHz, CRC, 868.1 MHz, public sync word, 14 dBm, all IRQs on DIO1."""
        self.cmd(0x80, 0)
        self.cmd(0x8A, 1)
        self.cmd(0x86, 0x36, 0x41, 0x99, 0x9A)
        self.cmd(0x8B, 7, 4, 1, 0)
        self.packet()
        self.reg(0x0740, 0x34, 0x44)
        self.reg(0x0889, 0x05)
        self.reg(0x08AC, 0x96)
        self.reg(0x08D8, 0xDE)
        self.cmd(0x95, 4, 7, 0, 1)
        self.cmd(0x8E, 14, 4)
        self.cmd(0x8F, 0, 0)
        self.cmd(0x08, 0x03, 0xFF, 0x03, 0xFF, 0, 0, 0, 0)
        return self

    def load(self, payload, **packet):
        self.cmd(0x0E, 0, *payload)
        self.packet(len(payload), **packet)

    def listen(self, steps=0, symbols=20, **packet):
        self.packet(**({"inverted": True} | packet))
        self.cmd(0xA0, symbols)
        self.spi(0x82, *steps.to_bytes(3, "big"))


class W1276(Wires):
    def __init__(self, **kw):
        super().__init__(SX1276, **kw)

    def get(self, register, count=1):
        data = self.spi(register, *bytes(count))[1:]
        return data[0] if count == 1 else data

    def put(self, register, *values):
        self.spi(0x80 | register, *values)

    def lora(self):
        """Go to LoRa standby with SF7, 125 kHz, CRC, 868.1 MHz, public sync word, PA_BOOST."""
        self.put(0x01, 0x80)
        self.put(0x01, 0x81)
        self.put(0x06, 0xD9, 0x06, 0x66)
        self.put(0x09, 0xFC)  # 14 dBm
        self.put(0x1D, 0x72, 0x74)
        self.put(0x39, 0x34)
        return self

    def listen(self, symbols=20, mode=0x86):
        """Open the receiver for downlinks."""
        self.put(0x33, 0x67)
        self.put(0x3B, 0x19)
        self.put(0x1E, 0x74, symbols)
        self.put(0x01, mode)

"""Runs drivers on the real MicroPython against the models of their chips, in a time of its own.

A script has `clock` (the drivers' clock: waiting is what moves the time), `finished(coroutine)`,
`now()` in ms, `kind(call, …)`, `say(…)` and `do(name, …)`, which calls what the test has put on
the bench.
"""

import heapq
import itertools
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from citynode.resources import firmware
from citynode.virtual.engine import Engine
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.peripherals.analog import Adc, Pwm
from citynode.virtual.soc.peripherals.counters import Counters
from citynode.virtual.soc.peripherals.i2c import I2C, I2CBus
from citynode.virtual.soc.peripherals.onewire import OneWire, OneWireBus
from citynode.virtual.soc.peripherals.pins import Pins
from citynode.virtual.soc.peripherals.serial import Spi, Uart, UartLine
from citynode.virtual.soc.peripherals.system import System
from citynode.virtual.soc.peripherals.timers import Timers, Watchdog
from citynode.virtual.world.climate import Surroundings
from citynode.virtual.world.weather import Conditions

sys.path.append(str(Path(__file__).parents[1] / "virtual"))

from upy_bench import UpyBench

MS = 1_000_000
START_MS = (1 << 30) - 20_000
SCL, SDA, RX, TX, ONE_WIRE, PULSES, ANALOG = 22, 21, 16, 17, 4, 27, 34

_PRELUDE = """
import sys
sys.path.append({firmware!r})
sys.path.append({tests!r})
from _rpc import call
from machine import ADC, I2C, Pin, UART
from node.hal.bus import Bus
from node.sensors import SensorError

def do(name, *args):
    return call("bench." + name, *args)

def now():
    return call("bench.ms")

class clock:
    @staticmethod
    def ticks_ms():
        return call("bench.ms") & 0x3fffffff
    @staticmethod
    def ticks_diff(a, b):
        return ((a - b + 0x20000000) & 0x3fffffff) - 0x20000000
    @staticmethod
    def wait_ms(ms):
        call("bench.wait", ms)
    @staticmethod
    async def sleep_ms(ms):
        call("bench.wait", ms)

def finished(coroutine):
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")

def kind(call, *args, **kwargs):
    try:
        result = call(*args, **kwargs)
        if hasattr(result, "send"):
            finished(result)
    except SensorError as error:
        return error.kind
    except (OSError, ValueError) as error:
        return "OSError" if isinstance(error, OSError) else "ValueError"

def say(*values):
    print(*[("%.6g" % value) if isinstance(value, float) else value for value in values])

def bus(freq=100000):
    return Bus(0, {scl}, {sda}, freq)

def wire():
    from onewire import OneWire
    return OneWire(Pin({wire}))

def uart(baud):
    return UART(1, baudrate=baud, rx={rx}, tx={tx}, timeout=0)
"""


class Stepped:
    """An engine for peripherals and chips whose time moves only by `advance`."""

    def __init__(self):
        # Ticks wrap soon, in every test.
        self.ns = START_MS * MS
        self._due = []
        self._order = itertools.count()
        self.clock = self

    def now_ns(self):
        return self.ns

    def unix_ns(self):
        return self.ns

    def call_at(self, due_ns, fn, *args):
        timer = SimpleNamespace(call=partial(fn, *args))
        timer.cancel = lambda: setattr(timer, "call", None)
        heapq.heappush(self._due, (due_ns, next(self._order), timer))
        return timer

    def call_later(self, seconds, fn, *args):
        return self.call_at(self.ns + round(seconds * 1e9), fn, *args)

    def step(self, ms):
        """Go to the next thing that happens, or by some ms."""
        end = self.ns + round(ms * MS)
        if self._due and self._due[0][0] < end:
            end = max(self.ns, self._due[0][0])
        self.advance_to(end)

    def advance(self, ms):
        self.advance_to(self.ns + round(ms * MS))

    def advance_to(self, end):
        while self._due and self._due[0][0] <= end:
            due, _, timer = heapq.heappop(self._due)
            self.ns = max(self.ns, due)
            if timer.call is not None:
                timer.call()
        self.ns = end


class Plug:
    """A chip on a bus that is pulled out after so many addresses and bytes on the wires."""

    def __init__(self, chip):
        self.chip = chip
        self.address = chip.address
        self.left = -1

    def pull(self, left):
        self.left = left
        if left < 0:
            self.chip.power_up()

    def _there(self):
        self.left -= self.left > 0
        return self.left != 0

    def begin(self, read):
        return self._there() and self.chip.begin(read)

    def write(self, byte):
        return self._there() and self.chip.write(byte)

    def read(self):
        return self.chip.read() if self._there() else 0xFF

    def end(self):
        if self.left:
            self.chip.end()


class Bench:
    """A board with an I2C bus, a UART line, pins, counters and an ADC; a context manager.

    `air` and `around` are what the chips feel, and may be functions of the time in ns.
    """

    def __init__(self):
        self.time = Stepped()
        self.air = Conditions(21.5, 47.0, 100_250.0)
        self.around = Surroundings(612.0, 8.0, 12.0, 14.0, 19.0, 74_000.0, 33.0)
        self.engine = Engine(seed=5)
        self.upy = UpyBench(self.engine)
        self.pins = Pins(CHIPS["esp32"])
        self.bus = I2CBus(self.pins, SCL, SDA)
        self.line = UartLine(RX, TX)
        self.adc = Adc(self.pins)
        self.wire = OneWireBus(self.pins, ONE_WIRE)
        self.parts = [
            self.pins,
            I2C(self.pins, (self.bus,)),
            Uart(self.time, "esp32", (self.line,)),
            self.adc,
            OneWire(self.pins, (self.wire,)),
            Counters(self.pins),
            Pwm(self.pins),
            Spi(),
            System(self.engine, self.pins),
            Timers(self.engine, "esp32"),
            Watchdog(self.engine),
        ]
        for part in self.parts:
            part.attach(self.upy)
        self.on("ms", lambda: self.time.ns // MS)
        self.on("wait", self._wait)
        self.on("next", self.time.step)
        self.on("air", self._set_air)
        self.on("around", self._set_around)
        self.on("hold", self.bus.hold_low)
        self.on("release", self.bus.release)
        self.on("stick", self.bus.stick)
        self.on("refuse", self.bus.refuse)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.close()

    def conditions(self, ns):
        return self.air(ns) if callable(self.air) else self.air

    def surroundings(self, ns):
        return self.around(ns) if callable(self.around) else self.around

    def on(self, name, fn):
        """Have the script's `do(name, …)` call `fn`."""
        self.upy.expose(f"bench.{name}", fn)

    def put(self, chip):
        """Put a chip on the I2C bus."""
        self.bus.devices[chip.address] = chip
        self.watch(chip)
        return chip

    def plug(self, chip):
        """Put a chip on the I2C bus; return what pulls it out after n bytes (-1: plugged in)."""
        plug = self.bus.devices[chip.address] = Plug(chip)
        return plug.pull

    def connect(self, chip):
        """Put a chip on the UART; `do("unplug")` pulls it out."""
        chip.plug(self.line)
        self.watch(chip)
        self.on("unplug", chip.unplug)
        self.on("noise", lambda data: self.line.send(bytes(data)))
        return chip

    def watch(self, chip):
        """Let the script break the chip (`do("fault", name, on)`) and switch its supply."""
        self.watch_faults(chip)
        self.on("power_up", chip.power_up)

    def watch_faults(self, chip):
        self.on("fault", lambda name, on: (chip.faults.add if on else chip.faults.discard)(name))

    def run(self, script, **release):
        """Run a script and return the lines that it prints."""
        prelude = _PRELUDE.format(
            firmware=str(firmware()),
            tests=str(Path(__file__).parent),
            scl=SCL,
            sda=SDA,
            rx=RX,
            wire=ONE_WIRE,
            tx=TX,
        )
        return self.upy.run(prelude + script, **release).splitlines()

    def numbers(self, script, **release):
        """Run a script and return its lines as tuples of numbers."""
        lines = self.run(script, **release)
        try:
            return [tuple(float(word) for word in line.split()) for line in lines]
        except ValueError:
            raise AssertionError("\n".join(lines)) from None

    def _wait(self, ms):
        # A driver that waits without a bound is seen here and not by a test that hangs.
        assert ms >= 0
        self.time.advance(ms)

    def _set_air(self, celsius, percent, pascal):
        self.air = Conditions(celsius, percent, pascal)

    def _set_around(self, *values):
        self.around = Surroundings(*values)


def in_rows(*values):
    """Return conditions of temperature (°C), humidity (%) and pressure (Pa)."""
    return Conditions(*values)


class Bytes:
    """A UART that has some bytes, and gives up to 32 of them at a time."""

    def __init__(self, data):
        self.data = data

    def any(self):
        return len(self.data)

    def readinto(self, buffer):
        count = min(len(buffer), len(self.data))
        buffer[:count], self.data = self.data[:count], self.data[count:]
        return count

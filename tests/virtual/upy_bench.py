"""Runs scripts on the real MicroPython with the chip's modules, without a board around it."""

import signal
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

from citynode.resources import micropython, upy
from citynode.virtual.engine import Engine
from citynode.virtual.soc.peripherals import hardware
from citynode.virtual.soc.peripherals.i2c import I2C
from citynode.virtual.soc.peripherals.pins import Pins
from citynode.virtual.soc.rpc import Server
from citynode.virtual.world import World
from citynode.virtual.world.weather import Conditions, Weather

_PRELUDE = """
import sys
sys.argv[:] = [{rpc!r}, {rpc!r}]
sys.path[:] = [{core!r}]
import _native, _rpc, _irq, _clock, _errno, _facts
_facts.chip = _rpc.call("system.facts")[0]
_facts.release = {release!r}
_clock.start(0, 0)
_irq.start()
sys.modules["errno"] = _errno
sys.path += [{upy!r}, ".frozen"]
import _tasks
sys.modules["_asyncio"] = _tasks
"""
_LIMIT_S = 20


class UpyBench:
    """The program of a chip, as peripherals see it; `run` gives what a script prints."""

    def __init__(self, engine):
        self.engine = engine
        self.handlers = {}
        self.irqs = []
        self.soft_reset_hooks = []
        self.exits = []
        self.process = None
        self.expose("irq.take", self._take)
        self.expose("irq.ready", lambda: None)
        self.expose("system.facts", lambda: ("esp32", False))
        self.expose("app.set_clock", lambda offset: None)
        self.expose("app.mac", lambda: bytes.fromhex("240ac4000104"))

    def expose(self, name, fn):
        self.handlers[name] = fn

    def at_soft_reset(self, hook):
        self.soft_reset_hooks.append(hook)

    def post_irq(self, channel, value):
        self.irqs.append([channel, value])
        if self.process is not None:
            self.process.send_signal(signal.SIGUSR1)

    def exit(self, kind, sleep_ms=None):
        self.exits.append((kind, sleep_ms))
        if self.process is not None:
            self.process.kill()

    def call(self, name, *args):
        return self.handlers[name](*args)

    def _take(self):
        taken, self.irqs[:] = list(self.irqs), []
        return taken

    def run(self, script, release=(1, 25, 0)):
        """Run a script to its end, as on a release; return its output and error output."""
        near, far = socket.socketpair()
        rpc = str(far.fileno())
        core = str(upy() / "core")
        prelude = _PRELUDE.format(rpc=rpc, core=core, upy=str(upy()), release=release)
        with near, far:
            self.process = subprocess.Popen(
                [micropython(), "-X", "heapsize=4M", "-c", prelude + script],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(far.fileno(),),
                cwd=Path("/"),
            )
            far.close()
            near.setblocking(False)
            server = Server(near, self.handlers)
            alive = [True]

            def receive():
                alive[0] = alive[0] and server.receive()
                if not alive[0]:
                    self.engine.remove_reader(near)

            output = bytearray()
            pipe = self.process.stdout

            def collect():
                data = pipe.read1()
                output.extend(data)
                if not data:
                    self.engine.remove_reader(pipe)
                    ended.append(True)

            ended = []
            self.engine.add_reader(near, receive)
            self.engine.add_reader(pipe, collect)
            limit = self.engine.clock.now_ns() + _LIMIT_S * 1_000_000_000
            guard = self.engine.call_at(limit, self.process.kill)
            try:
                self.engine.run(until=lambda: bool(ended))
            finally:
                guard.cancel()
                self.process.kill()
                self.process.wait()
                self.process = None
                pipe.close()
                self.engine.remove_reader(near)
        return output.decode().replace("\r\n", "\n")


AIR = Conditions(21.5, 47.0, 100_250.0)


class Board:
    """The hardware of a board around MicroPython; a context manager."""

    def __init__(self, chip="esp32"):
        scl, sda = (7, 6) if chip == "esp32c3" else (9, 8) if chip == "esp32s3" else (22, 21)
        engine = self.engine = Engine(seed=5)
        self.world = World(engine, Weather.constant(AIR))
        self.upy = UpyBench(engine)
        spec = SimpleNamespace(
            chip=chip,
            i2c=SimpleNamespace(scl=scl, sda=sda),
            i2c2=None,
            uarts=(),
            terminals={},
            battery=SimpleNamespace(pin=35, ratio=2.0) if chip == "esp32" else None,
            radio=None,
        )
        self.spec = spec
        self.parts = hardware(spec, engine, self.world, "b-0")
        for part in self.parts:
            part.attach(self.upy)
        self.pins = self.part(Pins)
        self.bus = self.part(I2C).buses[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.world.close()
        self.engine.close()

    def part(self, kind):
        return next(part for part in self.parts if isinstance(part, kind))

    def run(self, script, **kwargs):
        return self.upy.run(script, **kwargs)

    def reset(self):
        for part in self.parts:
            part.reset()

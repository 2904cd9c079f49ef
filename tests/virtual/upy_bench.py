"""Runs scripts on the real MicroPython with the chip's modules, without a board around it."""

import signal
import socket
import subprocess
from pathlib import Path

from citynode.resources import micropython, upy
from citynode.virtual.soc.rpc import Server

_PRELUDE = """
import sys
sys.argv[:] = [{rpc!r}]
sys.path[:] = [{core!r}]
import _native, _rpc, _irq, _clock
sys.path += [{upy!r}, ".frozen"]
_clock.start(0, 0)
# The queue of asyncio is in C and counts the interpreter's own ticks.
sys.modules["time"] = _native.time
_irq.start()
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

    def run(self, script):
        """Run a script to its end and return its output and error output, which must be empty."""
        near, far = socket.socketpair()
        rpc = str(far.fileno())
        prelude = _PRELUDE.format(rpc=rpc, core=str(upy() / "core"), upy=str(upy()))
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

"""MicroPython on a flash image as somebody at the serial port sees it, without a board around."""

from types import SimpleNamespace

import pytest
from citynode.resources import micropython
from citynode.virtual.engine import Engine
from citynode.virtual.soc import standin
from citynode.virtual.soc.app import MicroPythonApp
from citynode.virtual.soc.boot import AppImage
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.peripherals import hardware
from citynode.virtual.world import World
from citynode.virtual.world.weather import Conditions, Weather

_FLASH = 4 << 20
_LIMIT_NS = 20_000_000_000
PROMPT = b">>> "
RAW = b"raw REPL; CTRL-B to exit\r\n>"


class Terminal:
    """A chip with its program and the other end of its serial line; a context manager."""

    def __init__(self, folder, version="v1.25.0", chip="esp32", table=None):
        self.engine = Engine(seed=3)
        self.world = World(self.engine, Weather.constant(Conditions(20.0, 50.0, 100_000.0)))
        self.flash = NorFlash(folder / "flash.bin", _FLASH)
        self.app = MicroPythonApp(self.engine, self.flash, CHIPS[chip], micropython())
        self.output = bytearray()
        self.exits = []
        self.app.on_transmit = self.output.extend
        self.app.on_exit = self.exits.append
        spec = SimpleNamespace(
            chip=chip,
            i2c=SimpleNamespace(scl=5, sda=4),
            i2c2=None,
            uarts=(),
            terminals={},
            battery=None,
            radio=None,
        )
        for part in hardware(spec, self.engine, self.world, "t"):
            part.attach(self.app)
        table = table or standin.layout(_FLASH)
        running = next(each for each in table if each.type == 0)
        self.image = AppImage(
            version=version,
            project="",
            built="2025-04-15",
            idf_version="v5.4",
            partitions=table,
            running=running,
            flash_size=_FLASH,
            machine=f"Generic {CHIPS[chip].name} module with {CHIPS[chip].name}",
        )

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.app.kill()
        self.world.close()
        self.flash.close()
        self.engine.close()

    def start(self, until=PROMPT):
        """Switch on; return what is said up to the prompt."""
        self.output.clear()
        self.app.start(
            self.image,
            reset_cause="poweron",
            wake=None,
            rtc_memory=bytearray(),
            mac=bytes.fromhex("240ac4000104"),
            board_name="t",
        )
        return self.until(until)

    def until(self, end):
        """Wait for the end of what is said, and return all of it."""
        guard = self.engine.call_at(self.engine.clock.now_ns() + _LIMIT_NS, lambda: None)
        self.engine.run(until=lambda: self.output.endswith(end) or not guard.pending)
        guard.cancel()
        said = bytes(self.output)
        assert said.endswith(end), said[-2000:]
        self.output.clear()
        return said

    def pause(self, seconds):
        """Let the program run on."""
        self.engine.run(until=self.engine.clock.now_ns() + round(seconds * 1e9))

    def type(self, keys, end=PROMPT):
        """Send keys and return what comes back, up to `end`."""
        self.app.feed(keys.encode() if isinstance(keys, str) else keys)
        return self.until(end)

    def run(self, source):
        """Run a program through raw mode and return what it prints, its error text behind it."""
        self.type(b"\x01", b"raw REPL; CTRL-B to exit\r\n>")
        said = self.type(source.encode() + b"\x04", b"\x04>")
        self.type(b"\x02")
        assert said.startswith(b"OK"), said
        out, error = said[2:-2].split(b"\x04")
        return (out + error).decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def terminal(tmp_path_factory):
    with Terminal(tmp_path_factory.mktemp("flash")) as running:
        yield running


@pytest.fixture
def fresh(tmp_path):
    """Return a function that starts a chip of its own with the files that are given."""
    opened = []

    def start(files=(), **kwargs):
        running = Terminal(tmp_path, **kwargs)
        opened.append(running)
        running.__enter__()
        for name, text in dict(files).items():
            running.run(f"with open({name!r}, 'w') as f: f.write({text!r})")
        return running

    yield start
    for running in opened:
        running.__exit__()

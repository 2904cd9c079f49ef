"""A board that only has its ROM, with an engine in a thread, for the real esptool and espefuse."""

import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

from citynode.virtual.engine import Engine
from citynode.virtual.soc.board import Board, Parts, State
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.rom import RomLoader

MAC = bytes.fromhex("240ac4123458")
TOOLS = Path(sys.executable).parent


class NoApp:
    """The place of a program, which no test here starts."""

    def kill(self):
        """Nothing runs."""


class RomBench:
    """One board in a thread; `starts` has (mode, cause) of each start of its ROM."""

    def __init__(self, chip: str, folder: Path, size: int, *, paced: bool = False) -> None:
        self.chip = CHIPS[chip]
        self.engine = Engine()
        self.flash = NorFlash(folder / "flash.bin", size)
        self.efuse = EFuse(self.chip, MAC)
        self.starts: list[tuple[str, str]] = []
        self.failure: BaseException | None = None
        self.board = Board(
            self.engine,
            id="rom-0",
            name="ROM",
            chip=self.chip,
            mac=MAC,
            flash=self.flash,
            parts=Parts(
                make_loader=lambda: RomLoader(self.chip, self.flash, self.efuse),
                boot=self._boot,
                download_log=self._download_log,
                app=NoApp(),
            ),
            paced=paced,
        )
        self.board.port.listen(0)
        self.url = self.board.rfc2217_url
        self.pty = self.board.port.open_pty(folder / "tty")
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.board.power_on()
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.engine.stop()
        self._thread.join()
        self.board.close()
        self.engine.close()
        if self.failure is not None:
            raise self.failure

    def _run(self):
        try:
            self.engine.run()
        except BaseException as error:
            self.failure = error

    def _boot(self, cause):
        self.starts.append(("flash", cause))
        log = self.chip.boot_log(cause) + b"invalid header: 0xffffffff\r\n"
        return SimpleNamespace(log=log, app=None, retry_ms=None)

    def _download_log(self, cause):
        self.starts.append(("download", cause))
        return self.chip.download_log(cause)

    def call(self, function):
        """Run a function on the engine's thread and return its result."""
        future = Future()

        def run():
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)

        self.engine.call_soon_threadsafe(run)
        return future.result(20)

    def wait_for_start(self, mode, cause):
        """Wait until the newest start of the ROM is this one."""
        limit = time.monotonic() + 5
        while self.starts[-1] != (mode, cause):
            assert time.monotonic() < limit, self.starts
            time.sleep(0.01)

    def download(self):
        """Put the chip into download mode, as its buttons do."""

        def press():
            self.board.set_lines(dtr=False, rts=True)
            self.board.set_lines(dtr=True, rts=False)
            self.board.set_lines(dtr=False, rts=False)
            return self.board.state

        assert self.call(press) is State.DOWNLOAD

    def tool(self, name, *args, timeout=120):
        """Run a tool's executable; return the finished process with its output as text."""
        return subprocess.run(
            [TOOLS / name, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=timeout,
            env={"PATH": "/usr/bin:/bin", "COLUMNS": "300", "HOME": "/nonexistent"},
        )

    def esptool(self, *args, stub=True, after="no-reset-stub", enter=True):
        """Run esptool on the PTY with the chip put into download mode; return its output.

        The PTY has no modem lines: what the tool would do with them is done beforehand. Over
        RFC 2217 pyserial spends 0.2 s on each request, too long for many tests.
        """
        if enter:
            self.download()
        options = ["--chip", self.chip.id, "--port", self.pty, "--before", "no-reset"]
        options += ["--after", after] if stub else ["--no-stub", "--after", "no-reset"]
        done = self.tool("esptool", *options, *args)
        assert done.returncode == 0, done.stdout
        return done.stdout

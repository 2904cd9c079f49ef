"""Starts of a program as forks of one process, so that each costs little.

The process of an interpreter is a mother: it loads the modules of the virtual board once, and each
start of the board's program, also after a deep sleep, is a child that it forks. It asks for a
"life" before each; a child says that it is "born", with its process id.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from functools import cache
from pathlib import Path

from citynode.virtual.engine import Timer
from citynode.virtual.soc.app import MicroPythonApp
from citynode.virtual.soc.boot import AppImage
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.virtualtime import VirtualEngine


class ForkedApp(MicroPythonApp, ABC):
    """Runs MicroPython for one board in virtual time; `_run` and `_answer` are its subclass's."""

    def __init__(
        self, engine: VirtualEngine, flash: NorFlash, chip: Chip, interpreter: Path
    ) -> None:
        super().__init__(engine, flash, chip, interpreter)
        self._prefix = _same_addresses()
        self._first_module = "import _virtual;"
        self._due: Timer | None = None
        self._life = 0
        self._pid: int | None = None  # of the child
        self._mother: subprocess.Popen[bytes] | None = None
        self._born_of: AppImage | None = None
        self._at_rest = False  # the mother waits for leave to fork
        self.expose("life", self._next_life)
        self.expose("born", self._born)

    def close(self) -> None:
        """End the program and let go of what outlives it."""
        self.kill()
        self._end_mother()

    @abstractmethod
    def _run(self) -> None: ...

    @abstractmethod
    def _give_life(self) -> None:
        """Answer the mother."""

    # -- starts ---------------------------------------------------------------------------------

    def _open_input(self) -> None:
        if self._mother is not None and self._born_of != self._image:
            self._end_mother()
        if self._mother is None:
            super()._open_input()
            return
        # What the last program has not read.
        self._stdin_far.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self._stdin_far.recv(1 << 16):
                pass
        self._stdin_far.setblocking(True)

    def _close_input(self) -> None:
        if self._mother is None:
            super()._close_input()

    def _spawn(self) -> None:
        if self._mother is None:
            super()._spawn()
            self._mother, self._born_of, self._at_rest = self._process, self._image, False
        self._process = self._mother
        self._life += 1
        first = self._be_born if self._at_rest else self._run
        self._due = self._engine.call_own_at(self._engine.clock.now_ns(), first)

    def _be_born(self) -> None:
        self._at_rest = False
        self._give_life()
        self._run()

    def _born(self, pid: int) -> None:
        self._pid = pid

    def _next_life(self) -> None:
        """Start the program, unless the mother asks because the last one has ended by itself."""
        if self._pid is not None:
            self._pid = None
            self._at_rest = True
            self.exit("panic")

    # -- ends -----------------------------------------------------------------------------------

    def _end_process(self) -> bool:
        if self._process is None:
            return False
        self._process = None
        self._life += 1
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._clear()
        if self._pid is None:
            if not self._at_rest:
                self._end_mother()
            return True
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._pid = None
        # What it has printed since its last call was to be seen at the next one.
        with contextlib.suppress(OSError):
            while self._stdout.recv(1 << 16):
                pass
        return True

    def _end_mother(self) -> None:
        mother, self._mother = self._mother, None
        if mother is None:
            return
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            self._pid = None
        mother.kill()
        mother.wait()
        for pipe in self._pipes:
            pipe.close()
        self._pipes.clear()
        super()._close_input()

    def _stop_child(self) -> None:
        """Stop the program: only a reset can end it."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGSTOP)

    def _cpu_s(self) -> float:
        """Return the CPU time that the interpreter has taken."""
        pid = self._pid or (self._mother.pid if self._mother is not None else 0)
        try:
            stat = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return 0.0  # no /proc: the clock on the wall has to do
        user, system = stat.rpartition(b")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@cache
def _same_addresses() -> tuple[str, ...]:
    """Return the command that gives a process the same addresses in each run, if there is one.

    What a program has in sets, prints of objects, or leaves to the collector's guess depends on it.
    """
    command = shutil.which("setarch")
    if command is None:
        return ()
    works = subprocess.run([command, "-R", "true"], capture_output=True, check=False)
    return (command, "-R") if works.returncode == 0 else ()

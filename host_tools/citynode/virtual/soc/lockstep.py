"""The program on the chip in virtual time: it computes, or it waits for the answer to a call.

The interpreter has its own view of time, which goes on by a fixed cost with each look at the clock
and each call (`upy/core/_virtual.py`). A call says at what time it is made; the engine does
whatever comes before, then the call. While an interpreter computes, nothing else happens.

The process of an interpreter is a mother: it loads the modules of the virtual board once, and each
start of the board's program, also after a deep sleep, is a child that it forks. It asks for a
"life" before each; a child says that it is "born", with its process id.

A request is its length (u32, of what follows), the board's time (u64, ns since its start), the time
at which it fed the watchdog since the last request or 0 (u64), the length of the JSON part (u32), a
JSON list and its bytes as in `rpc`. An answer is its length (u32),
the time (u64), the time up to which nothing can happen (u64), flags (u8: 1 soft interrupts wait,
2 Ctrl-C, 4 the link or sockets have changed), status and JSON as in `rpc`, with no JSON for None.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.virtual.engine import Timer
from citynode.virtual.soc.app import IRQ_DEPTH, PROGRAM_IRQS, MicroPythonApp
from citynode.virtual.soc.boot import AppImage
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.peripherals.timers import Watchdog
from citynode.virtual.soc.rpc import Value, encode, perform
from citynode.virtual.virtualtime import VirtualEngine

_WAIT, _SYNC, _LIFE, _BORN = b'["wait", ', b'["sync"]', b'["life"]', b'["born", '
_REQUEST = struct.Struct("<IQQI")
_ANSWER = struct.Struct("<IQQBBI")
_IRQ, _INTERRUPT, _NETWORK = 1, 2, 4
_LOOK_S = 0.05  # how often a computing interpreter is looked at
_SPIN_S = 20.0  # CPU time that a program may compute without a call
_STUCK = 20  # times that on the wall: it does not even compute
_PPM = 1_000_000


class HungError(CitynodeError):
    """A program computes for ever: it makes no call, so its time stands still."""

    def __init__(self, board: str, seconds: float) -> None:
        super().__init__(
            f"{board}: the program has computed for {seconds:g} s and asked for nothing",
            "let its loops sleep, look at a clock or use hardware, or start a watchdog",
            exit_code=1,
        )
        self.board = board


@dataclass(frozen=True, slots=True)
class _Request:
    at_ns: int  # of the engine's clock
    text: bytes
    blob: bytes


class LockstepApp(MicroPythonApp):
    """Runs MicroPython for one board in virtual time.

    `label` names the board in errors. `watchdog` ends a program that computes for ever; if it is
    not on, that is a HungError, which comes out of the engine's `run` after `spin_s` seconds of CPU
    time. Each of `interruptible` tells how soon (ns) what another board does may interrupt the
    program, None if it cannot.
    """

    def __init__(
        self,
        engine: VirtualEngine,
        flash: NorFlash,
        chip: Chip,
        interpreter: Path,
        label: str = "",
        spin_s: float = _SPIN_S,
    ) -> None:
        super().__init__(engine, flash, chip, interpreter)
        self.watchdog: Watchdog | None = None
        self.interruptible: list[Callable[[], int | None]] = []
        self.calls = 0  # that the program has made
        self._virtual = engine
        self._label = label
        self.spin_s = spin_s
        self._prefix = _same_addresses()
        self._first_module = "import _virtual;"
        self._due: Timer | None = None
        self._mother: subprocess.Popen[bytes] | None = None
        self._born_of: AppImage | None = None
        self._at_rest = False
        self._life = 0
        self._pid: int | None = None
        self._clock_ppm = 0
        self._since_ns = self._own_ns = 0  # the two clocks at one moment

    def _clear(self) -> None:
        super()._clear()
        self._waiting = False
        self._news = False
        self._interrupted = False
        self._network_changed = False
        self._inbox = bytearray()

    # -- for the board and its peripherals ------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Hand over bytes from the serial port; the interrupt character interrupts."""
        super().feed(data)
        self.stir()

    def post_irq(self, channel: int, value: int) -> None:
        """Have the program call what it has attached to `channel`, as soon as it can."""
        if self._process is None:
            return
        if channel >= PROGRAM_IRQS and len(self._irqs) >= IRQ_DEPTH:
            return
        self._irqs.append((channel, value))
        if self._irq_ready:
            self.stir()

    def network_changed(self, wake: bool) -> None:
        """Tell the program to ask what has become of its link and its sockets."""
        if self._process is not None:
            self._network_changed = True
            if wake:
                self.stir()

    def stir(self) -> None:
        """Have the program look again at what it waits for."""
        self._news = True
        if self._waiting:
            self._waiting = False
            if self._due is not None:
                self._due.cancel()
            self._due = self._engine.call_own_at(self._engine.clock.now_ns(), self._woken)

    # -- the board's clock ----------------------------------------------------------------------

    @property
    def clock_ppm(self) -> int:
        """How much faster than true time the crystal is, in millionths; below 0: slower.

        It can be changed at any time, as by the weather. Deep sleep and hardware timers keep true
        time.
        """
        return self._clock_ppm

    @clock_ppm.setter
    def clock_ppm(self, ppm: int) -> None:
        now = self._engine.clock.now_ns()
        self._since_ns, self._own_ns = now, self._own_time(now)
        self._clock_ppm = ppm
        self.stir()

    def _own_time(self, true_ns: int) -> int:
        """Return what the board's clock shows (ns since its start) at a time of the engine's."""
        return self._own_ns + (true_ns - self._since_ns) * (_PPM + self._clock_ppm) // _PPM

    def _true_time(self, own_ns: int) -> int:
        """Return the engine's time when the board's clock comes to `own_ns`."""
        return self._since_ns - (self._own_ns - own_ns) * _PPM // (_PPM + self._clock_ppm)

    # -- the process ----------------------------------------------------------------------------

    def close(self) -> None:
        """End the program and let go of what outlives it."""
        self.kill()
        self._end_mother()

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
        self._since_ns, self._own_ns = self._start_ns, 0
        first = self._be_born if self._at_rest else self._run
        self._due = self._engine.call_own_at(self._engine.clock.now_ns(), first)

    def _serve(self, rpc: socket.socket, flash: socket.socket) -> None:
        self._rpc = rpc
        rpc.setblocking(True)
        self._lines = select.poll()
        self._lines.register(rpc, select.POLLIN)
        self._lines.register(flash, select.POLLIN)

    def _be_born(self) -> None:
        self._at_rest = False
        self._answer(0, None)
        self._run()

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

    def _run(self) -> None:
        """Let the program compute and make its calls until something else comes before one."""
        self._due = None
        life = self._life
        while self._life == life:
            request = self._receive()
            if request is None:
                return
            if not self._virtual.reach(request.at_ns):
                self._due = self._engine.call_own_at(request.at_ns, self._go_on, request)
                return
            if not self._make(request):
                return

    def _go_on(self, request: _Request) -> None:
        self._due = None
        if self._make(request):
            self._run()

    def _make(self, request: _Request) -> bool:
        """Make a call at its time; tell whether the program goes on at once."""
        self.calls += 1
        self._drain()
        if self._input:
            self._write_input()
        text = request.text
        if text.startswith(_WAIT):
            return self._wait(int(text[len(_WAIT) : -1]))
        if text == _SYNC:
            self._answer(0, None)
            return True
        if text == _LIFE:
            return self._next_life()
        if text.startswith(_BORN):
            self._pid = int(text[len(_BORN) : -1])
            self._answer(0, None)
            return True
        life = self._life
        status, value = perform(self._handlers, text, request.blob)
        if self._life != life:
            return False
        self._answer(status, value)
        return True

    def _next_life(self) -> bool:
        """Start the program, unless the mother asks because the last one has ended by itself."""
        if self._pid is None:
            self._answer(0, None)
            return True
        self._pid = None
        self._at_rest = True
        self.exit("panic")
        return False

    def _wait(self, until_ns: int) -> bool:
        """Answer when the board's time is `until_ns` (below 0: never), or when there is news."""
        due_ns = self._true_time(until_ns)
        if self._news or (until_ns >= 0 and self._virtual.reach(due_ns)):
            self._answer(0, None)
            return True
        self._waiting = True
        if until_ns >= 0:
            self._due = self._engine.call_own_at(due_ns, self._woken)
        return False

    def _woken(self) -> None:
        self._waiting = False
        self._answer(0, None)
        self._run()

    def _answer(self, status: int, value: Value) -> None:
        flags = _IRQ if self._irqs and self._irq_ready else 0
        if self._interrupted:
            flags |= _INTERRUPT
            self._interrupted = False
        if self._network_changed:
            flags |= _NETWORK
            self._network_changed = False
        self._news = False
        text, blob = (b"", b"") if value is None else encode(value)
        now = self._own_time(self._engine.clock.now_ns())
        horizon = self._own_time(self._horizon_ns())
        size = _ANSWER.size - 4 + len(text) + len(blob)
        head = _ANSWER.pack(size, now, horizon, flags, status, len(text))
        # An interpreter that is gone is noticed when its next call does not come.
        with contextlib.suppress(OSError):
            self._rpc.sendall(head + text + blob)

    def _horizon_ns(self) -> int:
        """Return up to when nothing can happen to the program that it does not do itself."""
        now = self._engine.clock.now_ns()
        if self._news:
            return now
        virtual = self._virtual
        until = virtual.next_shared_ns()
        for after in self.interruptible:
            delay_ns = after()
            if delay_ns is not None:
                until = min(until, virtual.next_ns() + delay_ns)
        if self.watchdog is not None and self.watchdog.due_ns is not None:
            until = min(until, self.watchdog.due_ns)
        return min(until, now + self._virtual.lead_ns)

    # -- what comes from it ---------------------------------------------------------------------

    def _receive(self) -> _Request | None:
        """Wait for the next call; None if there will be none."""
        inbox = self._inbox
        looks = 0
        cpu_s = 0.0
        while True:
            if len(inbox) >= _REQUEST.size:
                size, at_ns, fed_ns, json_size = _REQUEST.unpack_from(inbox)
                if len(inbox) >= 4 + size:
                    body = bytes(inbox[_REQUEST.size : 4 + size])
                    inbox.clear()
                    if fed_ns and self.watchdog is not None:
                        self.watchdog.fed_at(self._true_time(fed_ns))
                    at_ns = max(self._true_time(at_ns), self._engine.clock.now_ns())
                    return _Request(at_ns, body[:json_size], body[json_size:])
            ready = self._lines.poll(_LOOK_S * 1000)
            if not ready:
                # What is printed without end needs room.
                self._drain()
                looks += 1
                if looks == 1:
                    cpu_s = self._cpu_s()
                spun_s = self._cpu_s() - cpu_s
                if spun_s > self.spin_s or looks * _LOOK_S > self.spin_s * _STUCK:
                    self._hang()
                    return None
                continue
            if all(fd != self._rpc.fileno() for fd, _ in ready):
                # It is computing, and has its files changed; that takes no time.
                self._flash_line.receive()
                continue
            try:
                data = self._rpc.recv(1 << 18)
            except OSError:
                data = b""
            if not data:
                self._pid = None
                self._died()
                return None
            inbox += data

    def _hang(self) -> None:
        """Stop a program that computes for ever: only a reset can end it."""
        if self.watchdog is None or self.watchdog.due_ns is None:
            raise HungError(self._label, self.spin_s)
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

    def _write_input(self) -> None:
        try:
            sent = self._stdin.send(self._input)
            del self._input[:sent]
        except BlockingIOError:
            pass  # the rest goes when the program makes its next call
        except OSError:
            self._input.clear()

    # -- interruptions --------------------------------------------------------------------------

    def _interrupt(self) -> None:
        self._interrupted = True

    def _set_interrupt_char(self, char: int) -> None:
        self._interrupt_char = char

    def _take_signals(self) -> None:
        self._irq_ready = True


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

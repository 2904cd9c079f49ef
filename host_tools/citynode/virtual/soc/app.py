"""The program on the chip: a MicroPython interpreter in a process of its own.

Its modules for the chip's hardware (`virtual/upy`) call back over a socket (`rpc`). What the
firmware prints comes over a pipe; what a tool sends goes to its standard input. Ctrl-C is a signal,
as it is the UART interrupt's business on a chip.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from citynode.image.micropython import version_numbers
from citynode.resources import upy
from citynode.virtual.engine import Engine, Timer
from citynode.virtual.soc.boot import AppImage
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.flashline import FlashLine
from citynode.virtual.soc.idfheap import heap_regions
from citynode.virtual.soc.rpc import Handler, HardwareError, Server, Value
from citynode.virtual.soc.storage import Storage

ExitKind = Literal["reset", "deepsleep", "task_wdt", "panic", "bootloader"]

# Heap (bytes) that the modules of the virtual board may take beside the chip's own.
_OWN_HEAP = 400_000
# The unix port's words are twice as wide as the chip's: the same objects take twice the bytes.
_WORDS = 2
_EPOCH_2000_NS = 946_684_800 * 1_000_000_000  # where the chip's time of day starts
IRQ_DEPTH = 8  # MICROPY_SCHEDULER_DEPTH
PROGRAM_IRQS = 100  # channels from here on are the program's, below are the driver's own
_ASK_AGAIN_S = 0.01  # a soft interrupt that the program has not fetched is signalled again
_INTERRUPT_S = 0.02  # time that the interpreter gets to notice an interruption
_INTERRUPT_LIMIT_S = 0.5
_INPUT_LIMIT = 1 << 18  # bytes that wait for a program which does not read; the rest is lost
_CTRL_C = b"\x03"

_START = (
    "import vfs,sys;vfs.mount(vfs.VfsPosix({upy!r}),'/.vb');sys.path[:]=['/.vb/core'];"
    "sys.argv[:]=[{rpc!r},{flash!r}];"
    "{first}import _start;_start.run(globals())"
)
_BUILDS = {"esp32": "ESP32_GENERIC", "esp32s3": "ESP32_GENERIC_S3", "esp32c3": "ESP32_GENERIC_C3"}
_MPY_ARCH = {"esp32": 10, "esp32s3": 10, "esp32c3": 11}  # xtensawin, rv32imc


@dataclass(frozen=True)
class AppExit:
    """How the program ended; `sleep_ms` is None for a sleep without end."""

    kind: ExitKind
    sleep_ms: int | None = None


class MicroPythonApp:
    """Runs MicroPython for one board; all methods belong to the engine's thread."""

    _prefix: tuple[str, ...] = ()  # of the command line
    _first_module = ""  # a statement before all others

    def __init__(self, engine: Engine, flash: NorFlash, chip: Chip, interpreter: Path) -> None:
        self.on_transmit: Callable[[bytes], None] = lambda data: None
        self.on_exit: Callable[[AppExit], None] = lambda end: None
        self._engine = engine
        self._flash = flash
        self._chip = chip
        self._interpreter = interpreter
        self._handlers: dict[str, Handler] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._server: Server | None = None
        self._pipes: list[socket.socket] = []
        self._input = bytearray()
        self._rtc_start_ns = 0  # engine time at which the board's time of day was 2000-01-01
        self._soft_reset_hooks: list[Callable[[], None]] = []
        self._clear()
        self._storage = Storage(flash, chip.image_chip_id, self.expose)
        for name, handler in (
            ("app.facts", self._facts),
            ("app.uptime_us", self._uptime_us),
            ("app.set_clock", self._set_clock),
            ("app.exit", self._exit),
            ("app.mac", lambda: self._mac),
            ("app.random", self._random),
            ("app.raw", self._set_raw),
            ("app.reset_cause", lambda: self._cause),
            ("app.rtc_memory", self._rtc),
            ("app.soft_reset", self._soft_reset),
            ("app.wake", lambda: self._wake),
            ("chip.heap_info", self._heap_info),
            ("chip.temperature", self._temperature),
            ("irq.ready", self._take_signals),
            ("irq.take", self._take_irqs),
            ("kbd", self._set_interrupt_char),
            ("stdout.raw", self._raw_output),
        ):
            self.expose(name, handler)

    def _clear(self) -> None:
        self._interrupt_char = -1
        self._interrupt_timer: Timer | None = None
        self._irqs: deque[tuple[int, int]] = deque()
        self._irq_timer: Timer | None = None
        # Until the program has installed its handler, the signal would end it.
        self._irq_ready = False

    # -- for the board --------------------------------------------------------------------------

    def start(
        self,
        app: AppImage,
        *,
        reset_cause: str,
        wake: str | None,
        rtc_memory: bytearray,
        mac: bytes,
        board_name: str,
    ) -> None:
        """Start the interpreter as the program of the image `app`."""
        self._image = app
        self._cause = reset_cause
        self._wake = wake
        self._rtc_memory = rtc_memory
        self._mac = mac
        self._board_name = board_name
        self._raw = False
        self._start_ns = self._engine.clock.now_ns()
        if reset_cause in ("poweron", "ext", "brownout"):
            self._rtc_start_ns = self._start_ns
        self._random_stream = self._engine.rng(f"entropy {mac.hex()} {self._start_ns}")
        self._storage.use(app)
        self._open_input()
        self._spawn()

    def kill(self) -> None:
        """End the program at once, as a loss of power does."""
        if self._end_process():
            self._input.clear()
            self._close_input()

    def close(self) -> None:
        """End the program and let go of what outlives it."""
        self.kill()

    def _open_input(self) -> None:
        # The far end stays open here as well: what a tool has sent outlives a soft reset.
        self._stdin, self._stdin_far = socket.socketpair()
        self._stdin.setblocking(False)

    def _close_input(self) -> None:
        self._engine.remove_writer(self._stdin)
        self._stdin.close()
        self._stdin_far.close()

    def _end_process(self) -> bool:
        process, self._process = self._process, None
        if process is None:
            return False
        process.kill()
        process.wait()
        for timer in (self._interrupt_timer, self._irq_timer):
            if timer is not None:
                timer.cancel()
        self._clear()
        for pipe in self._pipes:
            self._engine.remove_reader(pipe)
            pipe.close()
        self._pipes.clear()
        self._server = None
        return True

    def feed(self, data: bytes) -> None:
        """Hand over bytes from the serial port; the interrupt character interrupts."""
        if self._process is None:
            return
        if self._interrupt_char == _CTRL_C[0] and _CTRL_C in data:
            self._interrupt()
            data = data.replace(_CTRL_C, b"")
        if data:
            self._input += data[: _INPUT_LIMIT - len(self._input)]
            self._write_input()

    # -- for peripherals ------------------------------------------------------------------------

    def expose(self, name: str, fn: Handler) -> None:
        """Let the program call `fn` as `name`; OSError and HardwareError reach it."""
        self._handlers[name] = fn

    def post_irq(self, channel: int, value: int) -> None:
        """Have the program call what it has attached to `channel`, as soon as it can."""
        if self._process is None:
            return
        if channel >= PROGRAM_IRQS and len(self._irqs) >= IRQ_DEPTH:
            return  # MicroPython's queue is full: what comes now is lost
        self._irqs.append((channel, value))
        if self._irq_timer is None and self._irq_ready:
            self._signal_irq()

    def exit(self, kind: ExitKind, sleep_ms: int | None = None) -> None:
        """End the program from inside the chip (a watchdog, a reset by a register)."""
        if self._process is not None:
            self._drain()
            self.kill()
            self.on_exit(AppExit(kind, sleep_ms))

    def at_soft_reset(self, hook: Callable[[], None]) -> None:
        """Have `hook` called when the program starts anew by a soft reset."""
        self._soft_reset_hooks.append(hook)

    # -- the process ----------------------------------------------------------------------------

    def _spawn(self) -> None:
        rpc, rpc_far = socket.socketpair()
        flash, flash_far = socket.socketpair()
        stdout, stdout_far = socket.socketpair()
        heap = self._chip.heap_size * _WORDS + _OWN_HEAP
        lines = (rpc_far.fileno(), flash_far.fileno())
        # Equally long whatever is open already: the text is in the interpreter's heap.
        script = _START.format(
            upy=str(upy()), rpc=f"{lines[0]:06}", flash=f"{lines[1]:06}", first=self._first_module
        )
        try:
            self._process = subprocess.Popen(
                [*self._prefix, str(self._interpreter), "-X", f"heapsize={heap}", "-c", script],
                stdin=self._stdin_far.fileno(),
                stdout=stdout_far.fileno(),
                stderr=stdout_far.fileno(),
                pass_fds=lines,
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "TZ": "UTC"},
                cwd="/",
                start_new_session=True,  # Ctrl-C at the host's terminal is not for the board
            )
        finally:
            for far in (rpc_far, flash_far, stdout_far):
                far.close()
        self._pipes = [rpc, flash, stdout]
        for pipe in self._pipes:
            pipe.setblocking(False)
        self._stdout = stdout
        self._flash_line = FlashLine(flash, self._storage)
        self._serve(rpc, flash)

    def _serve(self, rpc: socket.socket, flash: socket.socket) -> None:
        """Answer the calls of the process that was started, and send on what it prints."""
        self._server = Server(rpc, self._handlers)
        self._engine.add_reader(rpc, self._called)
        self._engine.add_reader(flash, partial(self._flash_changed, self._flash_line))
        self._engine.add_reader(self._stdout, self._printed)

    def _called(self) -> None:
        server = self._server
        if server is not None and not server.receive() and server is self._server:
            self._died()

    def _flash_changed(self, line: FlashLine) -> None:
        if not line.receive():
            self._died()

    def _printed(self) -> None:
        if not self._drain():
            self._died()

    def _died(self) -> None:
        """The interpreter has ended by itself: on a chip that is a crash."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
        self.exit("panic")

    def _drain(self) -> bool:
        """Send on what the program has printed; False when its end is closed."""
        stdout = self._stdout
        while self._process is not None:
            try:
                data = stdout.recv(1 << 16)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            # The port writes CR LF for LF of everything that is text.
            self.on_transmit(data.replace(b"\n", b"\r\n"))
        return True

    def _write_input(self) -> None:
        try:
            sent = self._stdin.send(self._input)
            del self._input[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._input.clear()
        if self._input:
            self._engine.add_writer(self._stdin, self._write_input)
        elif self._process is not None:
            self._engine.remove_writer(self._stdin)

    # -- interruptions --------------------------------------------------------------------------

    def _interrupt(self) -> None:
        # A second signal before the first has been noticed would end the interpreter. On the chip
        # it changes nothing either: the exception is pending already.
        if self._interrupt_timer is not None or self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        self._noticed_by(self._engine.clock.now_ns() + round(_INTERRUPT_LIMIT_S * 1e9))

    def _noticed_by(self, limit_ns: int) -> None:
        self._interrupt_timer = self._engine.call_later(_INTERRUPT_S, self._look, limit_ns)

    def _look(self, limit_ns: int) -> None:
        self._interrupt_timer = None
        if self._engine.clock.now_ns() < limit_ns and self._computing():
            self._noticed_by(limit_ns)

    def _computing(self) -> bool:
        """Tell whether the process may be in the middle of something and not have looked yet."""
        if self._process is None:
            return False
        try:
            stat = Path(f"/proc/{self._process.pid}/stat").read_bytes()
        except OSError:
            return True
        return stat.rpartition(b")")[2].split()[0] != b"S"

    def _set_interrupt_char(self, char: int) -> None:
        self._interrupt_char = char
        if self._interrupt_timer is not None and char < 0:
            # The signal has come before the answer to this call goes out.
            self._interrupt_timer.cancel()
            self._interrupt_timer = None

    def _signal_irq(self) -> None:
        self._irq_timer = None
        if self._irqs and self._process is not None:
            self._process.send_signal(signal.SIGUSR1)
            self._irq_timer = self._engine.call_later(_ASK_AGAIN_S, self._signal_irq)

    def _take_signals(self) -> None:
        self._irq_ready = True
        self._signal_irq()

    def _take_irqs(self) -> Value:
        if self._irq_timer is not None:
            self._irq_timer.cancel()
            self._irq_timer = None
        taken: list[Value] = [list(irq) for irq in self._irqs]
        self._irqs.clear()
        return taken

    # -- calls of the program -------------------------------------------------------------------

    def _facts(self) -> str:
        image = self._image
        mcu = self._chip.name.replace("-", "")  # as MicroPython writes it
        return json.dumps(
            {
                "version": image.version,
                "release": list(version_numbers(image.version)),
                "built": image.built,
                "machine": image.machine or f"{self._board_name} with {mcu}",
                "build": _BUILDS[self._chip.id],
                "chip": self._chip.id,
                # Version 6.3 of the format, with the chip's architecture for native code.
                "mpy": 6 | 3 << 8 | _MPY_ARCH[self._chip.id] << 10,
                "flash": str(self._flash.path.absolute()),
                "heap": self._chip.heap_size * _WORDS,
                "clock_offset_ns": _EPOCH_2000_NS + self._start_ns - self._rtc_start_ns,
                "raw": self._raw,
            }
        )

    def _uptime_us(self) -> int:
        return (self._engine.clock.now_ns() - self._start_ns) // 1000

    def _set_clock(self, offset_ns: int) -> None:
        self._rtc_start_ns = self._start_ns - (offset_ns - _EPOCH_2000_NS)

    def _random(self, size: int) -> bytes:
        if not 0 <= size <= 1 << 16:
            raise HardwareError("ValueError")
        return self._random_stream.randbytes(size)

    def _rtc(self, data: bytes | None) -> bytes:
        if data is not None:
            if len(data) > 2048:
                raise HardwareError("ValueError", "buffer too long")
            self._rtc_memory[:] = data
        return bytes(self._rtc_memory)

    def _heap_info(self, capabilities: int) -> Value:
        return heap_regions(self._chip.id, capabilities)

    def _temperature(self) -> int:
        return 45  # °C inside of the chip, as one shows that idles at room temperature

    def _set_raw(self, raw: bool) -> None:
        self._raw = raw

    def _raw_output(self, data: bytes) -> None:
        self._drain()
        self.on_transmit(data)

    def _exit(self, kind: ExitKind, sleep_ms: int | None = None) -> None:
        self.exit(kind, sleep_ms)

    def _soft_reset(self) -> None:
        self._drain()
        self._end_process()
        for hook in self._soft_reset_hooks:
            hook()
        self._spawn()

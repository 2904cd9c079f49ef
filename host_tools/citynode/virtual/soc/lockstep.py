"""The program on the chip in virtual time: it computes, or it waits for the answer to a call.

The interpreter has its own view of time, which goes on by a fixed cost with each look at the clock
and each call (`upy/core/_virtual.py`). A call says at what time it is made; the engine does
whatever comes before, then the call. While an interpreter computes, nothing else happens.
"""

import select
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.virtual.soc.app import IRQ_DEPTH, PROGRAM_IRQS
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.lives import ForkedApp
from citynode.virtual.soc.lockline import (
    INTERRUPT,
    IRQ,
    NETWORK,
    LockLine,
    Posted,
    Request,
)
from citynode.virtual.soc.peripherals.timers import Watchdog
from citynode.virtual.soc.rpc import encode, perform
from citynode.virtual.virtualtime import VirtualEngine

_LOOK_S = 0.05  # how often a computing interpreter is looked at
_SPIN_S = 20.0  # CPU time that a program may compute without a call
_STUCK = 20  # times that on the wall: it does not even compute
_PPM = 1_000_000
_PINS = struct.Struct("<bb")  # of SPI: MOSI, MISO
_TIME = struct.Struct("<q")


class HungError(CitynodeError):
    """A program computes for ever: it makes no call, so its time stands still."""

    def __init__(self, board: str, seconds: float) -> None:
        super().__init__(
            f"{board}: the program has computed for {seconds:g} s and asked for nothing",
            "let its loops sleep, look at a clock or use hardware, or start a watchdog",
            exit_code=1,
        )
        self.board = board


class LockstepApp(ForkedApp):
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
        self._clock_ppm = 0
        self._since_ns = self._own_ns = 0  # the two clocks at one moment
        super().__init__(engine, flash, chip, interpreter)
        self.watchdog: Watchdog | None = None
        self.interruptible: list[Callable[[], int | None]] = []
        self.calls = 0  # that the program has made
        self.spin_s = spin_s
        self._virtual = engine
        self._label = label

    def _clear(self) -> None:
        super()._clear()
        self._waiting = False
        self._news = False
        self._interrupted = False
        self._network_changed = False

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
        past = true_ns - self._since_ns
        return self._own_ns + past + past * self._clock_ppm // _PPM

    def _true_time(self, own_ns: int) -> int:
        """Return the engine's time when the board's clock comes to `own_ns`."""
        return self._since_ns - (self._own_ns - own_ns) * _PPM // (_PPM + self._clock_ppm)

    # -- the program's calls --------------------------------------------------------------------

    def _spawn(self) -> None:
        super()._spawn()
        self._since_ns, self._own_ns = self._start_ns, 0

    def _serve(self, rpc: socket.socket, flash: socket.socket) -> None:
        self._line = LockLine(rpc, flash, self._flash_line.receive)
        self._printing = select.poll()
        self._printing.register(self._stdout, select.POLLIN)

    def _end_process(self) -> bool:
        if self._process is not None:
            self._line.clear()
        return super()._end_process()

    def _give_life(self) -> None:
        self._answer()

    def _run(self) -> None:
        """Let the program compute and make its calls until something else comes before one."""
        self._due = None
        life = self._life
        while self._life == life:
            request = self._receive()
            if request is None or not self._proceed(request):
                return

    def _go_on(self, request: Request) -> None:
        self._due = None
        if self._proceed(request, now=True):
            self._run()

    def _proceed(self, request: Request, *, now: bool = False) -> bool:
        """Make the calls of a request, each at its time; tell whether the program goes on at once.

        `now`: the time of the first has come.
        """
        life = self._life
        posted = request.posted
        while True:
            own_ns = posted[0][0] if posted else request.at_ns
            if not now:
                at_ns = max(self._true_time(own_ns), self._engine.clock.now_ns())
                if not self._virtual.reach(at_ns):
                    self._due = self._engine.call_own_at(at_ns, self._go_on, request)
                    return False
            now = False
            self.calls += 1
            if not posted:
                return self._make(request)
            _, number, what, data = posted.popleft()
            if what >= Posted.GET:
                return self._ask(number, what, data)
            if what == Posted.WRITE:
                self._transfer(number, data)
            else:
                self._handlers["pin.set"](number, what)
            if self._life != life:
                return False

    def _ask(self, number: int, what: int, data: bytes) -> bool:
        """Make a posted call that is answered."""
        self._look_around()
        if what == Posted.WAIT:
            return self._wait(_TIME.unpack(data)[0])
        blob = b""
        if what == Posted.GET:
            blob = b"\1" if self._handlers["pin.get"](number) else b"\0"
        elif what == Posted.TRANSFER:
            blob = self._transfer(number, data)
        self._answer(blob=blob)
        return True

    def _transfer(self, sck: int, data: bytes) -> bytes:
        mosi, miso = _PINS.unpack_from(data)
        if sck == 0xFF:
            sck = -1
        answer = self._handlers["spi.transfer"](sck, mosi, miso, data[_PINS.size :])
        return answer if isinstance(answer, bytes) else b""

    def _make(self, request: Request) -> bool:
        """Make a call at its time; tell whether the program goes on at once."""
        self._look_around()
        life = self._life
        status, value = perform(self._handlers, request.text, request.blob)
        if self._life != life:
            return False
        text, blob = (b"", b"") if value is None else encode(value)
        self._answer(status, text, blob)
        return True

    def _look_around(self) -> None:
        """Take what the program has printed, give it what was typed."""
        if self._printing.poll(0):
            self._drain()
        if self._input:
            self._write_input()

    def _wait(self, until_ns: int) -> bool:
        """Answer when the board's time is `until_ns` (below 0: never), or when there is news."""
        due_ns = self._true_time(until_ns)
        if self._news or (until_ns >= 0 and self._virtual.reach(due_ns)):
            self._answer()
            return True
        self._waiting = True
        if until_ns >= 0:
            self._due = self._engine.call_own_at(due_ns, self._woken)
        return False

    def _woken(self) -> None:
        self._waiting = False
        self._answer()
        self._run()

    def _answer(self, status: int = 0, text: bytes = b"", blob: bytes = b"") -> None:
        flags = IRQ if self._irqs and self._irq_ready else 0
        if self._interrupted:
            flags |= INTERRUPT
            self._interrupted = False
        if self._network_changed:
            flags |= NETWORK
            self._network_changed = False
        now_ns = self._engine.clock.now_ns()
        horizon_ns = now_ns if self._news else self._horizon_ns(now_ns)
        self._news = False
        self._line.answer(
            self._own_time(now_ns), self._own_time(horizon_ns), flags, status, text, blob
        )

    def _horizon_ns(self, now_ns: int) -> int:
        """Return up to when nothing can happen to the program that it does not do itself."""
        virtual = self._virtual
        until = virtual.next_shared_ns()
        for after in self.interruptible:
            delay_ns = after()
            if delay_ns is not None:
                until = min(until, virtual.next_ns() + delay_ns)
        if self.watchdog is not None and self.watchdog.due_ns is not None:
            until = min(until, self.watchdog.due_ns)
        return min(until, now_ns + self._virtual.lead_ns)

    # -- what comes from it ---------------------------------------------------------------------

    def _receive(self) -> Request | None:
        """Wait for the next call; None if there will be none."""
        looks = 0
        cpu_s = 0.0
        try:
            while (request := self._line.receive(_LOOK_S)) is None:
                # What is printed without end needs room.
                self._drain()
                looks += 1
                if looks == 1:
                    cpu_s = self._cpu_s()
                spun_s = self._cpu_s() - cpu_s
                if spun_s > self.spin_s or looks * _LOOK_S > self.spin_s * _STUCK:
                    self._hang()
                    return None
        except EOFError:
            self._pid = None
            self._died()
            return None
        if request.fed_ns and self.watchdog is not None:
            self.watchdog.fed_at(self._true_time(request.fed_ns))
        return request

    def _hang(self) -> None:
        """Stop a program that computes for ever: only a reset can end it."""
        if self.watchdog is None or self.watchdog.due_ns is None:
            raise HungError(self._label, self.spin_s)
        self._stop_child()

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

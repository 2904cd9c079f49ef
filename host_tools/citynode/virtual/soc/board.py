"""The board: power, EN and IO0 decide what runs on the chip, and the serial port leads to it."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVarTuple, Unpack

from citynode.virtual.engine import Engine, Timer
from citynode.virtual.soc.actions import Action, Busy, Reset, SetBaud, Transmit
from citynode.virtual.soc.app import AppExit
from citynode.virtual.soc.autoreset import AutoReset
from citynode.virtual.soc.boot import AppImage, BootResult
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.lastwords import last_words
from citynode.virtual.soc.line import heard
from citynode.virtual.soc.rfc2217 import Settings
from citynode.virtual.soc.serialport import SerialPort
from citynode.virtual.world.clock import NS

Ts = TypeVarTuple("Ts")

_BOOT_NS = 300_000_000  # a chip that resets at once again needs at least this long for a round
_LOADER_INPUT_LIMIT = 1 << 16  # bytes the stub can keep while it is busy with the flash


class State(Enum):
    """What the chip is doing."""

    OFF = "off"
    HELD = "held in reset"
    BOOTING = "booting"
    LOOPING = "nothing to boot"
    DOWNLOAD = "download mode"
    RUNNING = "running"
    ASLEEP = "deep sleep"


class App(Protocol):
    """What a board needs of the program that it runs."""

    on_transmit: Callable[[bytes], None]
    on_exit: Callable[[AppExit], None]

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
        """Start the program."""

    def kill(self) -> None:
        """End it at once, as a loss of power does."""

    def feed(self, data: bytes) -> None:
        """Hand it bytes from the serial port."""


class Loader(Protocol):
    """What a board needs of the ROM's serial loader."""

    baud: int  # the speed that the chip's UART has found the tool at

    def receive(self, data: bytes) -> Sequence[Action]:
        """Take bytes from the serial port and return what the chip does."""
        ...


class Peripheral(Protocol):
    """A part of the chip or on its pins."""

    def reset(self) -> None:
        """Go back to the state after a reset of the chip."""


class Log(Protocol):
    """Where a board writes down what happens to it."""

    def note(self, who: str, kind: str, detail: str = "", /) -> None:
        """Write down an event."""

    def output(self, who: str, data: bytes, /) -> None:
        """Write down bytes that have left the serial port."""

    def end_output(self, who: str, /) -> None:
        """Write down that no more bytes come before the next start."""


@dataclass(frozen=True)
class Parts:
    """What a board is made of, besides its flash; tests put their own in."""

    make_loader: Callable[[], Loader]
    boot: Callable[[str], BootResult]
    download_log: Callable[[str], bytes]
    app: App
    peripherals: Sequence[Peripheral] = ()


class Board:
    """One virtual board with its serial port.

    The chip starts when `power_on` is called. All methods belong to the engine's thread.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        id: str,
        name: str,
        chip: Chip,
        mac: bytes,
        flash: NorFlash,
        parts: Parts,
        paced: bool = False,
    ) -> None:
        self.id = id
        self.name = name
        self.chip = chip
        self.mac = mac
        self.flash = flash
        self.on_state: Callable[[], object] = lambda: None
        self.log: Log | None = None
        self.port = SerialPort(engine, self, paced=paced)
        self._state = State.OFF
        self._engine = engine
        self._parts = parts
        self._paced = paced
        self._circuit = AutoReset(engine, self._reset_pin, usb_serial=chip.usb_serial)
        self._uart = Settings()
        self._uart_locked = True  # false while the ROM still measures the tool's speed
        self._breaking = False
        self._download_strap = False
        self._rtc_memory = bytearray()
        self._loader: Loader | None = None
        self._actions: deque[Action] = deque()
        self._waiting: bytearray = bytearray()  # input of a busy loader
        self._busy = False
        self._timer: Timer | None = None
        self._round = 0
        self._started_ns = -_BOOT_NS
        parts.app.on_transmit = self._transmit
        parts.app.on_exit = self._app_ended

    @property
    def state(self) -> State:
        """What the chip is doing; `on_state` is called when that has changed."""
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        self._state = state
        self.on_state()

    @property
    def flash_path(self) -> Path:
        """The file that holds the flash."""
        return self.flash.path

    @property
    def rfc2217_url(self) -> str:
        """The port's address for pyserial and the tools that stand on it."""
        if self.port.tcp is None:
            raise RuntimeError("the board's port is not open")
        return f"rfc2217://127.0.0.1:{self.port.tcp.port}"

    @property
    def pty_path(self) -> Path | None:
        """The symlink to the board's PTY, if it has one."""
        return self.port.pty.link if self.port.pty is not None else None

    # -- power and pins -------------------------------------------------------------------------

    def power_on(self) -> None:
        """Connect the supply; nothing happens if it is connected."""
        if self.state is not State.OFF:
            return
        self._note("power", "on")
        self._rtc_memory = bytearray()
        if self._circuit.held:
            self.state = State.HELD
        else:
            self._latch_straps()
            self._begin("poweron")

    def power_off(self) -> None:
        """Cut the supply, in the middle of whatever goes on."""
        if self.state is not State.OFF:
            self._note("power", "off")
        self._halt(State.OFF)
        self._rtc_memory = bytearray()

    def close(self) -> None:
        """Cut the supply, close the port and the flash."""
        self.power_off()
        self.port.close()
        self.flash.close()

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Set DTR and RTS (True is asserted), which drive EN and IO0."""
        self._circuit.set_lines(dtr=dtr, rts=rts)

    def set_break(self, on: bool) -> None:
        """Hold RX low: no characters arrive meanwhile."""
        self._breaking = on

    def reset(self, cause: str) -> None:
        """Reset the chip by something inside it; RTC memory stays."""
        if self.state in (State.OFF, State.HELD):
            return
        self._note("reset", cause)
        self._halt(State.BOOTING)
        if cause == "run_app":
            self._download_strap, cause = False, "sw"
        elif cause != "sw":
            # A software reset keeps the straps as they were latched; the others look again.
            self._latch_straps()
        self._begin(cause)

    def wake(self, source: str) -> None:
        """End deep sleep; `source` names what did it. Nothing happens if the chip is awake."""
        if self.state is State.ASLEEP:
            self._note("wake", source)
            self._halt(State.BOOTING)
            self._begin("deepsleep", source)

    def _reset_pin(self, held: bool) -> None:
        if self.state is State.OFF:
            return
        # EN low switches the RTC domain off as well.
        self._note("reset", "held" if held else "ext")
        self._rtc_memory = bytearray()
        if held:
            self._halt(State.HELD)
        else:
            self._latch_straps()
            self._begin("ext")

    def _latch_straps(self) -> None:
        self._download_strap = self._circuit.io0_low

    def _halt(self, state: State) -> None:
        """Stop all that runs and wait in `state`."""
        if self.log is not None:
            self.log.end_output(self.id)
        self._round += 1
        self.state = state
        self._parts.app.kill()
        self.port.drop_output()
        self._loader = None
        self._actions.clear()
        self._waiting.clear()
        self._busy = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- starting -------------------------------------------------------------------------------

    def _begin(self, cause: str, wake: str | None = None, *, download: bool = False) -> None:
        """Come out of reset: into download mode, or through the boot chain into the program."""
        self._uart, self._uart_locked = Settings(), True
        for peripheral in self._parts.peripherals:
            peripheral.reset()
        if download or self._download_strap:
            self.state = State.DOWNLOAD
            self._loader = self._parts.make_loader()
            self._uart_locked = False
            self._note("download")
            self._transmit(self._parts.download_log(cause))
            return
        self.state = State.BOOTING
        pause_ns = self._started_ns + _BOOT_NS - self._engine.clock.now_ns()
        if pause_ns > 0 and cause not in ("ext", "poweron"):
            self._after(pause_ns, self._boot, cause, wake)
        else:
            self._boot(cause, wake)

    def _boot(self, cause: str, wake: str | None) -> None:
        self._started_ns = self._engine.clock.now_ns()
        self._note("boot", cause)
        result = self._parts.boot(cause)
        self._transmit(result.log)
        image = result.app
        if image is None:
            self.state = State.LOOPING
            if result.retry_ms is not None:
                # What ends the round is the second stage, or the watchdog that the ROM has set.
                cause = result.retry_cause or self.chip.loop_cause
                self._after(result.retry_ms * 1_000_000, self.reset, cause)
            return
        self._when_sent(lambda: self._run(image, cause, wake))

    def _run(self, image: AppImage, cause: str, wake: str | None) -> None:
        self.state = State.RUNNING
        self._parts.app.start(
            image,
            reset_cause=cause,
            wake=wake,
            rtc_memory=self._rtc_memory,
            mac=self.mac,
            board_name=self.name,
        )

    def _app_ended(self, end: AppExit) -> None:
        if self.state is not State.RUNNING:
            return
        self._note("end", end.kind)
        uptime_ns = self._engine.clock.now_ns() - self._started_ns
        self._transmit(last_words(end.kind, uptime_ns // 1_000_000))
        # What follows runs from the engine: the program that reports its end is still on the stack.
        self._when_sent(lambda: self._after(0, self._follow, end))

    def _follow(self, end: AppExit) -> None:
        if end.kind == "deepsleep":
            self._sleep(end.sleep_ms)
        elif end.kind == "bootloader":
            self._halt(State.BOOTING)
            self._begin("sw", download=True)
        else:
            self.reset("sw" if end.kind == "reset" else end.kind)

    def _sleep(self, sleep_ms: int | None) -> None:
        self._halt(State.ASLEEP)
        self._note("sleep", "" if sleep_ms is None else f"{sleep_ms} ms")
        if sleep_ms is not None:
            self._after(sleep_ms * 1_000_000, self.wake, "timer")

    # -- the serial line ------------------------------------------------------------------------

    def receive(self, data: bytes, settings: Settings) -> None:
        """Take bytes off the serial line."""
        if self._breaking or self.state not in (State.RUNNING, State.DOWNLOAD):
            return
        if self.state is State.RUNNING:
            self._parts.app.feed(heard(data, settings, self._uart)[0])
            return
        if self._uart_locked:
            data, _ = heard(data, settings, self._uart)
        if self._busy:
            self._waiting += data[: _LOADER_INPUT_LIMIT - len(self._waiting)]
            return
        self._load(data, settings)

    def _load(self, data: bytes, settings: Settings) -> None:
        if self._loader is None:
            return
        if not self._uart_locked:
            self._loader.baud = settings.baud
        actions = self._loader.receive(data)
        if not self._uart_locked and any(isinstance(action, Transmit) for action in actions):
            # The ROM has measured the tool's speed on the first request that it understood.
            self._uart, self._uart_locked = settings, True
        self._actions += actions
        self._act()

    def _act(self) -> None:
        """Do what the loader has said, in order, as far as it goes without waiting."""
        while self._actions and not self._busy:
            action = self._actions.popleft()
            if isinstance(action, Transmit):
                self._transmit(action.data)
                if self._paced:
                    # The loaders wait for their UART; requests that come faster than it can send
                    # the answers are lost at last, and do not pile up.
                    self._busy = True
                    self._when_sent(self._ready)
            elif isinstance(action, SetBaud):
                self._uart = Settings(baud=action.baud)
            elif isinstance(action, Reset) and action.delay_ns:
                self._reset_later(action)
            elif isinstance(action, Reset):
                self._actions.clear()
                self._when_sent(partial(self.reset, action.cause))
                return
            elif isinstance(action, Busy) and self._paced and action.ns > 0:
                self._busy = True
                self._after(action.ns, self._ready)

    def _reset_later(self, action: Reset) -> None:
        """Let a watchdog run out, unless the chip is stopped meanwhile."""
        now = self._round
        self._engine.call_later(
            action.delay_ns / NS,
            lambda: self.reset(action.cause) if self._round == now else None,
        )

    def _ready(self) -> None:
        self._busy = False
        self._act()
        while self._waiting and not self._busy:
            data = bytes(self._waiting)
            self._waiting.clear()
            self._load(data, self._uart)

    def _note(self, kind: str, detail: str = "") -> None:
        if self.log is not None:
            self.log.note(self.id, kind, detail)

    def _transmit(self, data: bytes) -> None:
        if self.log is not None:
            self.log.output(self.id, data)
        self.port.transmit(data, self._uart)

    # -- waiting --------------------------------------------------------------------------------

    def _when_sent(self, call: Callable[[], object]) -> None:
        """Call when the line is quiet, unless the chip was stopped meanwhile."""
        now = self._round
        self.port.when_sent(lambda: call() if self._round == now else None)

    def _after(self, ns: int, call: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """Call in `ns` nanoseconds, unless the chip is stopped meanwhile."""
        self._timer = self._engine.call_at(self._engine.clock.now_ns() + ns, call, *args)

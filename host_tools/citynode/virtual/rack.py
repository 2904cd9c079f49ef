"""A rack of virtual boards: one engine, one world, and for each board its flash and its port."""

import random
import resource
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import filelock

from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.profiles import Profile, check_wiring
from citynode.resources import micropython
from citynode.virtual.air import Air
from citynode.virtual.engine import Engine
from citynode.virtual.followtime import FollowingEngine
from citynode.virtual.soc.app import MicroPythonApp
from citynode.virtual.soc.board import Board, Parts
from citynode.virtual.soc.boot import BootChain
from citynode.virtual.soc.chip import CHIPS, Chip
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.lockstep import LockstepApp
from citynode.virtual.soc.peripherals import Peripheral, hardware
from citynode.virtual.soc.peripherals.net import Net
from citynode.virtual.soc.peripherals.pins import Pins
from citynode.virtual.soc.peripherals.road import TrafficSpec
from citynode.virtual.soc.peripherals.serial import Uart
from citynode.virtual.soc.peripherals.system import System
from citynode.virtual.soc.peripherals.timers import Watchdog
from citynode.virtual.soc.peripherals.wiring import USUAL, Fitted
from citynode.virtual.soc.rom import RomLoader
from citynode.virtual.virtualtime import VirtualEngine
from citynode.virtual.world import World
from citynode.virtual.world.events import EventLog
from citynode.virtual.world.weather import Weather

T = TypeVar("T")

# Blocks of addresses that Espressif has registered, one for each chip as boards of it carry them.
_OUI = {
    "esp32": bytes.fromhex("240ac4"),
    "esp32s3": bytes.fromhex("348518"),
    "esp32c3": bytes.fromhex("84f703"),
}
_MIB = 1 << 20
_CALL_TIMEOUT_S = 60.0
_FILES = 8  # open files and sockets of a board
_OTHER_FILES = 256


class Rack:
    """Virtual boards of one or several kinds, with their ports open while the rack is started.

    `board` is a board id or several, `count` how many of each; `base_port` the first TCP port (0:
    free ones), `pty` adds pseudo-terminals; `seed` decides MACs and all chance; `weather` is what
    the sensors see; `pace` makes ports and flash as slow as real ones; `state_dir` keeps the flash
    (a temporary folder if None); `networks` maps names to (host, port) for the boards' sockets,
    `wifi` adds access points (SSID to password); `image` is written to flashes that are new.

    In `virtual_time` the engine does not wait but goes on to what is due next, and the same seed
    gives the same run: `events` then has all that has happened, and writes it to `event_log` if
    that is a path. With `follow` virtual time keeps step with the machine's: what boards time is
    exact on a busy machine too. In both, the boards' network is the one inside the engine
    (`world.inner`), from which the hosts of `networks` cannot be reached. `date_ns` is the world's
    date at the start (ns since 1970), the machine's or, in virtual time, 2026-01-01 if None.
    What hangs on the boards' pins are the sensors of `profile`, a BME280 (0x76) and an SHT4x
    (0x44) if None.

    `open` and `close` belong to the thread that runs the engine; `start` and `stop` (or `with`)
    run it in a thread of its own, and then the boards are reached through `call` only.
    """

    def __init__(
        self,
        board: str | Sequence[str],
        count: int = 1,
        *,
        base_port: int = 0,
        pty: bool = False,
        seed: int = 0,
        weather: Weather | None = None,
        pace: bool = False,
        state_dir: Path | None = None,
        networks: Mapping[str, tuple[str, int]] | None = None,
        wifi: Mapping[str, str] | None = None,
        image: Path | None = None,
        virtual_time: bool = False,
        follow: bool = False,
        event_log: Path | None = None,
        date_ns: int | None = None,
        profile: Profile | None = None,
    ) -> None:
        kind = FollowingEngine if follow else VirtualEngine if virtual_time else Engine
        self.engine = kind(seed, date_ns)
        self.air = Air(self.engine)
        self.events = EventLog(self.engine.clock, event_log)
        self._logged = virtual_time or event_log is not None
        if self._logged:
            self.air.observe(self.events.on_air)
        self.boards: list[Board] = []
        self.apps: list[MicroPythonApp] = []  # their programs
        self._kinds = [board] if isinstance(board, str) else list(board)
        self._count = count
        self._base_port = base_port
        self._pty = pty
        self._weather = weather
        self._pace = pace
        self._state_dir = state_dir
        self._networks = dict(networks or {})
        self._wifi = dict(wifi or {})
        self._image = image
        self._profile = profile
        self._lock: filelock.BaseFileLock | None = None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._world: World | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def world(self) -> World:
        """What the boards have in common; there while the rack is open."""
        if self._world is None:
            raise RuntimeError("the rack is not open")
        return self._world

    # -- on the engine's thread -----------------------------------------------------------------

    def open(self) -> None:
        """Make the world and the boards, open the ports and switch the boards on.

        Raises CitynodeError (unknown board, port or state folder in use, no interpreter); then
        nothing stays open.
        """
        try:
            folder = self._folder()
            world = self._world = World(
                self.engine,
                self._weather,
                networks=self._networks,
                wifi=self._wifi,
                inner=isinstance(self.engine, VirtualEngine),
            )
            if self._logged and world.inner is not None:
                world.inner.observe(self.events.note)
            interpreter = micropython()
            _allow_files(_FILES * self._count * len(self._kinds))
            index = 0
            for kind in self._kinds:
                for number in range(self._count):
                    self._add(kind, number, index, folder, world, interpreter)
                    index += 1
        except BaseException:
            self.close()
            raise
        self._switch_on()

    def _switch_on(self) -> None:
        for board in self.boards:
            board.power_on()

    def close(self) -> None:
        """Switch the boards off, close all ports, end all programs, release the folder."""
        while self.boards:
            self.boards.pop().close()
        while self.apps:
            self.apps.pop().close()
        if self._world is not None:
            self._world.close()
            self._world = None
        self.engine.close()
        self.events.close()
        if self._lock is not None:
            self._lock.release()
        if self._temporary is not None:
            self._temporary.cleanup()

    # -- on a thread of its own -----------------------------------------------------------------

    def start(self) -> None:
        """Open the rack and run its engine in a thread of its own."""
        self.open()
        self._thread = threading.Thread(target=self._work, name="citynode rack", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the rack; raises what made the engine fail, if it did."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self.engine.stop()
            thread.join()
        self.close()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def call(self, fn: Callable[[], T]) -> T:
        """Run `fn` on the engine's thread and return what it returns, or raise what it raises."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(fn())
            except BaseException as error:
                future.set_exception(error)

        if self._thread is None or not self._thread.is_alive():
            raise RuntimeError("the rack is not running") from self._failure
        self.engine.call_soon_threadsafe(run)
        return future.result(_CALL_TIMEOUT_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _work(self) -> None:
        try:
            self.engine.run()
        except BaseException as error:
            self._failure = error

    # -- building -------------------------------------------------------------------------------

    def _folder(self) -> Path:
        if self._state_dir is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="citynode-")
            return Path(self._temporary.name)
        self._state_dir.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(self._state_dir / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise CitynodeError(
                f"{self._state_dir} is in use by other virtual boards",
                "stop them or choose another --state folder",
            ) from error
        return self._state_dir

    def _add(
        self, kind: str, number: int, index: int, folder: Path, world: World, interpreter: Path
    ) -> None:
        spec = load_board(kind)
        chip = CHIPS[spec.chip]
        identity = f"{kind}-{number}"
        home = folder / identity
        home.mkdir(parents=True, exist_ok=True)
        mac = _kept_mac(home / "mac", mac_address(chip, self.engine.rng(f"mac {identity}")))
        path = home / "flash.bin"
        fresh = not path.exists()
        flash = NorFlash(path, spec.flash_mib * _MIB)
        if fresh and self._image is not None:
            write_image(flash, chip, self._image)
        efuse = EFuse(chip, mac, home / "efuse.bin")
        sensors: Sequence[Fitted] = USUAL
        traffic: TrafficSpec | None = None
        if self._profile is not None:
            check_wiring(spec, self._profile)
            sensors, traffic = self._profile.sensors, self._profile.traffic
        peripherals = hardware(spec, self.engine, world, identity, self.air, sensors, traffic)
        app = self._app(identity, flash, chip, interpreter, peripherals)
        for peripheral in peripherals:
            peripheral.attach(app)
        board = Board(
            self.engine,
            id=identity,
            name=spec.name,
            chip=chip,
            mac=mac,
            flash=flash,
            parts=Parts(
                make_loader=lambda: RomLoader(chip, flash, efuse),
                boot=BootChain(flash, chip),
                download_log=chip.download_log,
                app=app,
                peripherals=peripherals,
            ),
            paced=self._pace,
        )
        if self._logged:
            board.log = self.events
        for peripheral in peripherals:
            if isinstance(peripheral, System):
                peripheral.on_wake = board.wake
        self.boards.append(board)
        self.apps.append(app)
        board.port.listen(self._base_port + index if self._base_port else 0)
        if self._pty:
            board.port.open_pty(home / "tty")

    def _app(
        self,
        identity: str,
        flash: NorFlash,
        chip: Chip,
        interpreter: Path,
        peripherals: Sequence[Peripheral],
    ) -> MicroPythonApp:
        if not isinstance(self.engine, VirtualEngine):
            return MicroPythonApp(self.engine, flash, chip, interpreter)
        app = LockstepApp(self.engine, flash, chip, interpreter, identity)
        for each in peripherals:
            if isinstance(each, Watchdog):
                app.watchdog = each
            elif isinstance(each, Pins):
                app.interruptible.append(partial(_at_once, each))
            elif isinstance(each, Net) and each.sockets is not None:
                each.sockets.on_change = app.network_changed
                app.interruptible.append(each.sockets.interrupt)
            elif isinstance(each, Uart):
                each.on_input = app.stir
        return app


def _at_once(pins: Pins) -> int | None:
    """Return 0 where the level of a pin may interrupt the program: others change it at any time."""
    return 0 if pins.interrupts() else None


def _allow_files(count: int) -> None:
    """Raise this process's limit of open files by so many, as far as the machine lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))


def mac_address(chip: Chip, rng: random.Random) -> bytes:
    """Draw a base MAC (6 bytes); a multiple of four, as the chip counts three more from it."""
    return _OUI[chip.id] + bytes((rng.randrange(256), rng.randrange(256), rng.randrange(64) << 2))


def _kept_mac(path: Path, drawn: bytes) -> bytes:
    """Return the MAC of a board that was there before, whatever the seed; else keep this one."""
    try:
        kept = bytes.fromhex(path.read_text(encoding="ascii"))
        if len(kept) == len(drawn):
            return kept
    except (OSError, ValueError):
        pass
    path.write_text(drawn.hex(), encoding="ascii")
    return drawn


def write_image(flash: NorFlash, chip: Chip, image: Path) -> None:
    """Program an image file to where the chip's ROM looks for it.

    Raises CitynodeError when it cannot be read or does not fit.
    """
    try:
        data = image.read_bytes()
    except OSError as error:
        raise CitynodeError(
            f"cannot read {image}: {error.strerror}", "give --image a MicroPython image"
        ) from error
    if chip.bootloader_offset + len(data) > flash.size:
        raise CitynodeError(
            f"{image} ({len(data)} bytes) does not fit into {flash.size // _MIB} MiB of flash",
            "give --image an image for this board",
        )
    flash.program(chip.bootloader_offset, data)

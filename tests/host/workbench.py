"""A bench of virtual boards for the tests of the verbs: power, flash, serial log, the command."""

import contextlib
import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import psutil
from citynode import cli
from citynode.bench.contents import Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.identity import NAMESPACE, Identity, read_file
from citynode.image import littlefs, nvs, plan
from citynode.link.errors import LinkError
from citynode.link.ports import lock
from citynode.profiles import load_profile
from citynode.virtual.rack import Rack

CITYNODE = Path(sys.executable).with_name("citynode")
SSID, PASSWORD = "citynode-bench", "bochum-bench"  # the bench's access point
NVS, NVS_SIZE = 0x9000, 0x6000
FILES = 0x200000  # where the stand-in's file system begins, on all three chips

# Shells start what is in the background with Ctrl-C ignored, and that is inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class PowerCutError(Exception):
    """The supply of a board fails in the middle of what its flash does."""

    def __init__(self, board, back_s=None):
        super().__init__(board.id)
        self.board = board
        self.back_s = back_s


class Workbench:
    """Runs a rack whose boards lose their power when a flash hook raises PowerCutError."""

    def __init__(self, kinds, count=1, **options):
        self.rack = Rack(kinds, count, **options)
        self._ready = Future()
        self._thread = threading.Thread(target=self._work, name="workbench", daemon=True)
        self.failure = None

    def __enter__(self):
        self._thread.start()
        self._ready.result(30)
        self.boards = list(self.rack.boards)
        return self

    def __exit__(self, *_):
        self.rack.engine.stop()
        self._thread.join(30)
        if self.failure is not None:
            raise self.failure

    def _work(self):
        try:
            self.rack.open()
        except BaseException as error:
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        try:
            while self._went_on():
                pass
        except BaseException as error:
            self.failure = error
        finally:
            self.rack.close()

    def _went_on(self):
        try:
            self.rack.engine.run()
        except PowerCutError as cut:
            cut.board.power_off()
            if cut.back_s is not None:
                self.rack.engine.call_later(cut.back_s, cut.board.power_on)
            return True
        return False

    def call(self, fn, *arguments):
        """Run on the engine's thread and return what comes out."""
        future = Future()

        def run():
            try:
                future.set_result(fn(*arguments))
            except BaseException as error:
                future.set_exception(error)

        self.rack.engine.call_soon_threadsafe(run)
        return future.result(30)

    # -- boards ---------------------------------------------------------------------------------

    def urls(self, *boards):
        return [board.rfc2217_url for board in boards or self.boards]

    def bytes(self, board):
        return self.call(board.flash.read, 0, board.flash.size)

    def restore(self, board, data):
        """Have a board's flash hold `data` and switch the board on."""

        def put():
            board.power_off()
            board.flash.hook = None
            board.flash.erase_all()
            board.flash.program(0, data)
            board.power_on()

        self.call(put)

    def hook(self, board, hook):
        self.call(setattr, board.flash, "hook", hook)

    def wait(self, board, state):
        wait_for(lambda: board.state is state, tell=lambda: f"{board.id} is {board.state}")

    def press(self, board, *, boot):
        """Press EN, with the finger on BOOT or not."""
        self.call(lambda: board.set_lines(dtr=False, rts=True))
        self.call(lambda: board.set_lines(dtr=boot, rts=False))

    def identity(self, board):
        """Return what NVS holds, as the vendor's format has it."""
        raw = self.bytes(board)[NVS : NVS + NVS_SIZE]
        return nvs.read_partition(raw).get(NAMESPACE)

    def files(self, board):
        return littlefs.read(self.bytes(board)[FILES:])


def wait_for(condition, within_s=20.0, tell=lambda: "what was waited for did not happen"):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, tell()
        time.sleep(0.01)


class SerialLog:
    """Keeps what a board says on its pseudo-terminal, which resets nothing."""

    def __init__(self, path):
        self._handle = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        self._end_in, self._end_out = os.pipe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.data = bytearray()
        self._thread.start()

    def _read(self):
        while True:
            ready, _, _ = select.select([self._handle, self._end_in], [], [])
            if self._end_in in ready:
                return
            with contextlib.suppress(OSError):
                self.data += os.read(self._handle, 65536)

    def wait(self, text, since=0, within_s=20):
        wait_for(
            lambda: text.encode() in self.data[since:],
            within_s,
            lambda: f"{text!r} is not in {bytes(self.data[since:])[-800:]!r}",
        )

    def close(self):
        os.write(self._end_out, b"x")
        self._thread.join(5)
        for handle in (self._handle, self._end_in, self._end_out):
            os.close(handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# -- the command ----------------------------------------------------------------------------------


@dataclass
class Done:
    """How a run of `citynode` ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self):
        """The JSON lines of its output."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def row(self):
        (row,) = self.rows
        return row

    @property
    def complaint(self):
        """The one line of stderr, without the program's name; the test fails if there are more."""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("citynode: "), self.err
        return self.err.removeprefix("citynode: ").rstrip("\n")


def citynode(*arguments):
    """Run the command in this process, as its entry point does."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["citynode", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    return Done(code, out.getvalue(), err.getvalue())


class Running:
    """The command in a process and a process group of its own."""

    def __init__(self, *arguments, env=None, **options):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = subprocess.Popen(
            [CITYNODE, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            **options,
        )
        self.seen = []

    def until(self, text, within_s=60):
        """Read lines of stderr until one has `text` in it."""
        timer = threading.Timer(within_s, self.process.kill)
        timer.start()
        try:
            for line in self.process.stderr:
                self.seen.append(line)
                if text in line:
                    return
        finally:
            timer.cancel()
        raise AssertionError(f"{text!r} is not in {''.join(self.seen)!r}")

    def interrupt(self):
        """Do what a terminal does on Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def children(self):
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def end(self, within_s=60):
        out, err = self.process.communicate(timeout=within_s)
        return Done(self.process.returncode, out or "", "".join(self.seen) + (err or ""))


def gone(processes, within_s=10):
    """Tell whether all these processes end in time."""
    return not psutil.wait_procs(processes, timeout=within_s)[1]


def is_free(port):
    """Tell whether no citynode holds the port."""
    try:
        with lock(port):
            return True
    except LinkError:
        return False


def stored(state, *, killed=False):
    """Return the identities in a state folder by MAC; the test fails if there is anything else.

    A run that was `killed` may have left a file half written, which the next one takes away.
    """
    folder = Path(state) / "nodes"
    if not folder.exists():
        return {}
    names = sorted(path.name for path in folder.iterdir() if path.name != ".lock")
    if killed:
        names = [name for name in names if not name.startswith(".")]
    assert all(name.endswith(".json") and not name.startswith(".") for name in names), names
    for name in names:
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    return {name.removesuffix(".json"): Identity(**read_file(folder / name)) for name in names}


def regions(image, chip):
    """Return name → region of a MicroPython image."""
    return {region.name: region for region in plan.take_apart(image, chip).regions}


def node_flash(image, kind, *, values=None, files=None, without=()):
    """Return the flash of a board that has the firmware, as far as it is not blank.

    `values` are those of NVS by namespace, `files` come on top of the node's; those are left out
    whose names begin with one of `without`.
    """
    board = load_board(kind)
    raw = image.read_bytes()
    node = prepare(Order(board, load_profile("climate-demo"), {}), raw).files
    made = plan.make(
        raw,
        board.chip,
        board.flash_mib << 20,
        nvs_values=values or {},
        files={name: node[name] for name in node if not name.startswith(tuple(without))}
        | (files or {}),
    )
    return b"\xff" * made.regions[0].offset + made.merged()

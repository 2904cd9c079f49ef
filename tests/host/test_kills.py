"""Tools, boards and the host die at random points; a plain rerun makes a healthy node of it.

Thirty kills: three racks of five boards, each with a round on boards that have no files yet and one
on boards with noise in their flash. Each time a point for each board is drawn. With
CITYNODE_BENCHMARK=full there are two racks more.
"""

import contextlib
import functools
import os
import random
import signal
import time

import psutil
import pytest
from citynode.virtual.soc.board import State
from workbench import (
    FILES,
    NVS,
    PowerCutError,
    Running,
    SerialLog,
    Workbench,
    citynode,
    gone,
    is_free,
    regions,
    stored,
)

pytestmark = pytest.mark.slow

BOARDS = 5
RACKS = 2 if os.environ.get("CITYNODE_BENCHMARK") == "full" else 1
SECTOR = 4096
# Flash operations that at least come of a region being wrong: sectors erased and pages programmed.
OPERATIONS = {"bootloader": 80, "partition table": 12, "NVS": 100, "MicroPython": 270, "files": 300}
BLANK = 850  # of an empty file system and NVS


class Trap:
    """Waits on the engine's thread for a point in the life of a board, and acts there once.

    Points are ("start", s): so long after the trap was set; ("connected", s): after the chip went
    into its loader; ("read", n) and ("change", n): before the n-th operation of the loader on the
    flash; ("running", s): after the chip has left its loader for the program.
    """

    def __init__(self, bench, board, point, act):
        self.kind, self.value = point
        self.sprung = False
        self._engine = bench.rack.engine
        self._board = board
        self._act = act
        self._count = 0
        self._loading = False
        bench.call(self._set)

    def _set(self):
        if self.kind == "start":
            self._engine.call_later(self.value, self._spring)
        elif self.kind in ("read", "change"):
            self._board.flash.hook = self._operation
        else:
            self._look()

    def _operation(self, operation, address, length):
        if self._board.state is State.DOWNLOAD and (operation == "read") == (self.kind == "read"):
            self._count += 1
            if self._count == self.value:
                self._spring()

    def _look(self):
        self._loading |= self._board.state is State.DOWNLOAD
        wanted = State.DOWNLOAD if self.kind == "connected" else State.RUNNING
        if self._loading and self._board.state is wanted:
            self._engine.call_later(self.value, self._spring)
        else:
            self._engine.call_later(0.005, self._look)

    def _spring(self):
        self.sprung = True  # what follows may be a PowerCutError
        if self._act() is False:
            self.sprung = False  # there was nothing to act on yet
            self._engine.call_later(0.01, self._spring)


def kill_tool(board):
    """Kill the program that has the board's port open; False if there is none."""
    port = board.port.tcp.port
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if any(c.raddr and c.raddr.port == port for c in process.net_connections("tcp")):
                process.kill()
                return True
    return False


def points(rng, changes):
    """Draw one point for each board; `changes` is how many changes of the flash it will see."""
    kinds = ["connected", "read", "change", "change", "running"]
    rng.shuffle(kinds)
    draw = {
        "connected": lambda n: rng.uniform(0, 0.9),
        "read": lambda n: rng.randint(1, 20),
        "change": lambda n: rng.randint(1, n),
        "running": lambda n: rng.uniform(0, 1.0),
    }
    return [(kind, draw[kind](n)) for kind, n in zip(kinds, changes, strict=True)]


def spoil(bench, board, rng, places):
    """Have noise where some of the regions are; return how many changes it takes to repair that."""
    chosen = rng.sample(sorted(places), rng.randint(1, 3))

    def noise():
        for name in chosen:
            start, size = places[name]
            sectors = (0, 1) if name == "files" else (rng.randrange(size // SECTOR),)
            for sector in sectors:
                board.flash.erase(start + sector * SECTOR, SECTOR)
                board.flash.program(start + sector * SECTOR, rng.randbytes(SECTOR))

    bench.call(board.power_off)
    bench.call(noise)
    bench.call(board.power_on)
    return sum(OPERATIONS[name] for name in chosen)


class Scene:
    """Five boards, and what is to be true of them after each rerun."""

    def __init__(self, bench, kind, image, state, logs):
        self.bench, self.kind, self.image, self.state, self.logs = bench, kind, image, state, logs
        self.places = {
            name: (region.offset, max(SECTOR, len(region.data)))
            for name, region in regions(image.read_bytes(), bench.boards[0].chip.id).items()
        }
        self.places |= {"NVS": (NVS, SECTOR), "files": (FILES, 2 * SECTOR)}

    def command(self, *urls):
        ports = [part for url in urls for part in ("-p", url)]
        return ["flash", "--board", self.kind, "--image", self.image, "--json", *ports]

    def rerun_heals(self):
        known = stored(self.state, killed=True)
        for board in self.bench.boards:
            self.bench.hook(board, None)
            self.bench.call(board.power_on)
        said = [len(log.data) for log in self.logs]
        done = citynode(*self.command(*self.bench.urls()))
        assert (done.code, done.err) == (0, "")
        now = stored(self.state)
        assert len(now) == BOARDS
        assert known.items() <= now.items()
        for board, row, log, since in zip(
            self.bench.boards, done.rows, self.logs, said, strict=True
        ):
            identity = now[board.mac.hex()]
            assert row["verdict"] == "PASS"
            assert row["node_id"] == identity.node_id
            assert self.bench.identity(board) == identity.nvs()
            log.wait(f"node {identity.node_id} reset", since)


@pytest.fixture
def scene(request, images, state, tmp_path, monkeypatch):
    kind, seed = request.param
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(
            Workbench(kind, BOARDS, pty=True, seed=seed, image=images(kind))
        )
        logs = [stack.enter_context(SerialLog(board.pty_path)) for board in bench.boards]
        yield Scene(bench, kind, images(kind), state, logs)


def rounds(scene, seed):
    """Yield for each of two rounds what to kill at: boards without files, then spoiled ones."""
    rng = random.Random(seed)
    yield points(rng, [BLANK] * BOARDS), rng
    yield points(rng, [spoil(scene.bench, b, rng, scene.places) for b in scene.bench.boards]), rng


@pytest.mark.parametrize(
    ("scene", "seed"),
    [(("esp32-devkit", 1), 1), (("lilygo-t3-s3", 2), 2)][:RACKS],
    indirect=["scene"],
)
def test_the_tool_is_killed(scene, seed):
    for chosen, _ in rounds(scene, seed):
        traps = [
            Trap(scene.bench, board, point, lambda board=board: kill_tool(board))
            for board, point in zip(scene.bench.boards, chosen, strict=True)
        ]
        done = citynode(*scene.command(*scene.bench.urls()))
        assert all(trap.sprung for trap in traps)
        assert done.code == 1
        assert [row["verdict"] for row in done.rows] == ["FAIL"] * BOARDS
        assert len(done.err.splitlines()) == BOARDS
        scene.rerun_heals()


def cut_power(board, back_s):
    raise PowerCutError(board, back_s)


@pytest.mark.parametrize(
    ("scene", "seed"),
    [(("lilygo-t3-v1.6.1", 3), 3), (("xiao-esp32c3", 4), 4)][:RACKS],
    indirect=["scene"],
)
def test_the_board_loses_its_power(scene, seed):
    for chosen, rng in rounds(scene, seed):
        traps = []
        for board, point in zip(scene.bench.boards, chosen, strict=True):
            # A board that should start may come back late; one in its loader need not come back.
            back_s = 0.5 if point[0] == "running" else rng.choice((0.1, 0.5, None))
            act = functools.partial(cut_power, board, back_s)
            traps.append(Trap(scene.bench, board, point, act))
        citynode(*scene.command(*scene.bench.urls()))
        assert all(trap.sprung for trap in traps)
        scene.rerun_heals()


@pytest.mark.parametrize(("scene", "seed"), [(("heltec-lora32-v3", 5), 5)], indirect=["scene"])
def test_the_host_is_killed(scene, seed):
    for chosen, rng in rounds(scene, seed):
        early = rng.randrange(BOARDS)  # this one has not got to its board yet, or just so
        chosen[early] = ("start", rng.uniform(0.2, 2.0))
        hosts, traps = [], []
        for board, point in zip(scene.bench.boards, chosen, strict=True):
            hosts.append(Running(*scene.command(board.rfc2217_url)))
            traps.append(Trap(scene.bench, board, point, hosts[-1].process.kill))
        tools = [process for host in hosts for process in watch_until_end(host)]
        assert all(trap.sprung for trap in traps)
        assert all(host.end().code == -signal.SIGKILL for host in hosts)
        assert gone(tools)
        assert all(map(is_free, scene.bench.urls()))
        scene.rerun_heals()


def watch_until_end(host):
    """Return all children that a process had until it ended."""
    seen = {}
    while host.process.poll() is None:
        seen.update((child.pid, child) for child in host.children())
        time.sleep(0.05)
    return seen.values()

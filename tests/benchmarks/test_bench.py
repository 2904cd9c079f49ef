"""From blank boards to proved nodes: what people do today, a flasher of whole images, `bench run`.

With CITYNODE_BENCHMARK=full on paced boards at 460800 baud, 1 and 8 of them (docs/bench.md has the
figures). The suite has one board that is not paced: which bytes cross is the same.
"""

import os
import shutil
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from citynode import resources
from citynode.bench.contents import Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import load_profile
from citynode.virtual.soc import flashtime, standin
from citynode.virtual.soc.board import State
from citynode.virtual.soc.chip import CHIPS

sys.path.insert(0, str(Path(__file__).parents[1] / "host"))
from workbench import CITYNODE, PASSWORD, SSID, Workbench, citynode, wait_for

FULL = os.environ.get("CITYNODE_BENCHMARK") == "full"
KIND, BAUD, BLOCK = "esp32-devkit", 460800, 65536
BOARD = load_board(KIND)
TOOLS = CITYNODE.parent
GIVEN = {"wifi_ssid": SSID, "wifi_psk": PASSWORD}
LIMIT_S = 900

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200 if FULL else 300),
    # pyserial's RFC 2217 client still uses them.
    pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:setName:DeprecationWarning"),
]


class Shop:
    """Boards, an image, what a node consists of, and a count of the bytes that cross."""

    def __init__(self, bench, folder):
        self.bench = bench
        self.folder = folder
        self.image = folder / "image.bin"
        self.image.write_bytes(standin.build(CHIPS[BOARD.chip]))
        self.kit = prepare(
            Order(BOARD, load_profile("climate-demo"), GIVEN), self.image.read_bytes()
        )
        for board in bench.boards:
            self._meter(board.port)

    def _meter(self, port):
        port.crossed = 0
        port.said = bytearray()
        receive, transmit = port.receive, port.transmit

        def to_board(data, settings):
            port.crossed += len(data)
            receive(data, settings)

        def from_board(data, settings):
            port.crossed += len(data)
            port.said += data
            transmit(data, settings)

        port.receive, port.transmit = to_board, from_board

    def crossed(self):
        return sum(board.port.crossed for board in self.bench.boards)

    def blank(self):
        for board in self.bench.boards:
            self.bench.restore(board, b"")

    def identity(self, board):
        mac = board.mac.hex()
        return Identity(f"demo-{mac[6:]}", **GIVEN)

    def plan(self, board):
        return planning.make(
            self.image.read_bytes(), BOARD.chip, BOARD.flash_mib << 20,
            nvs_values={NAMESPACE: self.identity(board).nvs()}, files=self.kit.files,
        )  # fmt: skip

    def measure(self, work):
        """Return the seconds and bytes that some work takes."""
        before, start = self.crossed(), time.monotonic()
        work()
        return time.monotonic() - start, self.crossed() - before

    # -- the three ways -------------------------------------------------------------------------

    def tool(self, *words):
        done = subprocess.run(
            list(map(str, words)), capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def esptool(self, board, *words):
        """Run esptool at the pseudo-terminal: over RFC 2217 its own waits would be measured."""
        self.bench.press(board, boot=True)
        self.bench.wait(board, State.DOWNLOAD)
        self.tool(
            TOOLS / "esptool", "--port", board.pty_path, "--baud", BAUD, "--before", "no-reset",
            "--after", "no-reset", *words,
        )  # fmt: skip
        board.port.said.clear()
        self.bench.press(board, boot=False)

    def started(self, board, sign):
        """Wait until a board listens: a Ctrl-C that comes before is lost."""
        wait_for(lambda: sign in board.port.said, LIMIT_S)

    def mpremote(self, board, *words):
        return self.tool(TOOLS / "mpremote", "connect", board.pty_path, *words)

    def proved(self, board):
        self.started(board, b"app: heap")
        said = self.mpremote(
            board, "exec", "from node.hal.about import report\nprint(report())", "reset"
        )
        assert self.identity(board).node_id in said

    def today(self):
        """(a) Image, sources and configuration, one board after the other."""
        config = self.folder / "config.cbor"
        config.write_bytes(self.kit.order.config)
        source = self.folder / "source"
        if not source.exists():
            shutil.copytree(resources.firmware(), source, symlinks=False)
        for board in self.bench.boards:
            self.esptool(board, "write-flash", "0x1000", self.image)
            self.started(board, b">>>")
            values = {key: value for key, (_, value) in self.identity(board).nvs().items()}
            ints = {key: value for key, value in values.items() if isinstance(value, int)}
            blobs = {key: value for key, value in values.items() if isinstance(value, bytes)}
            identity = (
                f"import esp32\nn = esp32.NVS({NAMESPACE!r})\n"
                f"for k, v in {ints!r}.items(): n.set_i32(k, v)\n"
                f"for k, v in {blobs!r}.items(): n.set_blob(k, v)\nn.commit()"
            )
            self.mpremote(
                board, "mkdir", ":a", "+", "cp", "-r", source / "node", ":a/", "+", "cp",
                source / "boot.py", source / "main.py", config, ":", "+", "exec", identity, "reset",
            )  # fmt: skip
            self.proved(board)

    def whole_images(self):
        """(b) One image with everything, erase and write, one board after the other."""
        for board in self.bench.boards:
            path = self.folder / "whole.bin"
            path.write_bytes(self.plan(board).merged())
            self.esptool(board, "write-flash", "--erase-all", "0x1000", path)
            self.proved(board)

    def run(self, *more):
        """(c)."""
        ports = [part for url in self.bench.urls() for part in ("-p", url)]
        done = citynode(
            "bench", "run", "--batch", "box", "--board", KIND, "--image", self.image, "--json",
            "--no-self-test", "-b", BAUD, *ports, *more,
        )  # fmt: skip
        assert (done.code, done.err) == (0, "")
        self.rows = done.rows

    def floor(self):
        """Return the seconds and bytes that it cannot take less than: deflated, erased, programmed.

        Of the fastest board: all have their own line.
        """
        crossing, busy = 0, 0
        for region in self.plan(self.bench.boards[0]).regions:
            blocks = [region.data[at : at + BLOCK] for at in range(0, len(region.data), BLOCK)]
            data = b"".join(block for block in blocks if block.strip(b"\xff"))
            crossing += len(zlib.compress(data, 9))
            busy += flashtime.erase_ns(region.offset, len(data)) + flashtime.program_ns(len(data))
        return crossing * 10 / BAUD + busy / 1e9, crossing


@pytest.fixture
def shop(request, tmp_path, monkeypatch):
    for name in tuple(os.environ):
        if name.startswith("CITYNODE_") and name not in ("CITYNODE_MICROPYTHON", "CITYNODE_CACHE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CITYNODE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("CITYNODE_WIFI_SSID", SSID)
    monkeypatch.setenv("CITYNODE_WIFI_PSK", PASSWORD)
    Fleet.init(tmp_path / "state" / "fleet.db", Place.FILE)
    with Workbench(KIND, request.param, pty=True, seed=61, pace=FULL) as bench:
        yield Shop(bench, tmp_path)


def with_a_change(folder, monkeypatch):
    """Have the firmware be another: one module says a little more."""
    changed = folder / "changed"
    shutil.copytree(resources.firmware(), changed, symlinks=False)
    path = changed / "node" / "hal" / "about.py"
    path.write_text(path.read_text() + '\nCHANGED = "yes"\n')
    monkeypatch.setattr(resources, "firmware", lambda: changed)


@pytest.mark.parametrize("shop", [1, 8] if FULL else [1], indirect=True)
def test_from_blank_to_proved(shop, tmp_path, monkeypatch):
    count = len(shop.bench.boards)
    floor_s, floor_bytes = shop.floor()
    print(f"\n{count} board{'s' * (count > 1)}, floor {floor_s:.1f} s, {floor_bytes} bytes each")
    told = {}

    def tell(name, work):
        told[name] = seconds, crossed = shop.measure(work)
        print(f"{name:26} {seconds:7.1f} s {crossed / count:9.0f} bytes a board", flush=True)

    if FULL:
        shop.blank()
        tell("bench run", shop.run)
    else:  # a board that was something else
        (board,) = shop.bench.boards
        end = board.flash.size - BLOCK
        shop.bench.restore(board, b"")
        shop.bench.call(board.flash.program, end, b"of another")
        tell("bench run", lambda: shop.run("--erase-all"))
        assert shop.bench.bytes(board)[end:] == b"\xff" * BLOCK
    with monkeypatch.context() as patch:
        with_a_change(tmp_path, patch)
        tell("bench run, changed app", lambda: shop.run("--force"))
        assert all(row["changed"] == ["files"] for row in shop.rows)
        if FULL:
            tell("bench run, nothing changed", shop.run)
    ours = told["bench run"]
    assert ours[1] <= 1.25 * floor_bytes * count
    assert told["bench run, changed app"][1] <= 0.5 * ours[1]
    if FULL:
        assert told["bench run, nothing changed"][1] <= 0.1 * ours[1]
        print(f"(c)/floor {ours[0] / floor_s:.2f}")
        for name, way, least in (
            ("whole images", shop.whole_images, 0),
            ("esptool, mpremote", shop.today, 10 if count > 1 else 1.5),
        ):
            shop.blank()
            tell(name, way)
            print(f"of that to bench run: {told[name][0] / ours[0]:.2f}", flush=True)
            assert told[name][0] >= least * ours[0]

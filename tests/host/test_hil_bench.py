"""The hardware-in-the-loop plugin on benches whose boards are at ports: a map's, and labgrid's.

The ports are those of virtual boards, which no part of this knows.
"""

import contextlib
import socket
import sys
import threading
import xml.etree.ElementTree as ElementTree
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from citynode.soak.broker import BenchBroker
from citynode.virtual.rack import Rack
from labgrid_tools import Lab, programs
from workbench import FILES

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MAP = """
- id: {mac}
  serial: {port}
  platform: esp32-devkit
  fixtures: [bme280]
"""
SETUP = """
ntp = "ntp.bench"
[images]
esp32 = "{image}"
[broker]
host = "127.0.0.1"
node_host = "broker.bench"
port = {broker}
"""


class Desk:
    """A board at a port, with access point, broker, and a switch for its supply as HTTP."""

    def __init__(self, image):
        self._stack = contextlib.ExitStack()
        self._image = image

    def __enter__(self):
        with self._stack:
            broker = self._stack.enter_context(BenchBroker())
            networks = {"broker.bench": ("127.0.0.1", broker.port)}
            rack = self._stack.enter_context(
                Rack("esp32-devkit", networks=networks, image=self._image)
            )
            board = self.board = rack.boards[0]
            self.setup = SETUP.format(image=self._image, broker=broker.port)
            self.mac, self.url = board.mac.hex(), board.rfc2217_url

            class Switch(BaseHTTPRequestHandler):
                def do_GET(self):
                    rack.call(board.power_on if self.path.endswith("1") else board.power_off)
                    self.send_response(200)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

                def log_message(self, *_):
                    pass

            server = HTTPServer(("127.0.0.1", 0), Switch)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            self._stack.callback(server.server_close)
            self._stack.callback(thread.join)
            self._stack.callback(server.shutdown)
            self.switch = f"http://127.0.0.1:{server.server_port}"
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()


class Loose:
    """A cable to a port that falls out once, after the board has said so many bytes."""

    def __init__(self, url, after):
        host, _, port = url.removeprefix("rfc2217://").rpartition(":")
        self._target = (host, int(port))
        self._left = after
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                tool, _ = self._listener.accept()
                with tool, socket.create_connection(self._target) as board:
                    up = threading.Thread(target=self._pump, args=(tool, board, False))
                    up.start()
                    self._pump(board, tool, True)
                    for end in (tool, board):
                        with contextlib.suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)
                    up.join()

    def _pump(self, source, sink, counts):
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if counts and self._left is not None:
                    self._left -= len(data)
                    if self._left < 0:
                        self._left = None
                        return
                sink.sendall(data)
            sink.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@pytest.fixture(scope="module")
def desk(images):
    with Desk(images("esp32-devkit")) as it:
        yield it


@pytest.fixture
def project(pytester, state, desk):
    pytester.makefile(".toml", setup=desk.setup)
    return pytester


def properties(path):
    """Return the properties of each test in a JUnit file."""
    return {
        case.get("name"): {(each.get("name"), each.get("value")) for each in case.iter("property")}
        for case in ElementTree.parse(path).iter("testcase")
    }


def test_a_bench_map_with_a_loose_cable(project, desk):
    """What failed and went away is told; what failed and stayed comes with what the board said."""
    project.makepyfile(
        test_here="""
        import pytest
        @pytest.mark.requires("bme280", "wifi")
        def test_good(board, broker):
            board.console.wait_records(2)
            assert broker.wait(board)
        def test_bad(board):
            board.console.wait_records(1)
            assert board.slot.board == "something else"
        """
    )
    with Loose(desk.url, 300) as cable:
        project.makefile(".yaml", bench=MAP.format(mac=desk.mac, port=cable.url))
        options = ("--bench", "bench.yaml", "--hil-setup", "setup.toml", "--junitxml=junit.xml")
        result = project.runpytest_inprocess(*options)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            f"citynode: bench bench.yaml: {desk.mac} (esp32-devkit)",
            f"*- board {desk.mac} at {cable.url} -*",
            f"*- records of {desk.mac} -*",
            "{'record': *",
            "*= ports that failed and were tried again =*",
            "test_here.py::test_good: *127.0.0.1*",
        ]
    )
    found = properties(project.path / "junit.xml")
    for name in ("test_good", "test_bad"):
        assert {
            ("board", "esp32-devkit"),
            ("port", cable.url),
            ("mac", desk.mac),
            ("chip", "esp32"),
            ("firmware", "0.1.0"),
        } <= found[name]
    assert [sum(each == "port fault" for each, _ in found[name]) for name in found] == [1, 0]


NOWHERE = """
- id: 240ac4000004
  serial: rfc2217://127.0.0.1:1
  platform: lilygo-t3-v1.6.1
"""


def test_boards_that_are_not_what_or_where_the_map_says_are_errors(project, desk):
    """Another board than the map's is not written."""
    project.makepyfile(
        """
        import pytest
        @pytest.mark.requires("esp32-devkit")
        def test_other(board): pass
        @pytest.mark.requires("lora")
        def test_absent(board): pass
        """
    )
    project.makefile(".yaml", bench=MAP.format(mac="240ac4ffffff", port=desk.url) + NOWHERE)
    # What is behind them is the node's own.
    programs_and_identity = slice(FILES // 4096)
    before = bytes(desk.board.flash.erase_counts[programs_and_identity])
    result = project.runpytest_inprocess("--bench", "bench.yaml", "--hil-setup", "setup.toml")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            f"E *has the board {desk.mac} instead of 240ac4ffffff*",
            "E *nothing answers at rfc2217://127.0.0.1:1*",
        ]
    )
    assert bytes(desk.board.flash.erase_counts[programs_and_identity]) == before


def test_places_of_a_labgrid_coordinator(project, desk, monkeypatch):
    project.makepyfile(
        """
        import pytest
        @pytest.mark.requires("bme280", "power-cut")
        def test_power(board):
            mark = board.console.mark
            board.power_cycle()
            assert board.wait_start(60, since=mark).cause == "poweron"
        """
    )
    port = desk.url.rpartition(":")[2]
    exported = f"""
desk:
  NetworkSerialPort: {{host: 127.0.0.1, port: {port}, speed: 115200, protocol: rfc2217}}
  NetworkPowerPort: {{model: simplerest, host: '{desk.switch}/{{index}}/{{value}}', index: 1}}
"""
    monkeypatch.setenv("CITYNODE_LABGRID_CLIENT", str(programs() / "labgrid-client"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        number = free.getsockname()[1]
    with Lab(project.path, number, exported) as lab:
        options = ("--hil-setup", "setup.toml", "--labgrid-coordinator", lab.address, "--labgrid")
        refused = project.runpytest_inprocess(*options, "desk")
        assert refused.ret == pytest.ExitCode.USAGE_ERROR
        refused.stderr.fnmatch_lines(["*labgrid does not give the place desk: *desk*"])
        lab.client("-p", "desk", "create")
        lab.client("-p", "desk", "add-match", "lab/desk/*")
        tags = ("board=esp32-devkit", "fixtures=bme280,sht4x", f"mac={desk.mac}")
        lab.client("-p", "desk", "set-tags", *tags)
        project.runpytest_inprocess(*options, "desk").assert_outcomes(passed=1)
        assert "acquired: None" in lab.client("-p", "desk", "show")


def test_the_suite_is_green_on_three_boards_at_once_and_twice_alike(pytester, state, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    boards = ("esp32-devkit", "lilygo-t3-s3", "xiao-esp32c3")
    suite = ROOT / "tests" / "hil" / "test_node.py"
    runs = []
    for number in range(2):
        report = pytester.path / f"junit-{number}.xml"
        options = ("-n", "3", "--hil-boards", ",".join(boards), f"--junitxml={report}")
        options += ("-k", "delivers")  # the rest is run once, on one board
        result = pytester.run(sys.executable, "-m", "pytest", suite, *options, timeout=240)
        result.assert_outcomes(passed=3)
        told = {"board", "slot", "chip", "firmware"}
        runs.append(
            {
                name: {each for each in found if each[0] in told}
                for name, found in properties(report).items()
            }
        )
    assert runs[0] == runs[1]
    used = {value for found in runs[0].values() for name, value in found if name == "board"}
    assert used == set(boards)

"""Boards that run a program each beside the servers inside the engine, and what these tell."""

import ast
from contextlib import closing

import pytest
from citynode.boards import load_board
from citynode.image import plan as planning
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS

BOARD = "esp32-devkit"
MS, NS = 1_000_000, 1_000_000_000
# Every board runs this: it joins, runs the test's program, and prints what that gives or raises.
MAIN = """
import network, socket, select, time, asyncio, errno
wlan = network.WLAN(network.STA_IF)
wlan.active(True)
wlan.config(reconnects=0)
wlan.connect("citynode-bench", "bochum-bench")
while not wlan.isconnected():
    time.sleep_ms(20)
start = time.ticks_ms()
def since():
    return time.ticks_diff(time.ticks_ms(), start)
def tell(*what):
    print("told", (since(),) + what)
def attempt(fn, *args):
    try:
        tell(fn(*args))
    except OSError as error:
        tell(error.errno)
def dial(name, port, timeout=None):
    s = socket.socket()
    s.settimeout(timeout)
    s.connect(socket.getaddrinfo(name, port)[0][-1])
    return s
"""


@pytest.fixture(scope="module")
def made():
    return standin.build(CHIPS[load_board(BOARD).chip])


@pytest.fixture
def racks(tmp_path, made):
    """Make a rack whose boards run a program each; it is open in the `with`."""

    def make(*programs, **options):
        chooser = (
            "import machine\nexec(open('/p%d.py' % ((machine.unique_id()[5] >> 2) % 2)).read())"
        )
        spec = load_board(BOARD)
        files = {"/main.py": (MAIN + programs[0]).encode()}
        if len(programs) > 1:
            files = {f"/p{n}.py": (MAIN + text).encode() for n, text in enumerate(programs)}
            files["/main.py"] = chooser.encode()
        plan = planning.make(made, spec.chip, spec.flash_mib << 20, nvs_values={}, files=files)
        path = tmp_path / "image.bin"
        path.write_bytes(plan.merged())
        rack = Rack(BOARD, len(programs), image=path, virtual_time=True, **options)
        rack.open()
        return closing(rack)

    return make


def told(rack, board=0):
    """Return what a board's program has told, each with the ms since it had joined."""
    return [
        ast.literal_eval(line.split(" told ", 1)[1])
        for line in rack.events.lines
        if line.split()[1] == rack.boards[board].id and " out told " in line
    ]


def echo(end):
    """Serve a connection: send back what comes, and end when the other end does."""
    unsent = bytearray()

    def on_change():
        unsent.extend(end.read(end.waiting))
        del unsent[: end.write(bytes(unsent))]
        if end.eof and not unsent:
            end.close()

    end.on_change = on_change


def run(racks, program, until_s=60, before=lambda rack: None, **options):
    with racks(program, **options) as rack:
        rack.world.inner.serve("echo.bench").listeners[7] = echo
        before(rack)
        rack.engine.run(until=until_s * NS)
        return told(rack), rack.events.lines

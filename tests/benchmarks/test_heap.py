"""What the firmware takes of the heap, as .mpy from /a on a virtual board; figures, not times."""

import json
import time
from pathlib import Path

import pytest
from citynode.bench.contents import Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.image import plan as planning
from citynode.link.serialio import open_port
from citynode.profiles import load_profile
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS

BOARD, PROFILE = "esp32-devkit", "climate-demo"
PROGRAM = "heap_on_board.py"
LORAWAN_PROGRAM = "lorawan_on_board.py"
# The board's `gc` gives the figures of a chip. The interpreter's own words are twice as wide, and
# so is what it really takes: no object can have less than half of that on a chip.
WORDS = 2
IMPORT_LIMIT = 100 * 1024
# Nothing of WiFi is loaded then, whose buffers take as much of the chip's memory.
LORAWAN_IMPORT_LIMIT = 200 * 1024
TOLERANCE = 1024  # what is in queues and on its way at the moment of the look
LIMIT_S = 120

pytestmark = [
    pytest.mark.slow,
    # pyserial's RFC 2217 client still uses them.
    pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:setName:DeprecationWarning"),
]


def image(folder, program):
    """Return a file with MicroPython and the node's files, the program in the place of main.py."""
    board = load_board(BOARD)
    made = standin.build(CHIPS[board.chip])
    kit = prepare(Order(board, load_profile(PROFILE), {}), made)
    files = {**kit.files, "/main.py": Path(__file__).with_name(program).read_bytes()}
    plan = planning.make(made, board.chip, board.flash_mib << 20, nvs_values={}, files=files)
    path = folder / "image.bin"
    path.write_bytes(plan.merged())
    return path


def run(folder, program):
    """Return what a program says: of the import, of the heap as samples go by, of the end."""
    lines, seen = [], b""
    with Rack(BOARD, image=image(folder, program), state_dir=folder / "rack") as rack:
        url = rack.call(lambda: rack.boards[0].rfc2217_url)
        with open_port(url, 115200, 1) as port:
            port.write(b"\r")
            deadline = time.monotonic() + LIMIT_S
            while not (lines and "end" in lines[-1]):
                assert time.monotonic() < deadline, seen.decode()
                line = port.readline()
                seen += line
                if line.startswith(b"heap: "):
                    lines.append(json.loads(line[6:]))
                assert b"Traceback" not in line, (seen + port.read(3000)).decode()
    return lines[0], lines[1:-1], lines[-1]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return run(tmp_path_factory.mktemp("heap"), PROGRAM)


def test_the_node_is_imported_in_100_kib(told):
    start, _, _ = told
    taken, most = start["imported"], start["imported"] * WORDS
    print(f"\nimport of node.hal.compose: {taken} bytes of heap as on a chip, {most} at the most")
    print(f"free before: {start['free_before']}, after: {start['free']}")
    assert 10_000 < most <= IMPORT_LIMIT


def test_the_free_heap_is_flat_over_ten_thousand_samples(told):
    _, marks, end = told
    for mark in marks:
        print(f"\nafter {mark['samples']:5} samples: {mark['free']} bytes free", end="")
    print()
    assert end == {
        "end": True,
        "lorawan": False,
        "dropped": 0,
        "lost": 0,
        "faults": 0,
        "reconnects": 0,
    }
    assert (marks[0]["samples"], marks[-1]["samples"]) == (100, 10_000)
    assert all(0 <= mark["samples"] - mark["delivered"] <= 1 for mark in marks)
    flat(marks)


def test_lorawan_is_imported_in_200_kib_and_its_heap_is_flat(tmp_path):
    start, marks, end = run(tmp_path, LORAWAN_PROGRAM)
    taken, most = start["imported"], start["imported"] * WORDS
    print(f"\nimport with node.hal.lorawan: {taken} bytes as on a chip, {most} at the most")
    print(f"free before: {start['free_before']}, after: {start['free']}")
    assert most <= LORAWAN_IMPORT_LIMIT
    assert [mark["samples"] for mark in marks] == [100, 500, 1000, 2000]
    flat(marks)
    # One write for 32 uplinks.
    assert end == {"end": True, "saved": 63, "wifi": False}


def flat(marks):
    first, *later = (mark["free"] for mark in marks)
    assert all(abs(free - first) <= TOLERANCE for free in later)

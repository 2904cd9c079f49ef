import time

import pytest
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from executables import Tool


@pytest.fixture(scope="session")
def standin_image(tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "esp32.bin"
    path.write_bytes(standin.build(CHIPS["esp32"]))
    return path


@pytest.fixture(scope="module")
def rack(standin_image):
    with Rack("esp32-devkit", image=standin_image, pty=True, seed=7) as running:
        yield running


@pytest.fixture
def board(rack):
    """A board that has just been switched on, with an empty file system and a quiet prompt."""
    board = rack.boards[0]

    def fresh():
        board.power_off()
        board.flash.erase(0x200000, 0x200000)
        board.flash.erase(0x9000, 0x6000)
        board.power_on()

    rack.call(fresh)
    deadline = time.monotonic() + 10
    while board.state.value != "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    return board


@pytest.fixture(params=["rfc2217", "pty"])
def tool(request, board, tmp_path):
    port = board.rfc2217_url if request.param == "rfc2217" else board.pty_path
    return Tool(tmp_path, str(port))


@pytest.fixture
def tree(tmp_path):
    """A folder with files of all kinds: text, bytes, a package, an empty file."""
    top = tmp_path / "tree"
    (top / "pack" / "sub").mkdir(parents=True)
    (top / "pack" / "__init__.py").write_text("ANSWER = 42\n")
    (top / "pack" / "sub" / "all.bin").write_bytes(bytes(range(256)) * 33)
    (top / "empty.txt").write_bytes(b"")
    (top / "umlaut.txt").write_text("Bochum, Königsallee\n", encoding="utf-8")
    return top

import os

import pytest
from citynode.boards import load_board
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from reporting import Nodes
from workbench import PASSWORD, SSID


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """MicroPython for a board, by its id, as a file."""
    folder = tmp_path_factory.mktemp("images")

    def image(board):
        chip = load_board(board).chip
        path = folder / f"{chip}.bin"
        if not path.exists():
            path.write_bytes(standin.build(CHIPS[chip]))
        return path

    return image


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The folder of what citynode keeps, and the bench's WiFi in the environment."""
    for name in tuple(os.environ):
        if name.startswith(("CITYNODE_", "ESPTOOL_")) and name not in (
            "CITYNODE_MICROPYTHON",
            "CITYNODE_CACHE",
        ):
            monkeypatch.delenv(name)
    folder = tmp_path / "state"
    monkeypatch.setenv("CITYNODE_STATE", str(folder))
    monkeypatch.setenv("CITYNODE_WIFI_SSID", SSID)
    monkeypatch.setenv("CITYNODE_WIFI_PSK", PASSWORD)
    return folder


@pytest.fixture(scope="session")
def nodes(images, tmp_path_factory):
    """Two boards that report every second, and their broker."""
    with Nodes(("esp32-devkit", "xiao-esp32c3"), images, tmp_path_factory.mktemp("nodes")) as them:
        yield them

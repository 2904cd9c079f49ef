"""`citynode provision`: identity and configuration for a running node, through its REPL."""

import re
import ssl
import time

import pytest
import trustme
from citynode.boards import load_board
from citynode.identity import NAMESPACE
from citynode.image import nvs
from citynode.image.nvs import Kind
from citynode.nodefiles import config_cbor
from citynode.profiles import load_profile
from citynode.resources import board_configs
from citynode.virtual.soc.board import State
from workbench import (
    NVS,
    NVS_SIZE,
    Running,
    SerialLog,
    Workbench,
    citynode,
    node_flash,
    stored,
    wait_for,
)

pytestmark = pytest.mark.slow

KIND = "lilygo-t3-v1.6.1"
WAYS = {
    "mpremote-rfc2217": ("url", "mpremote"),
    "mpremote-pty": ("pty", "mpremote"),
    "ampy-pty": ("pty", "ampy"),
}
# What else may be on a board: what its chip keeps in NVS, and files of somebody's own.
OTHERS = {"phy": {"cal": (Kind.I32, 77), "data": (Kind.BLOB, bytes(range(64)))}}
NOTES = {"/notes/2019.txt": b"the pole is behind the bakery" * 40}
LOG_LINE = re.compile(rb"[DIWE] \d+\.\d{3} \w+: ")


@pytest.fixture(scope="module")
def bench():
    with Workbench([KIND, "xiao-esp32c3"], pty=True, seed=21) as running:
        yield running


@pytest.fixture(scope="module")
def firmware(images):
    """The flash of a board that has the firmware, but neither identity nor configuration."""
    image = images(KIND)
    return node_flash(image, KIND, values=OTHERS, files=NOTES, without=["/config.cbor"])


@pytest.fixture
def board(bench, firmware):
    board = bench.boards[0]
    bench.restore(board, firmware)
    bench.wait(board, State.RUNNING)
    return board


def provision(board, *more, way="mpremote-rfc2217", kind=KIND):
    end, transport = WAYS[way]
    port = board.rfc2217_url if end == "url" else board.pty_path
    return citynode(
        "provision", "--json", "--board", kind, "-p", port, "--transport", transport, *more
    )


def in_nvs(bench, board):
    """What is in NVS; a node makes its namespace when it looks for its identity."""
    found = nvs.read_partition(bench.bytes(board)[NVS : NVS + NVS_SIZE])
    return {name: values for name, values in found.items() if values}


def programs(files):
    """The files of a node but for those that its program writes by itself."""
    return {name: data for name, data in files.items() if not name.startswith("/spool/")}


@pytest.mark.parametrize("way", WAYS)
def test_identity_and_configuration_are_written_and_nothing_else(bench, board, state, way):
    before = programs(bench.files(board))
    done = provision(board, way=way)
    assert (done.code, done.err) == (0, "")
    row = done.row
    assert (row["verdict"], row["changed"]) == ("PASS", ["NVS", "/config.cbor"])
    (identity,) = stored(state).values()
    assert row["node_id"] == identity.node_id
    assert in_nvs(bench, board) == {**OTHERS, NAMESPACE: identity.nvs()}
    config = config_cbor(load_board(KIND), load_profile("climate-demo"))
    assert programs(bench.files(board)) == {**before, "/config.cbor": config}
    with SerialLog(board.pty_path) as log:
        wait_for(lambda: LOG_LINE.search(log.data))  # it runs again

    again = provision(board, way=way)
    assert (again.code, again.row["changed"], again.row["written_bytes"]) == (0, [], 0), again
    assert stored(state) == {board.mac.hex(): identity}


def test_a_fleet_keeps_identity_and_stages(bench, board, state, tmp_path, monkeypatch):
    """Two boards at once; the one that is another chip is left alone."""
    monkeypatch.setenv("CITYNODE_KEY", "5a" * 32)
    fleet = tmp_path / "fleet.db"
    assert citynode("fleet", "init", "--fleet", fleet).code == 0
    other = bench.boards[1]
    done = provision(board, "-p", other.rfc2217_url, "--fleet", fleet, "--batch", "2026-07")
    assert (done.code, [row["verdict"] for row in done.rows]) == (1, ["PASS", "FAIL"])
    assert stored(state) == {}
    (node,) = citynode("fleet", "list", "--fleet", fleet, "--json").rows
    assert (node["mac"], node["batch"]) == (board.mac.hex(), "2026-07")
    assert node["stages"]["identity"]["outcome"] == "PASS", node["stages"]
    assert provision(board, "--fleet", fleet).row["changed"] == []
    assert provision(board, "--batch", "2026-07").err.startswith(
        "citynode: a batch is one of a fleet;"
    )


def test_a_board_that_is_its_own_usb_device(board, state, tmp_path):
    """Its port goes away when it starts, and is back after a while."""
    port = tmp_path / "ttyACM0"
    port.symlink_to(board.pty_path)
    run = Running("provision", "--board", KIND, "-p", port)
    run.until(": connecting")
    port.unlink()
    time.sleep(1)
    port.symlink_to(board.pty_path)
    assert run.end().code == 0


def test_a_new_identity_and_a_ca_certificate(bench, board, state, tmp_path):
    """`--renew-identity` makes new keys; what is the same for a site stays."""
    assert provision(board).code == 0
    (old,) = stored(state).values()
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(ca)
    done = provision(board, "--renew-identity", "--profile", "climate-reference", "--ca", ca)
    assert (done.code, done.row["changed"]) == (0, ["NVS", "/config.cbor", "/ca.der"])
    (new,) = stored(state).values()
    assert new.app_key != old.app_key
    assert (new.dev_eui, new.wifi_ssid, new.wifi_psk) == (old.dev_eui, old.wifi_ssid, old.wifi_psk)
    assert in_nvs(bench, board)[NAMESPACE] == new.nvs()
    der = ssl.PEM_cert_to_DER_cert(ca.read_text())
    assert bench.files(board)["/ca.der"] == der


def larger(folder):
    """A board like ours, with more flash."""
    text = (board_configs() / f"{KIND}.toml").read_text()
    path = folder / "larger.toml"
    path.write_text(text.replace("flash_mib = 4", "flash_mib = 16"))
    return path


@pytest.mark.parametrize("wrong", ["chip", "flash size", "firmware"])
def test_a_wrong_board_is_left_as_it_is(bench, board, state, images, tmp_path, wrong):
    port = board.rfc2217_url
    kind, complaint = {
        "chip": ("xiao-esp32c3", f"{port} is an esp32, xiao-esp32c3 has an esp32c3: nothing was "),
        "flash size": (larger(tmp_path), f"{port} has 4 MiB of flash, larger has 16 MiB: nothing"),
        "firmware": (KIND, f"the board on {port} says ImportError: "),
    }[wrong]
    if wrong == "firmware":
        bench.restore(board, node_flash(images(KIND), KIND, values=OTHERS, without=["/"]))
        bench.wait(board, State.RUNNING)
    before = programs(bench.files(board)), in_nvs(bench, board)
    done = provision(board, kind=kind)
    assert done.code == 1
    assert done.complaint.startswith(complaint)
    assert (programs(bench.files(board)), in_nvs(bench, board)) == before
    assert stored(state) == {}
    if wrong != "firmware":
        with SerialLog(board.pty_path) as log:
            wait_for(lambda: LOG_LINE.search(log.data))  # it goes on

"""`citynode flash` and `citynode image build` on virtual boards, through the real esptool."""

import contextlib
import functools
import json
import os
import re
import subprocess
import threading

import pytest
from citynode.bench.readback import firmware_version
from citynode.boards import load_board
from citynode.identity import NAMESPACE, Store
from citynode.resources import provisioning
from citynode.virtual.soc.board import State
from deaf import DeafAbove
from workbench import (
    CITYNODE,
    FILES,
    PASSWORD,
    SSID,
    Running,
    SerialLog,
    Workbench,
    citynode,
    node_flash,
    stored,
    wait_for,
)

pytestmark = pytest.mark.slow

KINDS = ("esp32-devkit", "lilygo-t3-s3", "xiao-esp32c3")
ALL = ["bootloader", "partition table", "NVS", "MicroPython", "files"]
FRAME = re.compile(rb"frame: ([0-9a-f]+)")


class Changes:
    """Notes where the loader of a board changes its flash."""

    def __init__(self, bench, board):
        self.addresses = []
        self._board = board
        bench.hook(board, self._note)

    def _note(self, operation, address, length):
        if operation != "read" and self._board.state is State.DOWNLOAD:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def bench():
    with Workbench(KINDS, pty=True, seed=11) as running:
        yield running


@pytest.fixture(scope="module")
def programs(images):
    """Return the flash of a board that has been flashed, with an identity."""

    @functools.cache
    def contents(kind, identity):
        return node_flash(images(kind), kind, values={NAMESPACE: identity.nvs()})

    return contents


@pytest.fixture
def flashed(programs, bench, state):
    """Boards that have been flashed before."""
    given = {"wifi_ssid": SSID, "wifi_psk": PASSWORD}
    for kind, board in zip(KINDS, bench.boards, strict=True):
        identity = Store().issue(board.mac.hex(), load_board(kind), "demo", given)
        bench.restore(board, programs(kind, identity))
    return bench.boards


def command(images, kind):
    return ["flash", "--json", "--board", kind, "--image", images(kind)]


@pytest.fixture
def flash(images):
    """Run `citynode flash` in this process, for the kind of the first board."""

    def run(*boards, more=()):
        kind = boards[0].id.rpartition("-")[0]
        ports = [part for board in boards for part in ("-p", board.rfc2217_url)]
        return citynode(*command(images, kind), *ports, *more)

    return run


def profile(folder, **changes):
    """Return a profile as the bench's but for some keys."""
    text = (provisioning() / "profiles" / "climate-demo.toml").read_text()
    for key, value in changes.items():
        text, count = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.M)
        assert count == 1
    path = folder / "profile.toml"
    path.write_text(text)
    return path


def test_blank_boards_of_all_chips_at_once(bench, images, flash, state):
    for board in bench.boards:
        bench.restore(board, b"")
    runs = [
        Running(*command(images, kind), "-p", board.rfc2217_url)
        for kind, board in zip(KINDS, bench.boards, strict=True)
    ]
    ends = [run.end() for run in runs]
    identities = stored(state)
    for end, board in zip(ends, bench.boards, strict=True):
        assert (end.code, end.err) == (0, "")
        row = end.row
        assert 0 < row.pop("seconds") < 60
        assert 1_500_000 < row.pop("written_bytes") < 2_500_000
        mac = board.mac.hex()
        assert row == {
            "port": board.rfc2217_url,
            "verdict": "PASS",
            "step": "done",
            "error": None,
            "cure": None,
            "mac": mac,
            "chip": board.chip.id,
            "node_id": f"demo-{mac[6:]}",
            "version": firmware_version(),
            "changed": ALL,
        }
        assert bench.identity(board) == identities[mac].nvs()
    # A key for the radio has only the board that has a radio, and it is its own.
    assert [bool(identities[board.mac.hex()].app_key) for board in bench.boards] == [0, 1, 0]
    assert len(identities) == 3
    for board in bench.boards:
        changes = Changes(bench, board)
        again = flash(board)
        assert (again.code, again.err) == (0, "")
        row = again.row
        assert (row["verdict"], row["changed"], row["written_bytes"]) == ("PASS", [], 0)
        assert changes.addresses == []
    assert stored(state) == identities


def test_another_profile_writes_files_alone(flashed, bench, flash, state, tmp_path):
    board = flashed[2]
    other = ["--profile", profile(tmp_path, interval_s=7)]
    changes = Changes(bench, board)
    tried = flash(board, more=[*other, "--dry-run"])
    assert (tried.code, tried.row["changed"], tried.row["written_bytes"]) == (0, ["files"], 0)
    assert changes.addresses == []
    done = flash(board, more=other)
    assert (done.code, done.row["changed"]) == (0, ["files"])
    assert min(changes.addresses) == FILES
    assert flash(board, more=[*other, "--dry-run"]).row["changed"] == []


def test_a_dry_run_keeps_and_writes_nothing(bench, flash, state):
    board = bench.boards[1]
    bench.restore(board, b"")
    changes = Changes(bench, board)
    done = flash(board, more=["--dry-run"])
    row = done.row
    assert (done.code, row["verdict"], row["changed"]) == (0, "PASS", ALL)
    assert (row["version"], row["written_bytes"]) == (None, 0)
    assert changes.addresses == []
    assert stored(state) == {}


def test_records_not_yet_delivered_survive(flashed, bench, flash):
    board = flashed[0]
    with SerialLog(board.pty_path) as log:
        wait_for(lambda: len(FRAME.findall(log.data)) >= 2)
        accepted = [bytes.fromhex(each.decode()) for each in FRAME.findall(log.data)]
        assert flash(board).row["changed"] == []
    spool = b"".join(data for path, data in bench.files(board).items() if "/spool/" in path)
    assert all(frame in spool for frame in accepted)


def test_a_line_that_does_not_bear_the_speed(flashed, flash, images):
    board = flashed[0]
    with DeafAbove(board.rfc2217_url, limit=115200) as line:
        done = citynode(*command(images, KINDS[0]), "-p", line.url)
        assert (done.code, done.err) == (0, "")
        assert line.speeds.count(460800) == 1
        assert line.speeds[-1] == 115200


def test_a_port_without_modem_lines(flashed, bench, images, tmp_path):
    """A technician holds BOOT, presses EN, and presses EN again when all is written."""
    board = flashed[0]
    bench.press(board, boot=True)
    bench.wait(board, State.DOWNLOAD)
    run = Running(
        *command(images, KINDS[0])[:1], *command(images, KINDS[0])[2:], "-p", board.pty_path,
        "--before", "no-reset", "--profile", profile(tmp_path, interval_s=9),
    )  # fmt: skip
    run.until("starting")
    bench.press(board, boot=False)
    end = run.end()
    assert end.code == 0, end.err


def test_boards_that_fail_stop_no_others(flashed, bench, images, tmp_path):
    good, _, wrong = flashed
    before = bench.bytes(wrong)[:0x200000]
    absent = tmp_path / "ttyUSB9"
    done = citynode(
        *command(images, KINDS[0]), "-j", 2, "-p", absent, "-p", wrong.rfc2217_url,
        "-p", good.rfc2217_url,
    )  # fmt: skip
    assert done.code == 1
    assert [row["verdict"] for row in done.rows] == ["FAIL", "FAIL", "PASS"]
    lines = done.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"citynode: {absent} does not exist; ")
    assert lines[1].startswith(f"citynode: {wrong.rfc2217_url} is an ESP32-C3, ")
    assert bench.bytes(wrong)[:0x200000] == before
    bench.wait(wrong, State.RUNNING)  # it goes on with what it did


def test_what_a_person_sees(flashed, images):
    """On a terminal of 80 columns a bar for each port; the table does not cut what it tells."""
    board = flashed[2]
    ours, theirs = os.openpty()
    seen = bytearray()

    def read():
        with contextlib.suppress(OSError):  # EIO: nobody has the other end open any more
            while True:
                seen.extend(os.read(ours, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    run = Running(
        *[part for part in command(images, KINDS[2]) if part != "--json"],
        "-p", board.rfc2217_url, stdout=theirs, stderr=theirs,
        env={"TERM": "xterm-256color", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(theirs)
    assert run.end().code == 0
    reader.join(10)
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    lines = re.split(r"[\r\n]+", text)
    assert max(map(len, lines)) <= 80
    for step in ("connecting", "comparing", "starting", "reading back"):
        assert any(line.startswith(f"{board.rfc2217_url} {step} ") for line in lines), step
    bar, row = [line.split() for line in lines if line.split()[1:2] == ["PASS"]][-2:]
    assert bar[0] == board.rfc2217_url
    assert row[2:5] == [f"demo-{board.mac.hex()[6:]}", board.mac.hex(), "nothing"]
    assert f"1 passed; firmware {firmware_version()}" in text


def test_an_image_for_plain_esptool(bench, images, state, tmp_path):
    """What `image build` makes, written by hand, starts as a node that reports."""
    board = bench.boards[1]
    bench.restore(board, b"")
    secrets = tmp_path / "id.toml"
    secrets.write_text('node_id = "by-hand"\nwifi_ssid = "citynode-bench"\n')
    secrets.chmod(0o600)
    out = tmp_path / "node.bin"
    built = citynode(
        "image", "build", "--json", "--board", KINDS[1], "--profile", "climate-demo",
        "--identity", secrets, "--image", images(KINDS[1]), "-o", out,
    )  # fmt: skip
    assert (built.code, built.err) == (0, "")
    offset = built.row["offset"]
    bench.press(board, boot=True)
    bench.wait(board, State.DOWNLOAD)
    # Over the PTY: unmodified tools take a minute for that over RFC 2217.
    tool = [CITYNODE.with_name("esptool"), "--port", board.pty_path, "--before", "no-reset"]
    write = [*tool, "--after", "no-reset", "write-flash", hex(offset), out]
    subprocess.run(write, check=True, capture_output=True, timeout=120)
    with SerialLog(board.pty_path) as log:
        bench.press(board, boot=False)
        log.wait("node by-hand reset")
        wait_for(lambda: FRAME.search(log.data))
        frame = FRAME.search(log.data)[1].decode()
    decoded = citynode("decode", "--json", frame)
    assert decoded.code == 0
    assert json.loads(decoded.out.splitlines()[0])

"""What goes wrong while flashing: one line that says what to do, and nothing half-done."""

import ctypes
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import serial
from citynode.link.ports import lock
from citynode.resources import board_configs, provisioning
from workbench import (
    Running,
    Workbench,
    citynode,
    gone,
    is_free,
    node_flash,
    stored,
    wait_for,
)

ESP32, C3 = "esp32-devkit", "xiao-esp32c3"
PROFILE = (provisioning() / "profiles" / "climate-demo.toml").read_text()


@pytest.fixture(scope="module")
def bench():
    with Workbench([ESP32, C3], pty=True, seed=31) as running:
        yield running


@pytest.fixture
def blank(bench, images):
    """Two blank boards, which must be blank after the test as well."""
    for board in bench.boards:
        bench.restore(board, b"")
    yield bench.boards
    for board in bench.boards:
        bench.call(board.power_on)
        data = bench.bytes(board)
        assert data.count(0xFF) == len(data)


@pytest.fixture
def file(tmp_path):
    """Write a file only we can read and return its path."""

    def write(name, content, mode=0o600):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    return write


def refuse(*arguments, code, state):
    """Run the command, which has to fail in one line and leave no identity behind."""
    done = citynode(*arguments)
    assert done.code == code, done
    assert stored(state) == {}
    return done.complaint


# Name: options on top of `flash -p PORT`, what is to be said. {tmp} is the test's own folder.
BEFORE_ANY_PORT = {
    "unknown board": ({"--board": "esp32-devkitt"}, r"unknown board .*; did you mean esp32-dev"),
    "unknown profile": ({"--profile": "climate-dmo"}, "unknown profile .*; did you mean climate-d"),
    "no such profile": ({"--profile": "{tmp}/x.toml"}, "cannot read .*x.toml: No such file .*; "),
    "unknown profile key": (
        {"--profile": ("p.toml", "intervall_s = 7\n" + PROFILE)},
        r"/.*/p.toml: unknown key intervall_s; did you mean interval_s\? known are ",
    ),
    "unknown key in a table": (
        {"--profile": ("p.toml", PROFILE + "\nqos = 2\n")},
        "/.*/p.toml: unknown key uplink.qos; remove it; known are kind, host, ",
    ),
    "wrong value": (
        {"--profile": ("p.toml", PROFILE.replace("interval_s = 5", "interval_s = 0"))},
        "/.*/p.toml: interval_s: input should be greater than or equal to 1; correct ",
    ),
    "wrong type": (
        {"--profile": ("p.toml", PROFILE.replace("interval_s = 5", 'interval_s = "5"'))},
        "/.*/p.toml: interval_s: input should be a valid integer; correct ",
    ),
    "invalid TOML": (
        {"--profile": ("p.toml", 'site = "x\n')},
        "/.*/p.toml is not valid TOML at line 1, column 10; correct that line",
    ),
    "binary as TOML": ({"--profile": ("p.toml", b"\xff\xfe\0")}, "/.*/p.toml is not UTF-8 text; "),
    "wrong pin": (
        {
            "--board": (
                "b.toml",
                (board_configs() / f"{ESP32}.toml").read_text().replace("scl = 22", "scl = 34"),
            )
        },
        "/.*/b.toml: .*GPIO34 .* input only; correct the file",
    ),
    "TLS without a CA": (
        {"--profile": "climate-street"}, "the profile climate-street sends over TLS, .*; give --ca "
    ),
    "no certificate": ({"--ca": ("ca.pem", "x")}, "/.*/ca.pem is no certificate; give --ca "),
    "a key as certificate": (
        {"--ca": ("ca.pem", "-----BEGIN EC PRIVATE KEY-----\n")}, "/.*/ca.pem holds a private key; "
    ),
    "no identity file": ({"--identity": "{tmp}/none"}, "cannot read .*none: No such file.*; give "),
    "others can read secrets": (
        {"--identity": ("id.toml", 'wifi_ssid = "x"\n', 0o644)},
        "others can read (/.*/id.toml), which has secrets; chmod 600 /.*/id.toml",
    ),
    "no image": ({"--image": "{tmp}/none.bin"}, "cannot read .*none.bin: No such file.*; give"),
    "way in": ({"--before": "by-magic"}, "--before by-magic is not known; use default-reset, "),
    "port twice": ({"-p": "{port}"}, "rfc2217://.* is given twice; name each port once"),
    "no such port": ({"-p": "/dev/ttyNO*"}, r"no port matches /dev/ttyNO\*; see 'citynode ports'"),
    "incomplete URL": ({"-p": "rfc2217://bench"}, "rfc2217://bench names no host and port; write "),
    "one identity for two boards": (
        {"-p": "/dev/ttyS99", "--identity": ("id.toml", 'node_id = "one"\n')},
        "the identity file has node_id, which only one board may have, and there are 2 ports; ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BEFORE_ANY_PORT)
def test_what_is_refused_before_any_port(name, blank, images, state, file, tmp_path):
    options, said = BEFORE_ANY_PORT[name]
    port = blank[0].rfc2217_url
    arguments = ["flash", "-p", port]
    for key, value in {"--board": ESP32, "--image": str(images(ESP32)), **options}.items():
        if isinstance(value, tuple):
            value = file(*value)
        elif isinstance(value, str):
            value = value.format(tmp=tmp_path, port=port)
        arguments += [key, value]
    complaint = refuse(*arguments, code=2, state=state)
    assert re.match(said, complaint), complaint


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("flash", "Missing option '--board' .*; see 'citynode flash --help'"),
        ("flash --board esp32-devkit -b fast", "Invalid value for '-b' .*; see 'citynode flash "),
        ("flash --bord esp32-devkit", "No such option: --bord .*--board.*; see 'citynode flash "),
        ("image build --board esp32-devkit", "Missing option '--profile'; see 'citynode image bu"),
        ("flahs", r"No such command 'flahs'. Did you mean 'flash'\? see 'citynode --help'"),
    ],
)
def test_wrong_usage(arguments, said, state):
    complaint = refuse(*arguments.split(), code=2, state=state)
    assert re.match(said, complaint), complaint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--profile", "climate-street"], "the profile climate-street sends over TLS, and no CA "),
        (["--profile", "climate-demo", "--identity", ""], "/.*/id.toml has no node_id; add node_"),
    ],
)
def test_images_that_would_make_no_node(images, state, file, options, said):
    options = [each or file("id.toml", 'wifi_ssid = "x"\n') for each in options]
    out = file("out.bin", b"as it was")
    common = ["image", "build", "--board", ESP32, "--image", images(ESP32), "-o", out]
    complaint = refuse(*common, *options, code=2, state=state)
    assert re.match(said, complaint), complaint
    assert out.read_bytes() == b"as it was"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: raw[:1_000_000], "the app in factory in the image is cut off; give --image"),
        (lambda raw: raw[:20], "the second stage in the image is cut off; "),
        (lambda raw: raw[:0x9000] + b"\0" * 0x9000, ".* in the image"),
        (lambda raw: raw[:-5000] + b"\0" * 5000, "the app in factory in the image is damaged: "),
        (lambda raw: raw[0xF000:], "the image is the app alone, without second stage and table; "),
        (lambda raw: b"PK\3\4" + raw, "there is no second stage in the image; "),
        (lambda raw: b"", "there is no second stage in the image; "),
    ],
    ids=[
        "cut off",
        "nearly nothing",
        "without an app",
        "damaged",
        "app alone",
        "other file",
        "empty",
    ],
)
def test_images_that_are_not_whole(blank, images, state, file, spoil, said):
    path = file("image.bin", spoil(images(ESP32).read_bytes()))
    common = ["--board", ESP32, "--image", path]
    complaint = refuse("flash", "-p", blank[0].rfc2217_url, *common, code=2, state=state)
    assert re.match(said, complaint), complaint
    out = path.with_name("out.bin")
    build = ["image", "build", "--profile", "climate-demo", *common, "-o", out]
    assert refuse(*build, code=2, state=state) == complaint
    assert not out.exists()


def test_an_image_for_another_chip(blank, images, state):
    common = ["flash", "--board", C3, "-p", blank[1].rfc2217_url, "--image", images(ESP32)]
    complaint = refuse(*common, code=2, state=state)
    assert complaint.startswith("the image is for esp32, the board has esp32c3; give --image ")


@pytest.fixture
def flash(images, state):
    """Run `citynode flash` on ports that cannot be worked with; return what it complains about."""

    def run(port, *more, board=ESP32):
        common = ["flash", "--json", "--board", board, "--image", images(ESP32), "-p", port]
        return refuse(*common, *more, code=1, state=state)

    return run


def test_the_wrong_chip(blank, flash):
    port = blank[1].rfc2217_url
    assert flash(port) == (
        f"{port} is an ESP32-C3, esp32-devkit has an esp32: nothing was written; "
        f"choose another port, or --board {C3}"
    )


def test_the_wrong_flash_size(blank, flash, file):
    text = (board_configs() / f"{ESP32}.toml").read_text()
    larger = file("larger.toml", text.replace("flash_mib = 4", "flash_mib = 16"))
    port = blank[0].rfc2217_url
    assert flash(port, board=larger) == (
        f"{port} has 4 MiB of flash, larger has 16 MiB: nothing was written; "
        "choose another port or --board"
    )


def test_no_wifi_is_known(blank, flash, monkeypatch):
    monkeypatch.delenv("CITYNODE_WIFI_SSID")
    complaint = flash(blank[0].rfc2217_url)
    assert "no WiFi network is known for the board " in complaint
    assert "; put wifi_ssid and wifi_psk into a file for --identity, or set " in complaint


@pytest.mark.slow
@pytest.mark.parametrize("way", ["rfc2217", "pty"])
def test_no_board(blank, bench, flash, way):
    board = blank[0]
    bench.call(board.power_off)
    port = board.rfc2217_url if way == "rfc2217" else board.pty_path
    assert flash(port) == (
        f"no ESP32 answers on {port}; "
        "check cable and power; hold BOOT, press EN, then run this again"
    )


def test_no_port(flash, tmp_path):
    absent, file = tmp_path / "ttyUSB0", tmp_path / "file"
    file.touch()
    server = "rfc2217://127.0.0.1:1"
    assert flash(absent) == f"{absent} does not exist; plug the board in; see 'citynode ports'"
    assert flash(file) == f"{file} is no serial port; see 'citynode ports'"
    assert flash(server) == (
        f"nothing answers at {server}; start the server or the virtual board there"
    )


def test_a_port_in_use(blank, flash):
    url, pty = blank[0].rfc2217_url, str(blank[0].pty_path)
    cure = "close that program, then run this again"
    with serial.Serial(pty, exclusive=True):
        assert flash(pty) == f"{pty} is in use by another program; {cure}"
    with lock(url):
        assert flash(url) == f"{url} is in use by another program; {cure}"
    with socket.create_connection(("127.0.0.1", blank[0].port.tcp.port)):
        assert flash(url) == (
            f"{url} is in use by another program, or is no RFC 2217 server; "
            "close that program, or correct the address"
        )


def without_privileges():
    """Have the kernel look at permissions even if this is root."""
    libc = ctypes.CDLL(None, use_errno=True)
    cap_dac_override, cap_dac_read_search, drop = 1, 2, 24
    for capability in (cap_dac_override, cap_dac_read_search):
        if libc.prctl(drop, capability, 0, 0, 0) and os.geteuid() == 0:
            raise OSError(ctypes.get_errno(), "cannot give up privileges")


@pytest.mark.slow
def test_no_permission(images, state):
    ours, theirs = os.openpty()
    port = os.ttyname(theirs)
    os.chmod(port, 0)
    try:
        run = Running(
            "flash", "--json", "--board", ESP32, "--image", images(ESP32), "-p", port,
            preexec_fn=without_privileges,
        )  # fmt: skip
        end = run.end()
    finally:
        os.close(ours)
        os.close(theirs)
    assert end.code == 1
    assert end.complaint == (
        f"no permission to open {port}; "
        "join its group: 'sudo usermod -aG dialout $USER', then log in again"
    )
    assert stored(state) == {}


def test_a_state_folder_that_cannot_be_written(blank, images, state):
    state.write_text("a file, not a folder")
    done = citynode(
        "flash", "--json", "--board", ESP32, "--image", images(ESP32), "-p", blank[0].rfc2217_url
    )
    assert done.code == 1
    assert re.search(r"cannot write .*state.*; make the folder writable, or set", done.complaint)


# -- Ctrl-C ---------------------------------------------------------------------------------------

FLASH_STEPS = ["connecting", "comparing", "writing", "starting", "reading back"]
PROVISION_STEPS = ["connecting", "comparing", "provisioning", "reading back"]
STEP_LINE = re.compile(r"rfc2217://\S+: [a-z ]+\n")


@pytest.mark.slow
def test_ctrl_c_before_any_board(images, state):
    run = Running("flash", "--board", ESP32, "--image", images(ESP32), "-p", "/dev/ttyS99")
    wait_for(run.children)  # it compiles
    run.interrupt()
    end = run.end(20)
    assert (end.code, end.out, end.err) == (2, "", "citynode: interrupted\n")
    assert not state.exists()


def interrupted(arguments, step, times=1):
    """Press Ctrl-C when a step is told of; return how it ended and what children there were."""
    run = Running(*arguments)
    run.until(f": {step}\n")
    children = run.children()
    for _ in range(times):
        run.interrupt()
        time.sleep(0.02)
    return run.end(20), children


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "steps"), [("flash", FLASH_STEPS), ("provision", PROVISION_STEPS)]
)
def test_ctrl_c_at_each_step(verb, steps, images, state):
    image = images(ESP32)
    node = {"files": {}} if verb == "flash" else {}
    with Workbench(ESP32, len(steps), seed=32) as bench:
        contents = node_flash(image, ESP32, without=["/config.cbor"], **node)
        for board in bench.boards:
            bench.restore(board, contents)
        common = [verb, "--board", ESP32, *(["--image", image] if verb == "flash" else [])]
        with ThreadPoolExecutor(len(steps)) as pool:
            ends = list(
                pool.map(
                    lambda board, step: interrupted(
                        [*common, "-p", board.rfc2217_url], step, 2 if step == "writing" else 1
                    ),
                    bench.boards,
                    steps,
                )
            )
        for (end, children), step in zip(ends, steps, strict=True):
            assert end.code == 2, (step, end)
            lines = STEP_LINE.sub("", end.err)
            assert lines == "citynode: interrupted; run this again: it goes on where it was\n"
            assert f"ABORTED {step} " in end.out, end
            assert gone(children)
        assert all(map(is_free, bench.urls()))
        known = stored(state)
        again = citynode(*common, "--json", *[p for url in bench.urls() for p in ("-p", url)])
        assert (again.code, again.err) == (0, "")
        assert known.items() <= stored(state).items()
        for board in bench.boards:
            assert bench.identity(board) == stored(state)[board.mac.hex()].nvs()

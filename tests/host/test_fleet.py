"""The fleet: what it keeps, for whom, who did it, and who cannot read it."""

import contextlib
import json
import os
import sqlite3
import threading

import keyring
import pytest
from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.fleet import database
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import SERVICE, Place
from citynode.fleet.node import Entry, Measurement, Result, Stage
from citynode.fleet.query import Filter
from citynode.fleet.store import FleetStore
from citynode.fleet.vault import SealError, Vault
from citynode.identity import EuiBlock
from keyring.backend import KeyringBackend
from workbench import citynode

MAC, OTHER = "240ac4000004", "240ac4000008"
RADIO, WIFI = load_board("lilygo-t3-v1.6.1"), load_board("esp32-devkit")
KEYS = [f"5ec2e7{number:026x}" for number in range(1, 9)]


@pytest.fixture
def path(state):
    """A fleet of four nodes, one of them with everything."""
    path = state / "fleet.db"
    Fleet.init(path, Place.FILE, now=lambda: 1.8e9, who="anna")
    with Fleet(path, now=lambda: 1.8e9, who="anna") as fleet:
        fleet.add(
            [
                Entry("kerb-1", MAC, "70b3d57ed0000001", "70b3d57ed0ffffff", "lilygo-t3-s3", "b1",
                      "Ring/Ost", 51.48, 7.21, notes="high",
                      extra={"Mast": "A 17", "Owner": "Grün"},
                      secrets={"app_key": KEYS[0], "command_key": KEYS[3],
                               "wifi_psk": "Kanarie-psk-7f3a9"}),
                Entry("kerb-2", OTHER, "70b3d57ed0000002", batch="b1", site="Ring/West",
                      secrets={"app_key": KEYS[1]}),
                Entry("pond", "240ac400000c", batch="b2", extra={"Mast": "B 1"}),
                Entry("spare", dev_eui="70b3d57ed0000004", secrets={"app_key": KEYS[2]}),
            ]
        )  # fmt: skip
        kerb, other = fleet.nodes(Filter(batch="b1"))
        for stage in Stage:
            fleet.stage(kerb, stage, Result.PASS)
        fleet.stage(other, Stage.FLASH, Result.PASS)
        fleet.stage(other, Stage.BOOT, Result.TIMEOUT, "silent")
    return path


def listed(*options):
    done = citynode("fleet", "list", "--json", *options)
    assert (done.code, done.err) == (0, "")
    return [row["node_id"] for row in done.rows]


def table(path, sql, *values):
    """Look at the file as anybody with SQLite can."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        rows = file.execute(sql, values).fetchall()
        file.commit()
        return rows


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["kerb-1", "kerb-2", "pond", "spare"]),
        (["kerb-*", "spare"], ["kerb-1", "kerb-2", "spare"]),
        (["24:0A:C4:00:00:0C"], ["pond"]),
        (["70-B3-D5-7E-D0-00-00-04"], ["spare"]),
        (["--batch", "b1"], ["kerb-1", "kerb-2"]),
        (["--batch", "b1", "--site", "Ring/West"], ["kerb-2"]),
        (["--status", "ready"], ["kerb-1"]),
        (["--status", "failed"], ["kerb-2"]),
        (["--status", "planned"], ["pond", "spare"]),
        (["--stage", "flash"], ["kerb-1", "kerb-2"]),
        (["--stage", "boot=TIMEOUT"], ["kerb-2"]),
        (["--stage", "boot=missing"], ["kerb-2", "pond", "spare"]),
        (["--where", "Mast=A 17"], ["kerb-1"]),
        (["--where", "Owner="], ["kerb-2", "pond", "spare"]),
        (["--where", "lat=51.48", "--where", "notes=high"], ["kerb-1"]),
        (["--where", "batch="], ["spare"]),
        (["--limit", "2"], ["kerb-1", "kerb-2"]),
        (["nobody' OR 1"], []),
    ],
)
def test_list_finds(path, options, names):
    assert listed(*options) == names


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--status", "redy"], "--status: 'redy' is not known; did you mean ready?"),
        (["--stage", "flash=fail"], "--stage flash=: 'fail' is not known"),
        (["--stage", "label=GONE"], "--stage label=: 'GONE' is not known"),
        (["--where", "Mats=A 17"], "--where: 'Mats' is not known; did you mean Mast?"),
        (["--where", "Mast"], "--where Mast has no =; give --where KEY=VALUE"),
        (["--where", "lon=east"], "--where lon: 'east' is no number"),
    ],
)
def test_a_filter_that_is_wrong_is_told(path, options, told):
    done = citynode("fleet", "list", *options)
    assert (done.code, done.out) == (2, "")
    assert done.complaint.startswith(told)


def test_tables_for_people(path):
    done = citynode("fleet", "list", "--limit", "2")
    header, first, second, count = done.out.splitlines()
    assert header.split() == ["node", "site", "batch", "status", "DevEUI", "MAC", "stages"]
    assert first.split()[:4] == ["kerb-1", "Ring/Ost", "b1", "ready"]
    assert second.endswith("flash, boot TIMEOUT")
    assert count == "4 nodes, 2 shown (--limit 0 for all)"
    shown = dict(
        line.split(maxsplit=1) for line in citynode("fleet", "show", OTHER).out.splitlines()
    )
    assert shown["boot"] == "TIMEOUT 2027-01-15T08:00:00Z: silent"
    assert (shown["label"], shown["keys"]) == ("not yet", "encrypted in the fleet")
    (row,) = citynode("fleet", "show", "kerb-1", "--json").rows
    assert (row["extra"], row["lat"]) == ({"Mast": "A 17", "Owner": "Grün"}, 51.48)
    assert citynode("fleet", "show", "kerb-*").complaint.startswith("kerb-* is 2 nodes")
    assert citynode("fleet", "show", "kreb").complaint.startswith("no node is 'kreb'")


def test_the_self_test_is_kept_with_its_limits(path):
    with Fleet(path) as fleet:
        (node,) = fleet.nodes(Filter(("pond",)))
        fleet.measured(node, [Measurement("vdd", "PASS", 3.29, "V", 3.1, 3.5)])
        assert fleet.nodes(Filter(("pond",)))[0].stages["self-test"].outcome == "PASS"
        items = [
            Measurement("temperature", "FAIL", 99.0, "°C", -20.0, 60.0),
            Measurement("wifi", "TIMEOUT"),
        ]
        fleet.measured(node, items)
        fleet.versions(node, "0.2.0", "1.25.0")
    (row,) = citynode("fleet", "show", "pond", "--json").rows
    assert row["stages"]["self-test"]["outcome"] == "FAIL"
    assert row["stages"]["self-test"]["detail"] == "temperature, wifi"
    assert (row["firmware"], row["micropython"], row["status"]) == ("0.2.0", "1.25.0", "failed")
    assert [each["item"] for each in row["self_test"]] == ["temperature", "wifi"]
    assert "temperature FAIL: 99 °C (limits -20 to 60)" in citynode("fleet", "show", "pond").out


def test_the_audit_trail_says_who_did_what_and_only_grows(path):
    assert citynode("fleet", "retire", "pond", "--reason", "stolen").code == 0
    rows = citynode("fleet", "audit", "--json").rows
    assert [row["id"] for row in rows] == list(range(len(rows), 0, -1))
    assert rows[0] | {"at": None, "who": None} == {
        "id": len(rows), "at": None, "who": None, "action": "retire", "node": "pond",
        "detail": "stolen",
    }  # fmt: skip
    assert (rows[-1]["who"], rows[-1]["action"], rows[-1]["at"]) == (
        "anna", "init", "2027-01-15T08:00:00Z",
    )  # fmt: skip
    assert [row["action"] for row in citynode("fleet", "audit", "kerb-2", "--json").rows] == [
        "boot", "flash", "add",
    ]  # fmt: skip
    for change in ("UPDATE audit SET who = 'eve'", "DELETE FROM audit WHERE id = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="only grows"):
            table(path, change)


def test_retired_nodes_are_out_of_service_and_come_back(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = citynode("fleet", "retire", "--batch", "b1")
    assert done.code == 2
    assert done.complaint == "Retire 2 nodes? Nobody is there to say so; give --yes"
    assert citynode("fleet", "retire", "--batch", "b1", "--yes").code == 0
    assert listed("--status", "retired") == ["kerb-1", "kerb-2"]
    done = citynode("fleet", "export", "-f", "tts-csv", "--json")
    assert (done.row["nodes"], done.row["left_out"]) == (1, ["pond"])
    done = citynode("fleet", "labels", "kerb-1", "-f", "L7651")
    assert done.complaint.startswith("all of them are retired")
    for change in ("rekey", "labels"):
        assert citynode("fleet", change, "kerb-1", "-f", "3475", "--yes").code == 2
    with Fleet(path) as fleet:
        store = FleetStore(fleet)
        with pytest.raises(CitynodeError, match="is kerb-1, which is retired"):
            store.issue(MAC, RADIO, "park", {})
        assert MAC not in store.all()
    done = citynode("fleet", "retire", "--undo", "--batch", "b1", "--json")
    assert [row["node_id"] for row in done.rows] == ["kerb-1", "kerb-2"]
    assert listed("--status", "ready") == ["kerb-1"]
    assert listed("--status", "failed") == ["kerb-2"]
    assert citynode("fleet", "retire", "--yes").complaint.startswith("no node was named")


def test_forgotten_keys_are_gone_and_nobody_gets_them_again(path):
    assert citynode("fleet", "retire", "kerb-1", "--forget-keys", "--yes").code == 0
    assert citynode("fleet", "new-key", "--key", "file").code == 0
    with Fleet(path) as fleet:
        assert fleet.identities(Filter(("kerb-1",)))["kerb-1"].app_key is None
        with pytest.raises(CitynodeError, match="kerb-1 has the same app_key"):
            fleet.add([Entry("again", secrets={"app_key": KEYS[0]})])


def test_rekey_gives_a_node_another_app_key(path):
    done = citynode("fleet", "rekey", "kerb-1")
    assert done.complaint.startswith("Give 1 node new AppKeys, and destroy the old ones?")
    done = citynode("fleet", "rekey", "kerb-1", "pond", "--yes")
    assert done.complaint.startswith("pond has no LoRaWAN identity: no key was changed")
    with Fleet(path) as fleet:
        before = fleet.identities()
        assert citynode("fleet", "rekey", "kerb-1", "--yes", "--json").row["done"] == "rekeyed"
        after = fleet.identities()
    changed = {name for name in before if before[name].app_key != after[name].app_key}
    assert changed == {"kerb-1"}
    assert after["kerb-1"].wifi_psk == "Kanarie-psk-7f3a9"
    assert before["kerb-1"].command_key != after["kerb-1"].command_key is not None
    assert listed("--stage", "identity") == []  # the board has the old one
    assert listed("--status", "open") == ["kerb-1"]


def test_a_new_key_for_the_fleet_and_the_way_back_to_a_backup(path, tmp_path):
    with Fleet(path) as open_before:
        identities = open_before.identities()
        copy = tmp_path / "copy.db"
        assert citynode("fleet", "backup", copy).code == 0
        assert copy.stat().st_mode & 0o777 == 0o600
        row = citynode("fleet", "new-key", "--key", "file", "--json").row
        assert row["old"] != row["new"]
        assert open_before.identities() == identities  # it notices
    with Fleet(copy) as old:
        assert (old.identities(), old.key_id) == (identities, row["old"])
    assert (
        citynode("fleet", "backup", copy).complaint == f"{copy} is there already; give another name"
    )
    assert table(path, "SELECT secrets FROM node") != table(copy, "SELECT secrets FROM node")


LOST = "is not there: it is neither in"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda key, _: key.unlink(), LOST),
        (lambda key, _: key.chmod(0o644), "others can read"),
        (lambda key, _: key.write_text("5ec2e7"), "holds no key: 64 hex digits"),
        (lambda key, _: key.write_text("ab" * 32), "is not there: the key in"),
        (lambda key, env: key.unlink() or env("CITYNODE_KEY", "ab" * 32), "in CITYNODE_KEY is"),
        (lambda _, env: env("CITYNODE_KEY", "5ec2e7secret"), "CITYNODE_KEY holds no key"),
        (lambda _, env: env("CITYNODE_KEY_FILE", "/no/where"), "cannot read the fleet's key in"),
    ],
)
def test_without_the_right_key_secrets_stay_closed_and_all_else_works(
    path, state, monkeypatch, spoil, told
):
    monkeypatch.setattr(keyring, "get_keyring", lambda: Memory())
    (key,) = (state / "keys").iterdir()
    spoil(key, monkeypatch.setenv)
    done = citynode("fleet", "export", "-f", "tts-csv", "-o", "-")
    assert (done.code, done.out) == (2, "")
    assert told in done.complaint
    assert "5ec2e7" not in done.err
    assert len(listed()) == 4
    assert citynode("fleet", "export", "-f", "csv", "-o", "-").code == 0
    assert citynode("fleet", "rekey", "kerb-1", "--yes").code == 2
    assert citynode("fleet", "retire", "kerb-1").code == 0


class Memory(KeyringBackend):
    """A keyring of an OS, for as long as a test."""

    priority = 5

    def __init__(self, *, deaf=False):
        super().__init__()
        self.kept = {}
        self.deaf = deaf

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        if not self.deaf:
            self.kept[service, username] = password


def test_where_a_new_key_goes(state, tmp_path, monkeypatch):
    ring = Memory()
    before = keyring.get_keyring()
    keyring.set_keyring(ring)
    try:
        row = citynode("fleet", "init", "--json").row
        ((service, name),) = ring.kept
        assert (service, row["key"]) == (SERVICE, f"the OS keyring, as {SERVICE} {name}")
        with Fleet(state / "fleet.db") as fleet:
            fleet.add([Entry("kerb", secrets={"app_key": KEYS[0]})])
        with Fleet(state / "fleet.db") as fleet:
            assert fleet.identities()["kerb"].app_key.hex() == KEYS[0]
        ring.deaf = True
        done = citynode("fleet", "init", "--fleet", tmp_path / "b.db")
        assert done.complaint.startswith("the OS keyring does not keep the key")
        assert not (tmp_path / "b.db").exists()
        keyring.set_keyring(keyring.backends.fail.Keyring())
        done = citynode("fleet", "init", "--fleet", tmp_path / "b.db", "--key", "keyring")
        assert done.complaint == "this machine has no OS keyring; give --key file"
        row = citynode("fleet", "init", "--fleet", tmp_path / "b.db", "--json").row
        assert row["key"].startswith(str(state / "keys"))
    finally:
        keyring.set_keyring(before)
    done = citynode("fleet", "init", "--fleet", tmp_path / "c.db", "--key", "env")
    assert done.complaint.startswith("CITYNODE_KEY is not set; set it to what 'python3 -c")
    monkeypatch.setenv("CITYNODE_KEY", "q83v" * 10 + "q80=")
    monkeypatch.setenv("CITYNODE_FLEET", str(tmp_path / "c.db"))
    assert citynode("fleet", "init", "--json").row["key"] == "CITYNODE_KEY"
    with Fleet(tmp_path / "c.db") as fleet:
        assert fleet.sealer.key_id == Vault(bytes.fromhex("abcdef" * 10 + "abcd")).key_id
    monkeypatch.delenv("CITYNODE_KEY")
    monkeypatch.setenv("CITYNODE_KEY_FILE", str(tmp_path / "stick" / "key"))
    done = citynode("fleet", "list", "--fleet", tmp_path / "c.db")
    assert done.code == 0  # that takes no key
    done = citynode("fleet", "init", "--fleet", tmp_path / "d.db", "--json")
    assert done.row["key"] == str(tmp_path / "stick" / "key")
    assert (tmp_path / "stick" / "key").stat().st_mode & 0o777 == 0o600
    done = citynode("fleet", "init", "--fleet", tmp_path / "e.db", "--json")
    assert done.row["key"] == str(tmp_path / "stick" / "key")  # one for both


@pytest.mark.parametrize("where", ["CITYNODE_KEY", "CITYNODE_KEY_FILE"])
def test_a_key_of_ones_own_is_followed_by_another(state, tmp_path, monkeypatch, where):
    keys = {"CITYNODE_KEY": "ab" * 32, "CITYNODE_KEY_FILE": str(tmp_path / "key")}
    path = tmp_path / "fleet.db"
    monkeypatch.setenv(where, keys[where])
    monkeypatch.setenv("CITYNODE_FLEET", str(path))
    assert citynode("fleet", "init").code == 0
    with Fleet(path) as fleet:
        fleet.add([Entry("kerb", secrets={"app_key": KEYS[0]})])
    assert citynode("fleet", "new-key", "--key", "env").complaint.startswith("CITYNODE_NEW_KEY is")
    monkeypatch.setenv("CITYNODE_NEW_KEY", "ab" * 32)
    if where == "CITYNODE_KEY":
        assert citynode("fleet", "new-key").complaint.startswith("the key in CITYNODE_NEW_KEY is")
    monkeypatch.setenv("CITYNODE_NEW_KEY", "cd" * 32)
    assert citynode("fleet", "new-key", "--json").row["key"] == "CITYNODE_NEW_KEY"
    assert citynode("fleet", "export", "--with-keys", "-o", "-").code == 2
    monkeypatch.setenv(where, "cd" * 32)
    if where == "CITYNODE_KEY_FILE":
        (tmp_path / "key").write_text("cd" * 32)
        monkeypatch.setenv(where, keys[where])
    assert KEYS[0] in citynode("fleet", "export", "--with-keys", "-o", "-").out
    assert citynode("fleet", "new-key", "--key", "file").code == 0
    # It is found beside those that the environment has.
    assert KEYS[0] in citynode("fleet", "export", "--with-keys", "-o", "-").out


def test_what_is_sealed_opens_with_its_key_for_its_owner_alone():
    vault, other = Vault(bytes(32)), Vault(bytes(31) + b"\1")
    sealed = vault.seal(b"secret", b"kerb")
    assert vault.open(sealed, b"kerb") == b"secret"
    assert vault.seal(b"secret", b"kerb") != sealed
    for who, what, owner in (
        (other, sealed, b"kerb"),
        (vault, sealed, b"pond"),
        (vault, sealed[:-1], b"kerb"),
        (vault, sealed[:5], b"kerb"),
        (vault, b"", b"kerb"),
        (vault, bytes([sealed[0] ^ 1]) + sealed[1:], b"kerb"),
    ):
        with pytest.raises(SealError, match=r"^$"):
            who.open(what, owner)
    with pytest.raises(ValueError, match="32 bytes"):
        Vault(bytes(16))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE node SET secrets = (SELECT secrets FROM node WHERE node_id = 'kerb-2') "
        "WHERE node_id = 'kerb-1'",
        "UPDATE node SET mac = '240ac4000010' WHERE node_id = 'kerb-1'",
        "UPDATE node SET dev_eui = '70b3d57ed0000009' WHERE node_id = 'kerb-1'",
        "UPDATE fleet SET value = (SELECT hex(randomblob(60))) WHERE key = 'marker'",
    ],
)
def test_a_key_that_was_moved_to_another_node_does_not_open(path, change):
    table(path, change)
    done = citynode("fleet", "export", "-f", "tts-csv", "-o", "-")
    assert (done.code, done.out) == (2, "")
    assert "changed" in done.complaint


def test_secrets_are_nowhere_but_where_they_are_asked_for(path, state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    verbs = (
        ["list"], ["show", "kerb-1"], ["audit"], ["export"], ["export", "-f", "geojson"],
        ["export", "-f", "gis-csv"], ["labels", "-f", "3475"], ["export", "-f", "tts-csv"],
    )  # fmt: skip
    told = [citynode("fleet", *verb, *how) for verb in verbs for how in ([], ["--json"])]
    told.append(citynode("fleet", "backup", "copy.db"))
    assert {each.code for each in told} == {0}
    with Fleet(path) as fleet:
        told.append(repr([fleet, fleet.sealer, fleet.nodes(), fleet.identities(), vars(fleet)]))
        told.append(repr(Entry("x", secrets={"app_key": KEYS[0]})))
        files = [*state.rglob("*"), *tmp_path.rglob("*")]  # with what SQLite has beside its file
    (key,) = (state / "keys").iterdir()
    planted = [KEYS[0].encode(), bytes.fromhex(KEYS[0]), b"Kanarie", key.read_bytes().strip()]
    planted += [each.upper() for each in planted]
    keepers = [key, tmp_path / "citynode-tts.csv"]
    assert planted[4] in keepers[1].read_bytes()
    for content in (
        *map(repr, told),
        *(f.read_bytes() for f in files if f.is_file() and f not in keepers),
    ):
        content = content.encode() if isinstance(content, str) else content
        assert not [each for each in planted if each in content]
    assert {each.stat().st_mode & 0o777 for each in files if each.is_file()} == {0o600}
    done = citynode("fleet", "export", "--with-keys", "-o", "-", "kerb-1")
    assert KEYS[0] in done.out
    audit = citynode("fleet", "audit", "--json", "--limit", "1").row
    assert (audit["action"], audit["detail"]) == ("export", "csv, 1 nodes, with keys")


# The store that flash and provision take


def test_a_fleet_gives_out_identities_as_the_folder_does(path):
    with Fleet(path) as fleet:
        store = FleetStore(fleet, batch="b3")
        mac = "240ac4000020"
        assert store.issue(mac, RADIO, "park", {}, keep=False).node_id == "park-000020"
        assert store.find(mac) is None
        made = store.issue(mac, RADIO, "park", {"wifi_ssid": "city"})
        assert (made.node_id, made.dev_eui.hex()) == ("park-000020", "240ac4fffe000020")
        assert store.issue(mac, RADIO, "elsewhere", {}) == made == store.find(mac)
        (node,) = fleet.nodes(Filter(batch="b3"))
        assert (node.entry.site, node.entry.board) == ("park", RADIO.id)
        planned = store.issue(MAC, RADIO, "park", {})  # it came by an import
        assert (planned.node_id, planned.app_key.hex()) == ("kerb-1", KEYS[0])
        assert fleet.nodes(Filter(("kerb-1",)))[0].entry.site == "Ring/Ost"
        renewed = store.issue(mac, RADIO, "pond", {}, renew=True)
        assert renewed.node_id == "pond-000020"
        assert renewed.app_key != made.app_key
        assert renewed.wifi_ssid == "city"
        plain = store.issue("240ac4000024", WIFI, "park", {})
        assert (plain.dev_eui, plain.app_key) == (None, None)
        assert set(store.all()) == {MAC, OTHER, "240ac400000c", mac, "240ac4000024"}
        for key, value in (("node_id", "kerb-1"), ("app_key", bytes.fromhex(KEYS[1])),
                           ("dev_eui", bytes.fromhex("70b3d57ed0000004"))):  # fmt: skip
            with pytest.raises(CitynodeError, match=f"has the same {key}"):
                store.issue("240ac4000028", RADIO, "park", {key: value})
        with pytest.raises(CitynodeError, match="is kerb-1 and has another app_key"):
            store.issue(MAC, RADIO, "park", {"app_key": bytes(16)})
        assert store.find("240ac4000028") is None
    assert [row["action"] for row in citynode("fleet", "audit", "pond-000020", "--json").rows] == [
        "issue"
    ]


def test_the_bench_records_how_far_a_board_came(path):
    with Fleet(path) as fleet:
        store = FleetStore(fleet)
        store.record("240ac40000ff", [Stage.FLASH])  # nobody knows it
        store.record(OTHER, [Stage.FLASH], Stage.BOOT, Result.ABORTED, "unplugged")
        assert listed("--stage", "boot=ABORTED") == ["kerb-2"]
        store.record(OTHER, [Stage.FLASH, Stage.BOOT, Stage.IDENTITY], firmware="0.2.0")
    (row,) = citynode("fleet", "list", "kerb-2", "--json").rows
    assert (row["status"], row["firmware"]) == ("open", "0.2.0")
    assert list(row["stages"]) == ["flash", "boot", "identity"]


def test_dev_euis_of_a_block_are_given_out_once(path):
    """Also when the node that had one gets another, or is retired."""
    with Fleet(path) as fleet:
        store = FleetStore(fleet)
        store.dev_euis = EuiBlock.parse("70B3D57ED0000001/6")  # the fleet has 1, 2 and 4 of it
        macs = [f"240ac40001{number:02x}" for number in range(0, 20, 4)]
        assert store.issue(macs[0], RADIO, "park", {}, keep=False).dev_eui[-1] == 5
        assert store.issue(macs[0], RADIO, "park", {}).dev_eui[-1] == 5
        assert store.issue(macs[0], RADIO, "park", {}, renew=True).dev_eui[-1] == 6
        with pytest.raises(CitynodeError, match="all 6 DevEUIs of the block are given out"):
            store.issue(macs[1], RADIO, "park", {})
        past = {"dev_eui": bytes.fromhex("70b3d57ed0000005")}
        with pytest.raises(CitynodeError, match="node park-000100 has the same dev_eui"):
            store.issue(macs[1], RADIO, "park", past)
        assert store.issue(macs[0], RADIO, "park", past, renew=True).dev_eui[-1] == 5


def test_no_two_boards_get_the_same_at_the_same_moment(path):
    macs = [f"240ac40001{number:02x}" for number in range(0, 32, 4)]
    start, got, refused = threading.Barrier(len(macs)), [], []

    def ask(mac, fleet):
        start.wait(10)
        try:
            got.append(FleetStore(fleet).issue(mac, RADIO, "park", {"app_key": bytes(16)}))
        except CitynodeError as error:
            refused.append(error.what)

    with contextlib.ExitStack() as stack:
        # Half of them share an open fleet, as the threads of a bench do; half have one each.
        shared = stack.enter_context(Fleet(path))
        fleets = [shared if number % 2 else stack.enter_context(Fleet(path)) for number in range(8)]
        threads = [
            threading.Thread(target=ask, args=pair) for pair in zip(macs, fleets, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert (len(got), len(refused)) == (1, len(macs) - 1)
    assert all(what.endswith(f"{got[0].node_id} has the same app_key") for what in refused)


# Files that are not as they should be


def newer(path):
    table(path, f"PRAGMA user_version = {len(database.MIGRATIONS) + 1}")


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scribble(path):
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda path: path.unlink(), "there is no fleet in {path}; make one with"),
        (lambda path: path.write_bytes(b""), "{path} is no fleet; give --fleet"),
        (lambda path: path.write_bytes(b"node_id,mac\n" * 999), "{path} is no fleet"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(99)), "{path} is no fleet"),
        (lambda path: table(path, "PRAGMA application_id = 1"), "{path} is no fleet"),
        (newer, "{path} is of a newer citynode (schema 2, this one knows 1); update citynode"),
        (lambda path: path.chmod(0o640), "others can read {path}, which has secrets; chmod 600"),
        (cut, "{path} is damaged; go back to a backup"),
        (scribble, "{path} is damaged; go back to a backup"),
    ],
)
def test_a_file_that_is_no_fleet_is_told_and_left_alone(path, spoil, told):
    spoil(path)
    before = path.read_bytes() if path.exists() else None
    for verb in (["list"], ["rekey", "kerb-1", "--yes"]):
        done = citynode("fleet", *verb)
        assert (done.code, done.out) == (2, "")
        assert done.complaint.startswith(told.format(path=path))
    assert (path.read_bytes() if path.exists() else None) == before
    if before is not None:
        assert citynode("fleet", "init").complaint.startswith(f"{path} is there already")


def test_an_older_fleet_is_brought_up_to_date_behind_a_backup(path, monkeypatch):
    with Fleet(path) as fleet:
        identities = fleet.identities()
    more = "CREATE TABLE later (x);\nUPDATE node SET notes = 'moved';\n"
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, more + "BROKEN;\n"))
    assert citynode("fleet", "list").code == 2
    assert table(path, "PRAGMA user_version") == [(1,)]
    assert table(path, "SELECT count(*) FROM node WHERE notes = 'moved'") == [(0,)]
    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS[:1], more))
    with Fleet(path) as fleet:
        assert {node.entry.notes for node in fleet.nodes()} == {"moved"}
        assert fleet.identities() == identities
    backup = path.with_name("fleet.db.v1.bak")
    assert backup.stat().st_mode & 0o777 == 0o600
    assert table(backup, "SELECT notes FROM node WHERE node_id = 'kerb-1'") == [("high",)]
    assert table(backup, "PRAGMA user_version") == [(1,)]


def test_who_writes_makes_others_wait_and_no_longer_than_they_say(path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_S", 0.2)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(listed()) == 4  # to look at it never has to wait
        done = citynode("fleet", "rekey", "kerb-1", "--yes")
        assert done.code == 2
        assert done.complaint.startswith(f"another citynode is writing to {path}; wait for it")
        other.execute("ROLLBACK")
    assert citynode("fleet", "rekey", "kerb-1", "--yes").code == 0


def test_a_name_cannot_move_the_cursor(path):
    with Fleet(path) as fleet:
        (node,) = fleet.nodes(Filter(("pond",)))
        fleet.stage(node, Stage.FLASH, Result.FAIL, "\x1b[2Jgone\nkerb-9")
    for verb in (["list"], ["show", "pond"], ["audit"]):
        assert "\x1b" not in citynode("fleet", *verb).out
    assert "?[2Jgone?kerb-9" in citynode("fleet", "show", "pond").out
    assert json.loads(citynode("fleet", "show", "pond", "--json").out)

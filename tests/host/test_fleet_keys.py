"""The keys of a fleet and of its nodes: where they are, who reads them, what changes them."""

import keyring
import pytest
from citynode.errors import CitynodeError
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import SERVICE
from citynode.fleet.node import Entry
from citynode.fleet.query import Filter
from citynode.fleet.vault import SealError, Vault
from fleet_nodes import KEYS, listed, make, table
from keyring.backend import KeyringBackend
from workbench import citynode

LOST = "is not there: it is neither in"


@pytest.fixture
def path(state):
    return make(state / "fleet.db")


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

"""The fleet: what it keeps, for whom, and who did it."""

import contextlib
import json
import os
import sqlite3

import pytest
from citynode.errors import CitynodeError
from citynode.fleet import database
from citynode.fleet.inventory import Fleet
from citynode.fleet.node import Measurement, Result, Stage
from citynode.fleet.query import Filter
from citynode.fleet.store import FleetStore
from fleet_nodes import MAC, OTHER, RADIO, listed, make, table
from workbench import citynode


@pytest.fixture
def path(state):
    return make(state / "fleet.db")


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

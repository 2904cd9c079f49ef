"""What comes into a fleet as CSV, with every fault named, and what goes out for others to read."""

import csv
import io
import json

import pytest
from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.fleet import table
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.node import Entry
from citynode.identity import Store
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import citynode

KEY, OTHER_KEY = "5ec2e7" + "a1" * 13, "5ec2e7" + "b2" * 13
HEAD = "node_id,mac,dev_eui,app_key,site,lat,lon,Mast\n"
GOOD = (
    f"kerb-1,24:0A:C4:00:00:04,70B3D57ED0000001,{KEY},Ring,51.5,7.2,A 17\n"
    "pond,,,,,,,\n"
)  # fmt: skip


@pytest.fixture
def path(state):
    path = state / "fleet.db"
    Fleet.init(path, Place.FILE)
    return path


@pytest.fixture
def take(path, tmp_path):
    """Import a text; returns what the command did."""

    def run(text, *options):
        file = tmp_path / "in.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(0o600)
        return citynode("fleet", "import", file, "--json", *options)

    return run


def exported(*options):
    done = citynode("fleet", "export", "-o", "-", *options)
    assert done.code == 0, done
    return list(csv.DictReader(io.StringIO(done.out)))


def test_what_came_in_goes_out(take):
    row = take(HEAD + GOOD, "--batch", "b1").row
    assert row == {
        "file": row["file"], "imported": True, "added": 2, "changed": 0, "same": 0,
        "not_taken": [], "faults": [],
    }  # fmt: skip
    kerb, pond = exported()
    assert list(kerb)[-1] == "Mast"
    assert (kerb["mac"], kerb["dev_eui"], kerb["Mast"], kerb["lat"], kerb["batch"]) == (
        "240ac4000004", "70b3d57ed0000001", "A 17", "51.5", "b1",
    )  # fmt: skip
    assert (pond["node_id"], pond["Mast"], pond["status"]) == ("pond", "", "planned")
    assert "app_key" not in kerb
    assert exported("--with-keys")[0]["app_key"] == KEY


@pytest.mark.parametrize(
    "text",
    [
        "Device ID;MAC-Address;DevEUI;AppKey;Site;Latitude;Longitude;Mast\r\n"
        f"kerb-1;240ac4000004;70-B3-D5-7E-D0-00-00-01;{KEY.upper()};Ring;51,5;7,2;A 17\r\n"
        ";;;;;;;\r\npond;;;;;;;;;\r\n",
        "\ufeff" + (HEAD + GOOD).replace(",", "\t"),
        HEAD.replace("node_id", '"node_id"') + GOOD.replace("A 17", '"A 17"').rstrip("\n"),
    ],
    ids=["Excel in German", "tabs and a BOM", "quotes and no end of line"],
)
def test_spreadsheets_have_their_ways(take, text):
    assert take(text).row["added"] == 2
    kerb, pond = exported("--with-keys")
    keys = ("node_id", "mac", "dev_eui", "app_key", "lat", "lon", "Mast")
    assert [kerb[key] for key in keys] == [
        "kerb-1", "240ac4000004", "70b3d57ed0000001", KEY, "51.5", "7.2", "A 17",
    ]  # fmt: skip
    assert pond["node_id"] == "pond"


@pytest.mark.parametrize(
    ("row", "column", "cause"),
    [
        (f"Kerb,,,{KEY},,,,", "node_id", "is not small letters, digits and -, at most 32"),
        (f"a,24:0A:C4:00:00,,{KEY},,,,", "mac", "is not 12 hex digits"),
        ("a,25:0A:C4:00:00:04,,,,,,", "mac", "is a multicast address"),
        ("a,,7.0E+15,,,,,", "dev_eui", "is not 16 hex digits"),
        (f"a,,,{KEY}00,,,,", "app_key", "is not 32 hex digits"),
        (f"a,,{KEY},,,,,", "dev_eui", "is not 16 hex digits"),
        (f"{KEY} {KEY},,,,,,,", "node_id", "is not small letters, digits and -, at most 32"),
        ("a,,,,,91,7,", "lat", "is not degrees between -90 and 90 (WGS84)"),
        ("a,,,,,51,east,", "lon", "is not degrees between -180 and 180 (WGS84)"),
        ("a,,,,,nan,7,", "lat", "is not degrees between -90 and 90 (WGS84)"),
        ("a,,,,,51.5,,", "lon", "is missing"),
        ("a,,,,\x1b[2J,,,", "site", "has control characters"),
        ("a,,,,,,," + "x" * 201, "Mast", "is longer than 200 characters"),
        (",,,,Ring,,,", "node_id", "is missing"),
        (",,70b3d57ed0000009,,,,,", "node_id", "is missing, and no node has the DevEUI"),
        ("a,,,", "the whole line", "4 columns, the header has 8"),
        ("a,,,,,,,,b", "the whole line", "9 columns, the header has 8"),
        ('a,,,,,,,"open', "the whole line", "unexpected end of data"),
        ("kerb-1,,,,,,,", "node_id", "line 2 has the same"),
        ("a,240AC4000004,,,,,,", "mac", "line 2 has the same"),
        ("a,,70b3d57ed0000001,,,,,", "dev_eui", "line 2 has the same"),
        (f"a,,,{KEY},,,,", "app_key", "line 2 has the same"),
        ("old,,,,,,,", "node_id", "the node old has the same"),
        ("a,240ac4000008,,,,,,", "mac", "the node old has the same"),
        ("a,,70b3d57ed0000008,,,,,", "dev_eui", "the node old has the same"),
        (f"a,,,{OTHER_KEY},,,,", "app_key", "the node old has the same"),
    ],
)
def test_a_wrong_row_is_named_and_takes_all_others_with_it(take, path, row, column, cause):
    with Fleet(path) as fleet:
        old = Entry("old", "240ac4000008", "70b3d57ed0000008", secrets={"app_key": OTHER_KEY})
        fleet.add([old])
    done = take(HEAD + GOOD + row + "\n")
    assert done.code == 1
    assert [row["node_id"] for row in exported()] == ["old"]
    (report,) = done.rows
    assert (report["imported"], report["added"]) == (False, 0)
    (fault,) = report["faults"]
    assert (fault["line"], fault["column"], fault["cause"]) == (4, column, cause)
    told, summary = done.err.splitlines()
    assert told.endswith(f"in.csv: line 4, {column}: {cause}")
    assert summary.endswith("1 row wrong: nothing was imported; correct them, or give --partial")
    assert "5ec2e7" not in (done.out + done.err).lower()
    done = take(HEAD + GOOD + row + "\n", "--partial")
    assert (done.code, done.row["imported"], done.row["added"]) == (1, True, 2)
    assert [row["node_id"] for row in exported()] == ["kerb-1", "old", "pond"]


def test_all_wrong_rows_are_named(take):
    rows = "A,,,,,,,\nb,xx,,,,99,99,\n\n\nc,,,,,,,\nc,,,,,,,\n"
    faults = take(HEAD + rows).row["faults"]
    assert [(each["line"], each["column"]) for each in faults] == [
        (2, "node_id"), (3, "mac"), (3, "lat"), (7, "node_id"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "in.csv is empty; give a CSV with a header line"),
        ("site,Mast\nRing,A\n", "in.csv has no column node_id, mac or dev_eui"),
        ("node_id,DevEUI,dev_eui\na,,\n", "in.csv, line 1: two columns are dev_eui"),
        ("node_id,,site\n", "in.csv, line 1: column 2 has no name"),
        ('node_id,"site\n', "in.csv, line 1: unexpected end of data"),
        ("node_id,AppSKey\n", "in.csv, line 1: the column AppSKey looks like a secret"),
        ("node_id,Claim code\n", "in.csv, line 1: the column Claim code looks like a secret"),
        ("node_id,site\na,Grün\n".encode("latin-1"), "in.csv, line 2: not UTF-8; save it as"),
        ("node_id,site\na,b\n".encode("utf-16"), "in.csv, line 1: not UTF-8; save it as"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(take, text, told):
    done = take(text)
    assert (done.code, done.out) == (2, "")
    assert told in done.complaint


def test_what_has_secrets_is_for_us_alone(take, path, tmp_path):
    (tmp_path / "open.csv").write_text(HEAD + GOOD)
    (tmp_path / "open.csv").chmod(0o644)
    done = citynode("fleet", "import", tmp_path / "open.csv")
    assert (done.code, "others can read" in done.complaint) == (2, True)
    (tmp_path / "open.csv").write_text("node_id\nkerb\n")
    assert citynode("fleet", "import", tmp_path / "open.csv").code == 0
    assert take("node_id,AppSKey\na,5ec2e7\n", "--without", "AppSKey").row["not_taken"] == [
        "AppSKey"
    ]
    for options in ([], [tmp_path / "open.csv", "--from-identities", tmp_path]):
        assert citynode("fleet", "import", *options).complaint.startswith("nothing to import")


def test_an_update_adds_to_what_is_known_and_turns_nothing_over(take):
    take(HEAD + GOOD)
    change = "mac,Site,lat,lon,Owner,app_key\n240ac4000004,Park,,,Tiefbau,\n"
    assert take(change).row["faults"][0]["cause"] == "the node kerb-1 has the same"
    dry = take(change, "--update", "--dry-run").row
    assert (dry["changed"], dry["imported"]) == (1, False)
    assert exported()[0]["site"] == "Ring"
    assert take(change, "--update").row["changed"] == 1
    assert take(change, "--update").row["same"] == 1
    kerb, _ = exported("--with-keys")
    assert [kerb[key] for key in ("site", "lat", "Mast", "Owner", "app_key")] == [
        "Park", "51.5", "A 17", "Tiefbau", KEY,
    ]  # fmt: skip
    assert take("dev_eui,notes\n70b3d57ed0000001,wet\n", "--update").row["changed"] == 1
    assert take("mac\n24:0a:c4:00:00:20\n").row["added"] == 1
    assert exported("node-000020")[0]["mac"] == "240ac4000020"
    assert take(f"node_id,app_key\npond,{OTHER_KEY}\n", "--update").row["changed"] == 1
    for row, cause in (
        (f"kerb-1,,,{KEY[:-2]}00", "has another; 'citynode fleet rekey' makes new ones"),
        ("kerb-1,,70b3d57ed0000009,", "the node kerb-1 has another"),
        ("kerb-1,240ac4000009,,", "the node kerb-1 has another"),
        ("kerb-9,240ac4000004,,", "the node kerb-1 has another"),
        (f"pond,,,{KEY}", "the node kerb-1 has the same"),
    ):
        done = take("node_id,mac,dev_eui,app_key\n" + row + "\n", "--update")
        assert done.code == 1
        assert done.row["faults"][0]["cause"].endswith(cause)


def test_an_old_file_does_not_bring_an_old_key_back(take, path):
    take(HEAD + GOOD)
    old = citynode("fleet", "export", "--with-keys", "-o", "-").out
    citynode("fleet", "rekey", "kerb-1", "--yes")
    with Fleet(path) as fleet:
        identities = fleet.identities()
        done = take(old, "--update")
        cause = "the node kerb-1 has another; 'citynode fleet rekey' makes new ones"
        assert [each["cause"] for each in done.row["faults"]] == [cause]
        done = take(f"node_id,app_key\npond,{KEY}\n", "--update")
        assert done.row["faults"][0]["cause"] == "the node kerb-1 has the same"
        assert fleet.identities() == identities


def test_an_export_comes_in_again(take, tmp_path, path):
    take(HEAD + GOOD + 'x,,,,,,,"two\nlines, and \'""\'"\n')
    whole = citynode("fleet", "export", "--with-keys", "-o", "-").out
    assert take(whole, "--update").row["same"] == 3
    other = tmp_path / "other.db"
    citynode("fleet", "init", "--key", "file", "--fleet", other)
    done = take(whole, "--fleet", other)
    ours = ["status", "flash", "boot", "identity", "self_test", "label", "created", "changed"]
    assert (done.row["added"], done.row["not_taken"]) == (3, ours)
    with Fleet(path) as one, Fleet(other) as two:
        assert one.identities() == two.identities()
        assert [node.entry for node in one.nodes()] == [node.entry for node in two.nodes()]


plain = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=9)


@settings(deadline=None)
@given(st.dictionaries(plain.filter(bool), st.lists(plain, min_size=3, max_size=3), max_size=4))
def test_unknown_columns_come_back_as_they_were(columns):
    """Whatever is in them, and whatever they are called."""
    known = {"node_id", "mac", *table.GIVEN, *table.OURS, *table.SECRET}
    columns = {
        name: cells
        for name, cells in columns.items()
        if table._own_name(name) == name and name not in known
        and not table._LIKE_A_SECRET.search(name)
    }  # fmt: skip
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(["node_id", *columns])
    rows.writerows(zip("abc", *columns.values(), strict=True))
    sheet = table.read(file.getvalue().encode(), "it")
    assert not sheet.faults
    for number, (_, entry) in enumerate(sheet.rows):
        assert entry.extra == {k: cells[number] for k, cells in columns.items() if cells[number]}


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='node_id,mac\n"\r;\t\0', max_size=60))
def test_any_bytes_are_a_sheet_or_a_typed_error(data):
    data = data.encode() if isinstance(data, str) else data
    told = []
    try:
        sheet = table.read(data, "it")
        told += [fault.line > 0 and bool(fault.cause) for fault in sheet.faults]
        told += [bool(set(vars(entry)) - {"extra", "secrets"}) for _, entry in sheet.rows]
    except CitynodeError as error:
        told.append(error.what.startswith("it"))
    assert all(told)


def test_identities_of_before_are_taken_over(path, state):
    store = Store()
    boards = ("heltec-lora32-v3", "xiao-esp32c3")
    made = [
        store.issue(
            f"24587cc0ff{number:02x}", load_board(board), "street", {"wifi_psk": "city-psk"}
        )
        for number, board in enumerate(boards)
    ]
    options = ("fleet", "import", "--from-identities", state / "nodes", "--json")
    assert citynode(*options, "--batch", "b0").row["added"] == 2
    with Fleet(path) as fleet:
        assert list(fleet.identities().values()) == made
    again = citynode(*options)
    assert (again.code, again.row["same"]) == (0, 2)
    (file,) = (each for each in (state / "nodes").glob("*00.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"app_key": OTHER_KEY}))
    done = citynode(*options)
    assert (done.code, done.row["faults"][0]["file"]) == (1, "24587cc0ff00.json")
    assert "24587cc0ff00.json, app_key: the node street-c0ff00 has another" in done.err
    done = citynode("fleet", "import", "--from-identities", state / "none")
    assert done.complaint.endswith("none is no folder; give --from-identities the folder 'nodes'")


def test_files_for_maps(take, tmp_path):
    take(HEAD + GOOD + "sea,,,,,-0.5,-179.9,\n")
    done = citynode("fleet", "export", "-f", "geojson", "-o", tmp_path / "map", "--json")
    assert done.row == {
        "file": str(tmp_path / "map"), "format": "geojson", "nodes": 2, "left_out": ["pond"],
    }  # fmt: skip
    found = json.loads((tmp_path / "map").read_text())
    assert found["type"] == "FeatureCollection"
    kerb, sea = found["features"]
    assert kerb["geometry"] == {"type": "Point", "coordinates": [7.2, 51.5]}
    assert (kerb["id"], kerb["properties"]["site"]) == ("kerb-1", "Ring")
    assert sea["geometry"]["coordinates"] == [-179.9, -0.5]
    rows = exported("-f", "gis-csv")
    assert [(row["node_id"], row["lon"], row["lat"]) for row in rows] == [
        ("kerb-1", "7.2", "51.5"), ("sea", "-179.9", "-0.5"),
    ]  # fmt: skip
    done = citynode("fleet", "export", "-f", "gis-csv", "-o", tmp_path / "map", "kerb-1", "pond")
    assert (done.code, done.err) == (1, "citynode: left out: pond has no place\n")


def test_files_for_network_servers(take, tmp_path):
    take(HEAD + GOOD)
    done = citynode("fleet", "export", "-f", "tts-csv", "-o", "-")
    (row,) = csv.DictReader(io.StringIO(done.out), delimiter=";")
    assert (row["id"], row["dev_eui"], row["app_key"]) == (
        "kerb-1", "70B3D57ED0000001", KEY.upper(),
    )  # fmt: skip
    uuids = ["--application-id", "17c82e96-be03-4f38-aef3-f83d48582d97"]
    uuids += ["--device-profile-id", "14855bf7-d10d-4aee-b618-ebfcb64dc7ad"]
    done = citynode("fleet", "export", "-f", "chirpstack", "-o", "-", *uuids)
    assert json.loads(done.out)["deviceKeys"] == {"devEui": "70b3d57ed0000001", "nwkKey": KEY}
    for options, told in (
        (["-f", "chirpstack"], "ChirpStack wants to know the application"),
        (["-f", "tts-csv", "pond"], "none of the nodes has a LoRaWAN identity"),
        (["kreb"], "no node is 'kreb'"),
        (["--batch", "b9"], "no node is meant by that"),
        (["--delimiter", ";;"], "--delimiter is one character"),
        (["-o", tmp_path / "no" / "where"], f"cannot write {tmp_path / 'no' / 'where'}"),
        (["-o", tmp_path], f"{tmp_path} is no file"),
    ):
        done = citynode("fleet", "export", *options)
        assert (done.code, done.out) == (2, "")
        assert done.complaint.startswith(told)

"""Network servers: the files that nodes are imported with, and the events that come back."""

import base64
import csv
import json
import stat

import pytest
from citynode.boards import load_board
from citynode.fleet.export import Device
from citynode.identity import Identity, Store
from citynode.wire import frame
from citynode.wire.schema import CLIMATE
from workbench import citynode

APPLICATION = "17c82e96-be03-4f38-aef3-f83d48582d97"
PROFILE = "14855bf7-d10d-4aee-b618-ebfcb64dc7ad"
CHIRPSTACK = ("--application-id", APPLICATION, "--device-profile-id", PROFILE)
JOIN_EUI = bytes.fromhex("70b3d57ed0000001")


@pytest.fixture
def nodes(state):
    """Two nodes with a radio, the second with a JoinEUI of its own, and one without, between."""
    store = Store()
    boards = ("heltec-lora32-v3", "xiao-esp32c3", "lilygo-t3-s3")
    given = ({"node_id": "kerb"}, {}, {"node_id": "bridge", "join_eui": JOIN_EUI})
    return [
        store.issue(f"24587cc0ff{number:02x}", load_board(board), "street", extra)
        for number, (board, extra) in enumerate(zip(boards, given, strict=True))
    ]


def test_a_board_with_a_radio_gets_a_join_eui(nodes):
    assert [node.join_eui for node in nodes] == [bytes(8), None, JOIN_EUI]
    assert [node.node_id for node in Store().all().values()] == ["bridge", "kerb", "street-c0ff01"]


def test_tts_csv(nodes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = citynode("export", "-f", "tts-csv")
    assert done.code == 0
    path = tmp_path / "citynode-tts.csv"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    kerb, _, bridge = nodes
    assert rows == [
        {
            "id": node.node_id,
            "dev_eui": node.dev_eui.hex().upper(),
            "join_eui": node.join_eui.hex().upper(),
            "name": node.node_id,
            "frequency_plan_id": "EU_863_870_TTN",
            "lorawan_version": "MAC_V1_0_4",
            "lorawan_phy_version": "RP002_V1_0_3",
            "app_key": node.app_key.hex().upper(),
        }
        for node in (bridge, kerb)
    ]


def test_tts_json(nodes, tmp_path):
    path = tmp_path / "devices.json"
    options = ("--frequency-plan", "US_902_928_FSB_2", "-o", path)
    assert citynode("export", "-f", "tts-json", *options, "kerb").code == 0
    kerb = nodes[0]
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {
            "ids": {
                "device_id": "kerb",
                "dev_eui": kerb.dev_eui.hex().upper(),
                "join_eui": "0000000000000000",
            },
            "name": "kerb",
            "lorawan_version": "MAC_V1_0_4",
            "lorawan_phy_version": "RP002_V1_0_3",
            "frequency_plan_id": "US_902_928_FSB_2",
            "supports_join": True,
            "root_keys": {"app_key": {"key": kerb.app_key.hex().upper()}},
        }
    ]


def test_chirpstack(nodes, tmp_path):
    """CreateDeviceRequest and CreateDeviceKeysRequest of api/proto/api/device.proto."""
    path = tmp_path / "devices.json"
    done = citynode("export", "-f", "chirpstack", *CHIRPSTACK, "-o", path, "br*")
    assert done.code == 0
    bridge = nodes[2]
    dev_eui = bridge.dev_eui.hex()
    assert json.loads(path.read_text()) == {
        "device": {
            "devEui": dev_eui,
            "joinEui": "70b3d57ed0000001",
            "name": "bridge",
            "applicationId": APPLICATION,
            "deviceProfileId": PROFILE,
        },
        "deviceKeys": {"devEui": dev_eui, "nwkKey": bridge.app_key.hex()},
    }


@pytest.mark.parametrize(
    ("node_id", "device_id"),
    [
        ("kerb-7", "kerb-7"),
        ("abc", "abc"),
        ("ab", "eui-24587cfffec0ff00"),
        ("a--b", "eui-24587cfffec0ff00"),
        ("kerb-", "eui-24587cfffec0ff00"),
        ("a" * 32, "a" * 32),
    ],
)
def test_what_the_things_stack_takes_for_an_id(node_id, device_id):
    dev_eui = bytes.fromhex("24587cfffec0ff00")
    assert Device(node_id, dev_eui, bytes(8), bytes(16)).tts_id == device_id


@pytest.mark.parametrize(
    ("options", "exported", "left_out", "code"),
    [
        ([], ["bridge", "kerb"], ["street-c0ff01"], 0),
        (["kerb"], ["kerb"], [], 0),
        (["24:58:7C:C0:FF:02", "kerb"], ["bridge", "kerb"], [], 0),
        (["24587cfffec0ff00"], ["kerb"], [], 0),
        (["*"], ["bridge", "kerb"], ["street-c0ff01"], 0),
        (["kerb", "street-c0ff01"], ["kerb"], ["street-c0ff01"], 1),  # asked for by its name
        (["k*", "24587cc0ff01"], ["kerb"], ["street-c0ff01"], 1),
    ],
)
def test_what_is_exported_and_what_is_left_out(nodes, tmp_path, options, exported, left_out, code):
    path = tmp_path / "devices.csv"
    done = citynode("export", "-f", "tts-csv", "-o", path, "--json", *options)
    assert done.code == code
    assert [row["node_id"] for row in done.rows if row["exported"]] == exported
    assert all(row["file"] == str(path) for row in done.rows if row["exported"])
    assert [row["node_id"] for row in done.rows if "radio" in row.get("reason", "")] == left_out
    assert [line.split(";")[0] for line in path.read_text().splitlines()[1:]] == exported
    told = citynode("export", "-f", "tts-csv", "-o", path, *options)
    assert told.code == code
    assert all(name in told.out for name in exported)
    assert [line.split(": ")[2].split()[0] for line in told.err.splitlines()] == left_out


@pytest.mark.parametrize("form", ["tts-csv", "tts-json", "chirpstack"])
@pytest.mark.parametrize("report", [[], ["--json"]])
def test_keys_are_in_the_file_alone(nodes, tmp_path, form, report):
    options = ("export", "-f", form, *(CHIRPSTACK if form == "chirpstack" else ()), *report)
    path = tmp_path / "devices"
    path.write_text("of before")
    path.chmod(0o644)
    done = citynode(*options, "-o", path)
    printed = citynode(*options, "-o", "-")
    assert (done.code, printed.code) == (0, 0)
    assert printed.out == path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["devices"]
    for node in nodes:
        if node.app_key is not None:
            assert node.app_key.hex() in printed.out.lower()
            assert node.app_key.hex() not in (done.out + done.err + printed.err).lower()
    assert "kerb" in printed.err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["kreb"], "no node is 'kreb'; did you mean kerb? 3 are known"),
        (["kerb", "x*"], "no node is 'x*'; 3 are known"),
        (["street-c0ff01"], "none of the nodes has a LoRaWAN identity; provision boards that"),
        (["--frequency-plan", "eu868"], "no frequency plan is named 'eu868'; give"),
        (["-f", "chirpstack"], "ChirpStack wants to know the application of a device; give"),
        (["-f", "chirpstack", *CHIRPSTACK[:2]], "the device profile of a device; give --device-"),
        (["-f", "chirpstack", *CHIRPSTACK[:3], "7"], "--device-profile-id is no UUID; copy it"),
        (["-o", "/dev/null"], "/dev/null is no file; give -o another name"),
        (["-o", "/no/where/it.csv"], "cannot write /no/where/it.csv: No such file"),
    ],
)
def test_what_cannot_be_exported_is_one_line(nodes, tmp_path, monkeypatch, options, told):
    monkeypatch.chdir(tmp_path)
    done = citynode("export", "-f", "tts-csv", *options)
    assert (done.code, done.out) == (2, "")
    assert told in done.complaint
    assert not [entry for entry in tmp_path.iterdir() if entry.is_file()]


def test_without_any_node_it_is_said_how_to_make_one(state):
    done = citynode("export", "-f", "tts-csv")
    assert done.code == 2
    assert done.complaint.startswith("no node has an identity yet; give one with 'citynode flash'")


def test_a_half_written_file_is_not_left(nodes, tmp_path, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "devices.csv"
    path.write_text("of before")
    monkeypatch.setattr("citynode.state.os.fsync", fail)
    done = citynode("export", "-f", "tts-csv", "-o", path)
    assert done.code == 2
    assert done.complaint.endswith("No space left on device; give -o a file that can be written")
    assert path.read_text() == "of before"
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["devices.csv"]


def test_no_key_shows_in_a_repr():
    identity = Identity("kerb", bytes(8), bytes(8), b"\xc0\xff\xee" * 5 + b"\0")
    device = Device("kerb", bytes(8), bytes(8), b"\xc0\xff\xee" * 5 + b"\0")
    assert "c0" not in repr(identity) + repr(device)


FRAME = frame.encode(CLIMATE, 12345, 1750000000, 1, [21.37, 48.2])
PAYLOAD = base64.b64encode(FRAME).decode()

# After "Data Formats" of The Things Stack's documentation.
TTS = {
    "end_device_ids": {
        "device_id": "kerb",
        "application_ids": {"application_id": "app1"},
        "dev_eui": "0004A30B001C0530",
        "join_eui": "800000000000000C",
        "dev_addr": "00BCB929",
    },
    "correlation_ids": ["as:up:01E0WZGT6Y7657CPFPE5WEYDSQ"],
    "received_at": "2020-02-12T15:15:46.000000000Z",
    "uplink_message": {
        "session_key_id": "AXBSH1Pk6Z0G166RlH16CQ==",
        "f_port": 15,
        "f_cnt": 2,
        "frm_payload": PAYLOAD,
        "decoded_payload": {"temperature": 1},
        "rx_metadata": [{"rssi": -35}],
    },
}
TTS_SOURCE = {
    "device": "kerb", "dev_eui": "0004a30b001c0530", "f_port": 15, "f_cnt": 2,
    "received_at": "2020-02-12T15:15:46.000000000Z",
}  # fmt: skip
TTS_JOIN = {**TTS, "join_accept": {"session_key_id": "AXBSH1Pk6Z0G166RlH16CQ=="}}
del TTS_JOIN["uplink_message"]

# After "Event types" of ChirpStack's documentation; fCnt 0 is left out there.
CHIRP = {
    "deduplicationId": "3ac7e3c4-4401-4b8d-9386-a5c902f9202d",
    "time": "2022-07-18T09:34:15.775023242+00:00",
    "deviceInfo": {
        "applicationId": APPLICATION,
        "deviceName": "Kerb",
        "devEui": "0101010101010101",
    },
    "devAddr": "00189440",
    "dr": 1,
    "fPort": 1,
    "data": PAYLOAD,
    "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -36, "snr": 10.5}],
}
CHIRP_SOURCE = {
    "device": "Kerb", "dev_eui": "0101010101010101", "f_port": 1, "f_cnt": 0,
    "received_at": "2022-07-18T09:34:15.775023242+00:00",
}  # fmt: skip
CHIRP_STATUS = {"deduplicationId": "bf2a", "deviceInfo": {"deviceName": "Kerb"}, "margin": 10}


@pytest.mark.parametrize("way", ["argument", "file"])
@pytest.mark.parametrize(
    ("text", "sources"),
    [
        (json.dumps(TTS), [TTS_SOURCE]),
        (json.dumps(CHIRP, indent=2), [CHIRP_SOURCE]),
        (json.dumps([TTS, CHIRP]), [TTS_SOURCE, CHIRP_SOURCE]),
        (json.dumps({"result": TTS}) + "\n\n" + json.dumps({"data": TTS}), [TTS_SOURCE] * 2),
        ("\n".join(map(json.dumps, (TTS_JOIN, TTS, CHIRP_STATUS))) + "\n", [TTS_SOURCE]),
        ("\ufeff" + json.dumps({**TTS, "uplink_message": {**TTS["uplink_message"], "f_cnt": 0}}),
         [{**TTS_SOURCE, "f_cnt": 0}]),
    ],
)  # fmt: skip
def test_events_of_network_servers(state, tmp_path, text, sources, way):
    if way == "file":
        (tmp_path / "events").write_text(text)
    elif text.startswith("\ufeff"):
        text = text[1:]
    given = text if way == "argument" else tmp_path / "events"
    done = citynode("decode", "--json", given)
    assert (done.code, done.err) == (0, "")
    assert [row.pop("uplink") for row in done.rows] == sources
    (alone,) = citynode("decode", "--json", FRAME.hex()).rows
    assert all({**row, "uplink": None} == {**alone, "uplink": None} for row in done.rows)
    shown = citynode("decode", given)
    assert shown.code == 0
    assert sources[0]["device"] in shown.out
    assert "21.37 °C" in shown.out


def test_one_bad_event_hides_no_good_one(state, tmp_path):
    bad = {**CHIRP, "data": "gg=="}
    path = tmp_path / "events"
    path.write_text("\n".join((json.dumps(TTS), "{broken", json.dumps(bad), json.dumps(CHIRP))))
    done = citynode("decode", "--json", path)
    assert done.code == 1
    assert [row["uplink"]["device"] for row in done.rows] == ["kerb", "Kerb"]
    broken, no_frame = done.err.splitlines()
    assert broken == f"citynode: {path}:2: not JSON: {{broken"
    assert no_frame == f"citynode: {path}:3: not the CBOR of a frame: truncated"


@pytest.mark.parametrize(
    ("event", "code", "told"),
    [
        ("{", 1, "input 1: not JSON: {"),
        ("[" * 100000, 1, "input 1: not JSON: [[["),
        ("[1, 2]", 1, "no event of a network server"),
        ({}, 1, "input 1: no event of The Things Stack v3 or ChirpStack v4"),
        ({**TTS, "uplink_message": 1}, 1, "uplink_message is no object"),
        ({**TTS, "uplink_message": {"frm_payload": "?"}}, 1, "frm_payload is not base64"),
        ({**TTS, "uplink_message": {"frm_payload": 1}}, 1, "frm_payload is not base64"),
        ({**TTS, "uplink_message": {"frm_payload": PAYLOAD, "f_port": "1"}}, 1, "f_port is no"),
        ({**CHIRP, "deviceInfo": None}, 1, "deviceInfo is no object"),
        ({**CHIRP, "fCnt": True}, 1, "fCnt is no whole number"),
        ({**CHIRP, "time": 1}, 1, "time is no text"),
        ({**CHIRP, "data": "gSA="}, 1, "input 1: unknown record type: 0"),
        (TTS_JOIN, 2, "no frame in the input"),
        (CHIRP_STATUS, 2, "no frame in the input"),
        ({**TTS, "uplink_message": {"f_cnt": 3}}, 2, "no frame in the input"),
    ],
)
def test_what_is_no_event_is_told(state, event, code, told):
    given = event if isinstance(event, str) else json.dumps(event)
    done = citynode("decode", given)
    assert (done.code, done.out) == (code, "")
    assert told in done.err
    assert done.err.startswith("citynode: ")


def test_a_name_cannot_move_the_cursor(state):
    event = {**CHIRP, "deviceInfo": {"deviceName": "\x1b[2J[red]x" + "y" * 60}}
    done = citynode("decode", json.dumps(event))
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "?[2J[red]xyyy" in done.out
    assert "21.37 °C" in done.out

"""`citynode decode`: frames in whatever form they are at hand become a table or JSON."""

import base64
import io
import json
import sys

import pytest
from citynode.frames import FIELDS
from citynode.wire import frame
from citynode.wire.cbor import UNDEFINED
from citynode.wire.schema import CLIMATE, EVENT, HEALTH
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_batches import pack, run_of
from workbench import citynode

VALUES = {"temperature_c": -3.07, "humidity_pct": UNDEFINED, "pressure_pa": 101325}
ONE = frame.encode(CLIMATE, 7, 1_800_000_000, 1 | 4, VALUES)
TWO = frame.encode(EVENT, 8, frame.t_of_age(90), 0, {"code": "restart", "detail": 1})
LONG = frame.encode(HEALTH, 0xFFFFFFFF, 1_800_000_000, 0xFFFF, {"broker_reconnects": 0xFFFFFFFF})
BATCH = pack(run_of(CLIMATE, 10, 1_800_000_000, 1, 300, [[820, 500], [815, UNDEFINED], [810]]))[0]
HEX, BASE64 = ONE.hex(), base64.b64encode(ONE).decode()
LOG = f"""ets Jul 29 2019\x1b[2J
I 1.000 wifi: connected rssi -57
ttyUSB0 2027-01-15 08:00:00.000 I 1.002 frame: {HEX}
I 1.003 frame: {TWO.hex()}
\ufffd\ufffdI 1.0"""


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


@pytest.mark.parametrize(
    ("given", "seqs"),
    [
        ([HEX], [7]),
        ([HEX.upper(), TWO.hex()], [7, 8]),
        (["0x" + " ".join(f"{byte:02x}" for byte in ONE)], [7]),
        ([ONE.hex(":")], [7]),
        ([BASE64], [7]),
        ([BASE64.rstrip("=")], [7]),
        ([base64.urlsafe_b64encode(ONE).decode()], [7]),
        (["-f", "base64", BASE64], [7]),
        ([f"I 1.000 frame: {HEX}"], [7]),
        ([BATCH.hex(), HEX], [10, 11, 12, 7]),
        ([base64.b64encode(BATCH).decode()], [10, 11, 12]),
    ],
)
def test_frames_as_arguments(given, seqs):
    done = citynode("decode", "--json", *given)
    assert (done.code, done.err, [row["seq"] for row in done.rows]) == (0, "", seqs)


@pytest.mark.parametrize(
    ("data", "options", "seqs"),
    [
        (ONE, [], [7]),
        (ONE, ["-f", "binary"], [7]),
        (BATCH, [], [10, 11, 12]),
        (f"# two frames\n{HEX}\n\n  {TWO.hex()}\r\n".encode(), [], [7, 8]),
        (BASE64.encode(), [], [7]),
        (LOG.encode(), [], [7, 8]),
        (b"\x87\xff" + LOG.encode(), [], [7, 8]),  # a log that starts in the middle of noise
        (LOG.encode(), ["-f", "log"], [7, 8]),
    ],
)
@pytest.mark.parametrize("way", ["file", "dash", "stdin"])
def test_frames_in_files(tmp_path, stdin, data, options, seqs, way):
    (tmp_path / "frames").write_bytes(data)
    stdin(data)
    source = {"file": [tmp_path / "frames"], "dash": ["-"], "stdin": []}[way]
    done = citynode("decode", "--json", *options, *source)
    assert (done.code, done.err, [row["seq"] for row in done.rows]) == (0, "", seqs)


def test_a_record_in_json_and_in_a_table(monkeypatch):
    first, second = citynode("decode", "--json", HEX, TWO.hex()).rows
    assert first == {
        "record": "climate", "seq": 7, "t": 1_800_000_000, "time": "2027-01-15T08:00:00Z",
        "age_s": None, "status": ["clock_synced", "sensor_fault"],
        "values": {field.name: None for field in FIELDS[CLIMATE]}
        | {"temperature_c": -3.07, "pressure_pa": 101325},
        "faults": ["humidity_pct"],
    }  # fmt: skip
    assert (second["t"], second["age_s"]) == (None, 90)
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        table = citynode("decode", HEX, TWO.hex(), LONG.hex())
        assert table.code == 0
        for told in (
            "2027-01-15T08:00:00Z", "sensor_fault", "90 s before sending", "temperature -3.07 °C",
            "pressure 101325 Pa", "humidity fault", "code restart", "broker reconnects 4294967295",
        ):  # fmt: skip
            assert told in table.out
        batch = citynode("decode", BATCH.hex())
        for told in (
            "2027-01-15T08:00:00Z", "2027-01-15T08:05:00Z", "2027-01-15T08:10:00Z",
            "temperature 8.20 °C", "humidity 50.0 %", "humidity fault", "temperature 8.10 °C",
        ):  # fmt: skip
            assert told in batch.out


@pytest.mark.parametrize(
    ("given", "code", "told"),
    [
        (["z!"], 1, "input 1: not hex, base64 or a file: z!"),
        (["-f", "hex", BASE64], 1, "input 1: not hex: "),
        (["-f", "base64", "!"], 1, "input 1: not base64: !"),
        ([HEX[:-2]], 1, "input 1: not the CBOR of a frame"),
        (["84170000 00"], 1, "input 1: unknown record type: 23"),
        (["\x1b[2Jx"], 1, "\\x1b[2Jx"),
        (["!" * 500], 1, "!!!..."),
        ([""], 2, "no frame in the input; see 'citynode decode --help'"),
        (["-f", "binary", "/none"], 2, "no such file: /none"),
        (["-f", "log", HEX], 2, "no frame in the input"),
    ],
)
def test_what_is_no_frame_is_one_line(given, code, told):
    done = citynode("decode", *given)
    assert (done.code, done.out) == (code, "")
    assert told in done.complaint
    assert done.complaint.isprintable()


def test_one_bad_frame_hides_no_good_one():
    done = citynode("decode", "--json", HEX, HEX[:-2], TWO.hex())
    assert (done.code, [row["seq"] for row in done.rows]) == (1, [7, 8])
    assert done.complaint.startswith("input 2: ")


@settings(max_examples=40, deadline=None)
@given(data=st.one_of(st.binary(), st.text().map(str.encode), st.just(LOG.encode() * 2)))
def test_any_file_is_decoded_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "file"
    path.write_bytes(data)
    done = citynode("decode", "--json", path)
    assert done.code in (0, 1, 2)
    assert (done.code == 0) == (not done.err)
    assert all(json.loads(line) for line in done.out.splitlines())
    assert done.err.replace("\n", "").isprintable()

"""The codecs for others: current, equal to our decoder, and what network servers can run."""

import json
import random

import cbor2
import outside_tools
import pytest
import wire_batches
from cddl_verifier import Validator
from citynode import codecs
from citynode.codecs import javascript
from citynode.frames import FIELDS, decode
from citynode.wire import frame
from citynode.wire.frame import FrameError
from citynode.wire.schema import RECORDS
from wire_batches import pack, run_of
from wire_micropython import run as run_micropython
from wire_tools import Chance

FUZZED = 2000
# Bytes that matter more often than chance would have them.
TELLING = bytes.fromhex(
    "00 17 18 19 1a 1b 1f 20 38 39 3b 40 41 58 5f 60 61 63 78 7f 80 81 82 84 85 8b 98 9b 9f a0 a1"
    "bf c0 c2 d8 e0 ed f4 f5 f6 f7 f8 f9 fa fb ff"
)
NOON = 1750000000
HEAD = "05 01 02 03"  # an event's

NAMED = {
    "": "not the CBOR of a frame: truncated",
    "00": "not a record's array",
    "80": "not a record's array",
    "a0": "not a record's array",
    "81 01": "not a record's array",
    "83 01 02 03": "not a record's array",
    "84 f5 01 02 03": "not a record's array",
    "84 61 61 01 02 03": "not a record's array",
    "81 20": "unknown record type: 0",
    "81 25": "not a record's array",
    "86 25 01 02 03 04 01": "not a record's array",
    "87 20 01 02 03 04 05 41 00": "unknown record type: 0",
    "87 25 20 02 03 04 01 41 04": "sequence number is not 0 … 2^32-1",
    "87 25 1a ff ff ff ff 02 03 04 02 41 04": "sequence number is not 0 … 2^32-1",
    "87 25 01 1a ff ff ff ff 03 01 02 41 04": "time is not -2^32 … 2^32-1",
    "87 25 01 23 03 04 02 41 04": "time is not -2^32 … 2^32-1",
    "87 25 01 02 03 20 02 41 04": "interval is not 0 … 2^32-1",
    "87 25 01 02 03 f6 02 41 04": "interval is not 0 … 2^32-1",
    "87 25 01 02 03 04 00 41 04": "number of records is not 1 … 64",
    "87 25 01 02 03 04 18 41 41 04": "number of records is not 1 … 64",
    "87 25 01 02 03 04 f5 41 04": "number of records is not 1 … 64",
    "87 25 01 02 03 04 02 f6": "no columns of a batch",
    "87 25 01 02 03 04 02 05": "no columns of a batch",
    "87 25 01 02 03 04 02 61 61": "no columns of a batch",
    "87 25 01 02 03 04 02 40": "no columns of a batch: truncated",
    "87 25 01 02 03 04 02 41 0c": "no columns of a batch: truncated",
    "87 25 01 02 03 04 02 42 04 00": "no columns of a batch: bits after the end",
    "87 25 01 02 03 04 02 41 05": "no columns of a batch: bits after the end",
    "87 25 01 02 03 04 02 43 0d ff 9c": "no possible value: code",
    "88 25 01 02 03 04 02 41 04 f9 3c 00": "no possible value: later field",
    "84 00 01 02 03": "unknown record type: 0",
    "84 17 01 02 03": "unknown record type: 23",
    "84 1b ff ff ff ff ff ff ff ff 01 02 03": "unknown record type",
    "84 01 20 02 03": "sequence number is not 0 … 2^32-1",
    "84 01 1b 00 00 00 01 00 00 00 00 02 03": "sequence number is not 0 … 2^32-1",
    "84 01 01 f6 03": "time is not -2^32 … 2^32-1",
    "84 01 01 3b 00 00 00 01 00 00 00 00 03": "time is not -2^32 … 2^32-1",
    "84 01 01 02 20": "status is not 0 … 65535",
    "84 01 01 02 1a 00 01 00 00": "status is not 0 … 65535",
    "85 01 01 02 03 f5": "no possible value: temperature_c",
    "85 01 01 02 03 61 61": "no possible value: temperature_c",
    "85 01 01 02 03 f9 3c 00": "no possible value: temperature_c",
    "85 01 01 02 03 19 7f ff": "no possible value: temperature_c",
    f"87 {HEAD} 00 00 f9 3c 00": "no possible value: later field",
    "85 01 01 02 03 81 00": "not the CBOR of a frame",
    "85 01 01 02 03 c1 00": "not the CBOR of a frame",
    "85 01 01 02 03 18 05": "not the CBOR of a frame: not deterministic",
    "84 01 01 02": "not the CBOR of a frame: truncated",
    "84 01 01 02 03 00": "not the CBOR of a frame",
    "98 04 01 01 02 03": "not the CBOR of a frame",
    "98 41": "not the CBOR of a frame",
}

LATER = (
    "00", "20", "18 18", "1b 00 00 00 01 00 00 00 00", "3b ff ff ff ff ff ff ff ff", "f4", "f5",
    "f6", "f7", "40", "42 ff fe", "60", "61 61", "62 c3 a9", "63 e2 82 ac", "64 f0 9f 98 80",
    "1a 00 00 ff ff", "1b 00 00 00 00 ff ff ff ff", "62 c0 80", "63 e0 80 80", "63 ed a0 80",
    "64 f0 80 80 80", "64 f4 90 80 80", "61 80", "61 c3", "62 c3 28", "61 ff", "65 61", "f8 20",
    "e0", "f3", "f8 ff", "f9 7e 00", "fa 00 00 00 00", "80", "a0", "c0 00", "5f ff", "ff", "1c",
    "3f", "1c" + 16 * " 00", "3d" + 32 * " 00",
    "61 c3 a9", "64 f5 80 80 80", "63 ed 9f bf", "64 f4 8f bf bf", "63 ee 80 80",
)  # fmt: skip


def good_frames():
    """Return frames of every record type: full, empty, at the ends, with faults, by age."""
    for kind, fields in FIELDS.items():
        low = [field.low * field.den / field.num for field in fields]
        high = [field.high * field.den // field.num for field in fields]
        middle = [(field.low + field.high) // 2 * field.den / field.num for field in fields]
        holes = [None, frame.UNDEFINED, 1] * 7
        for values in (
            low,
            high,
            middle,
            holes[: len(fields)],
            [frame.UNDEFINED] * len(fields),
            [],
        ):
            for t in (0, NOON, 0xFFFFFFFF, -1, -301, -1 - 0xFFFFFFFF):
                for seq, status in ((0, 0), (12345, 1), (0xFFFFFFFF, 0xFFFF)):
                    yield frame.encode(kind, seq, t, status, values)
        for rows in batch_rows(fields):
            for t in (0, NOON, -64 * 300):
                yield pack(run_of(kind, 12345, t, 1, 300, rows), 4000)[0]
            statuses = [number % 3 for number in range(len(rows))]
            yield pack(run_of(kind, 1, NOON, statuses, 300, rows), 4000)[0]
        for field in fields:
            codes = range(12) if field.form else (field.low, field.low + 1, field.high - 1)
            for steps in codes:
                before = [None] * fields.index(field)
                yield cbor2.dumps([kind, 1, 2, 3, *before, steps - field.zero], canonical=True)


def batch_rows(fields):
    """Return what the records of batches have on the air: full, at the ends, with holes."""
    lows = [field.low - field.zero for field in fields]
    highs = [field.high - field.zero for field in fields]
    near = [max(low, min(high, 0)) for low, high in zip(lows, highs, strict=True)]
    holes = [[None, frame.UNDEFINED, value][number % 3] for number, value in enumerate(near)]
    coarse = [
        value + 10 if value + 10 <= high else value for value, high in zip(near, highs, strict=True)
    ]
    yield [lows]
    yield [near, near, coarse, near, near]
    yield [highs, lows, near]
    yield [holes, near, holes[1:] + near[:1], [frame.UNDEFINED] * len(fields)]
    yield [[None] * len(fields)] * 3
    yield [near] * 64


def other_frames():
    """Return named errors, later fields good and bad, and damaged frames."""
    yield from (bytes.fromhex(text) for text in NAMED)
    for text in LATER:
        yield bytes.fromhex(f"87 {HEAD} 00 00" + text)
        yield bytes.fromhex(f"85 {HEAD}" + text)
    for many in (20, 63, 64, 65):
        yield cbor2.dumps([5, 1, 2, 3, *([7] * (many - 4))], canonical=True)
    chance = random.Random(868)
    good = list(good_frames())
    batches = [data for data in good if 0x20 <= data[1] < 0x38]
    for number in range(FUZZED):
        data = bytearray(chance.choice(batches if number % 3 else good))
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            at = chance.randrange(len(data) or 1)
            byte = chance.choice(TELLING) if chance.random() < 0.5 else chance.randrange(256)
            what = chance.choice((0, 0, 0, 1, 2, 3))
            data[at : at + (what != 1) * (1 + (what == 2))] = bytes([byte] * (what < 2))
        yield bytes(chance.choices(TELLING, k=number % 40)) if number % 10 == 0 else bytes(data)


def expected(data):
    """Return the data that our own decoder gives, or None for its error."""
    try:
        records = decode(data)
    except FrameError:
        return None
    return data_of(records)


def data_of(records):
    """Return the data of a codec for these records: the last one, and all."""
    flat = [record.to_json() for record in records]
    flat = [{**told.pop("values"), **told} for told in flat]
    return {**flat[-1], "records": flat}


@pytest.fixture(scope="module")
def frames():
    return [*good_frames(), *other_frames()]


@pytest.fixture(scope="module")
def run_codec():
    """Return a call that gives the outputs of both engines for a list of inputs (JavaScript)."""

    def run(inputs, source=None, *engine):
        source = source or codecs.folder() / codecs.UPLINK
        return json.loads(outside_tools.run("codec.js", source, *engine, stdin=json.dumps(inputs)))

    return run


def test_the_files_are_current():
    """Else: `python -m citynode.codecs`."""
    for name, text in codecs.render().items():
        assert (codecs.folder() / name).read_text(encoding="utf-8") == text, name
    page, text = codecs.reference_page()
    assert page.read_text(encoding="utf-8") == text


def test_a_schema_that_does_not_fit_is_refused(monkeypatch):
    rows = RECORDS[1][1]
    for name, change in (
        ("seq", lambda row: ("seq", *row[1:])),
        ("scaled both ways", lambda row: (*row[:2], 10, 60, *row[4:])),
        ("bytes", lambda row: ("a" * 3000, *row[1:])),
    ):
        changed = {1: ("climate", tuple(map(change, rows)))}
        fields = {1: tuple(type(FIELDS[1][0])(*row) for row in changed[1][1])}
        monkeypatch.setattr(javascript, "RECORDS", changed)
        monkeypatch.setattr(javascript, "FIELDS", fields)
        with pytest.raises(ValueError, match=name):
            javascript.render()


def test_the_codec_says_what_our_decoder_says(frames, run_codec):
    """In Node with nothing but ECMAScript 5, and in QuickJS as ChirpStack does it."""
    told = run_codec(inputs_of(frames))
    assert told["syntax"] is None
    errors = 0
    for data, in_node, in_quickjs in zip(frames, told["node"], told["quickjs"], strict=True):
        assert in_node == in_quickjs, data.hex()
        output = json.loads(in_node)
        wanted = expected(data)
        assert set(output) == {"data", "warnings", "errors"}
        if wanted is None:
            errors += 1
            assert output["data"] == {}, data.hex()
            (text,) = output["errors"]
            assert text.startswith(NAMED.get(data.hex(" "), "")), data.hex()
        else:
            assert output["errors"] == [], data.hex()
            assert output["data"] == wanted, data.hex()
            faults = dict.fromkeys(name for each in wanted["records"] for name in each["faults"])
            assert output["warnings"] == [f"sensor fault: {name}" for name in faults]
    # Neither all nor none of them is a frame.
    assert FUZZED / 4 < errors < len(frames) - FUZZED / 4


def inputs_of(frames):
    return [json.dumps({"bytes": list(data), "fPort": 1}) for data in frames]


@pytest.mark.slow
def test_ten_thousand_batches_are_the_same_everywhere(run_codec):
    """Packed by MicroPython; read by us, from the same random records, and by the codec."""
    code, output = run_micropython("wire_batches:tell")
    assert code == 0, output
    told = output.splitlines()
    assert told.pop() == str(wire_batches.ROUNDS)
    payloads = [bytes.fromhex(text) for text in told]
    chance = Chance(wire_batches.SEED)
    wanted = []
    for payload in payloads:
        run = wire_batches.random_run(chance)
        chance.below(1)  # for the limit
        records = decode(payload) if payload else []
        sent = run_of(*run)[: len(records)]
        assert [record for data in sent for record in decode(data)] == records
        wanted.append(records)
    outputs = run_codec(inputs_of(payloads), None, "node")["node"]
    batches = 0
    for records, output in zip(wanted, outputs, strict=True):
        found = json.loads(output)
        assert found["data"] == (data_of(records) if records else {})
        batches += len(records) > 1
    assert batches > wire_batches.ROUNDS / 2


def test_the_things_stack_gets_its_normalized_measurements(run_codec, tmp_path):
    """Names, units and ranges of its schema; what it has no name for is left out."""
    climate = [[2137, 482, 1325, 212, 79, 124, 191], [2140, None, frame.UNDEFINED, 0]]
    frames = [
        pack(run_of(1, 7, NOON, 1, 300, climate))[0],
        frame.encode(2, 8, -5, 1, {"wind_ms": 3.2, "wind_from_deg": 360, "rain_mm": 1}),
        frame.encode(3, 8, NOON, 1, {"cars_1": 7}),
    ]
    source = (codecs.folder() / codecs.UPLINK).read_text(encoding="utf-8")
    source += (
        "var old = decodeUplink; decodeUplink = function (x) { return normalizeUplink(old(x)); };"
    )
    (tmp_path / "codec.js").write_text(source, encoding="utf-8")
    told = run_codec(inputs_of(frames), tmp_path / "codec.js")
    assert told["node"] == told["quickjs"]
    assert [json.loads(output)["data"] for output in told["node"]] == [
        [
            {
                "time": "2025-06-15T15:06:40Z",
                "air": {
                    "temperature": 21.37,
                    "relativeHumidity": 48.2,
                    "pressure": 1013.25,
                    "co2": 612,
                },
            },
            {"time": "2025-06-15T15:11:40Z", "air": {"temperature": 21.4, "co2": 400}},
        ],
        [{"wind": {"speed": 3.2, "direction": 0}}],
        [],
    ]


def test_codecs_of_two_schemas_read_each_other(run_codec, monkeypatch, tmp_path):
    """A field more: the old codec leaves it out, the new one has null where it is missing."""
    old_rows = [[1, 5], [2, 6], [3, 5]]
    new_rows = [[1, 5, 7], [2, 6, None], [3, 5, 9]]
    name, rows = RECORDS[5]
    old = [*run_of(5, 1, NOON, 0, 60, old_rows), pack(run_of(5, 1, NOON, 0, 60, old_rows))[0]]
    grown = (*rows, ("extra", "", 1, 1, 0, 0, 1000, ()))
    with monkeypatch.context() as patch:
        patch.setitem(RECORDS, 5, (name, grown))
        patch.setitem(FIELDS, 5, tuple(type(FIELDS[1][0])(*row) for row in grown))
        new = [*run_of(5, 1, NOON, 0, 60, new_rows), pack(run_of(5, 1, NOON, 0, 60, new_rows))[0]]
        (tmp_path / "new.js").write_text(javascript.render(), encoding="utf-8")
        for data, output in zip(
            old, run_codec(inputs_of(old), tmp_path / "new.js", "node")["node"], strict=True
        ):
            assert json.loads(output)["data"] == expected(data)
            assert json.loads(output)["data"]["extra"] is None
    for data, output in zip(new, run_codec(inputs_of(new), None, "node")["node"], strict=True):
        assert json.loads(output)["data"] == expected(data)
        assert json.loads(output)["data"].get("extra", "left out") == "left out"


def test_the_codec_never_throws(run_codec):
    inputs = [
        "", "undefined", "null", "{}", "[]", "1", '{"bytes": null}', '{"bytes": []}',
        '{"bytes": [256]}', '{"bytes": [-1]}', '{"bytes": [1.5]}', '{"bytes": ["132"]}',
        '{"bytes": [NaN]}', '{"bytes": "hAUBAgM="}', '{"bytes": [132, 5, 1, 2]}',
        '{"bytes": {"length": 1e300}}', '{"bytes": {"length": -1}}', '{"bytes": [132,,1,2,3]}',
    ]  # fmt: skip
    told = run_codec(inputs)
    assert told["node"] == told["quickjs"]
    for text, output in zip(inputs, told["node"], strict=True):
        output = json.loads(output)
        assert (output["data"], output["warnings"], len(output["errors"])) == ({}, [], 1), text


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("let data = {}; function decodeUplink() { return {data: data}; }", "syntax"),
        ("function decodeUplink() { return {data: {a: 0 / 0}}; }", "node"),
        ("function decodeUplink() { return {data: {a: typeof [].includes}}; }", "node"),
    ],
)
def test_the_instrument_sees_what_servers_refuse(source, seen, run_codec, tmp_path):
    (tmp_path / "codec.js").write_text(source)
    told = run_codec(["{}"], tmp_path / "codec.js")
    assert (told["syntax"] is not None) == (seen == "syntax")
    assert told["node"] in (["odd"], ['{"data":{"a":"undefined"}}']) or seen == "syntax"


def test_the_codec_is_small():
    assert len((codecs.folder() / codecs.UPLINK).read_bytes()) <= 8192


def test_the_cddl_takes_what_our_decoder_takes_and_nothing_else(frames):
    """What is in the columns of a batch it does not know."""
    validator = Validator(codecs.folder() / codecs.CDDL)
    for data in frames:
        told = validator.validate(data, "frame", require_deterministic=True)
        good = expected(data) is not None
        batch = 0x20 <= data[1] < 0x38 if len(data) > 1 else False
        assert told.valid == good or (told.valid and batch), data.hex()

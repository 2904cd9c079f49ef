"""Bytes per record beside other encodings, time and heap on MicroPython: figures, and the marks."""

import json
import subprocess
from pathlib import Path
from statistics import fmean

import frames_encodings as others
import frames_series as series
import pytest
import wire_batches
from citynode.frames import decode
from citynode.resources import micropython
from citynode.wire import frame
from citynode.wire.batch import Packer
from citynode.wire.columns import MAX_RECORDS
from citynode.wire.schema import CLIMATE, TRAFFIC
from wire_micropython import HOST_TOOLS

HERE = Path(__file__).parent
SIZES = (1, 4, 12, 24)
LIMITS = (51, 115, 222)  # bytes of payload at DR0 to 2, at DR3, from DR4 on
COMPARED = 40  # runs of each length that others encode, from all over the month
MARKS = {1: 27, 4: 43, 12: 75, 24: 125}  # mean bytes of a climate batch
OPEN_MARKS = {CLIMATE: 29, TRAFFIC: 31}
FIRST_SEQ = 12345


@pytest.fixture(scope="module")
def months():
    """Return by name the record type and the month as `(seq, t, status, values)`."""
    print(f"\nweather: {series.source() or 'made here'}")
    return {
        name: (kind, [(FIRST_SEQ + i, t, 1, values) for i, (t, values) in enumerate(month)])
        for name, kind, month in (
            ("climate", CLIMATE, series.climate()),
            ("climate, fine sensors", CLIMATE, series.climate(fine=True)),
            ("traffic", TRAFFIC, series.traffic()),
        )
    }


@pytest.mark.slow
def test_bytes_of_our_frames(months):
    packer = Packer()
    for name, (kind, month) in months.items():
        stored = [(*record[:2], frame.encode(kind, *record), record[3]) for record in month]
        sizes = [len(data) for _, _, data, _ in stored]
        print(f"\n{name}: an open frame has {fmean(sizes):.1f} bytes, {max(sizes)} at the most")
        assert fmean(sizes) <= OPEN_MARKS[kind]
        for n in SIZES:
            sizes = []
            # All of the month for the mark that counts, else a part of it.
            for run in list(series.windows(stored, n))[:: 1 if (name, n) == ("climate", 12) else 5]:
                payload, last = wire_batches.pack([each[2] for each in run], 4000, packer)
                assert last == n - 1
                sizes.append(len(payload))
            told = [
                {name: value for name, value in record.values.items() if value is not None}
                for record in decode(payload)
            ]
            assert told == [each[3] for each in run]
            print(f"  {n:2} records: {fmean(sizes):5.1f} bytes, {fmean(sizes) / n:4.1f} a record")
            assert name != "climate" or fmean(sizes) <= MARKS[n]
        for limit in LIMITS:
            held = [
                wire_batches.pack([each[2] for each in run], limit, packer)[1] + 1
                for run in list(series.windows(stored, MAX_RECORDS))[::8]
            ]
            print(f"  {limit:3} bytes hold {fmean(held):.1f} records, {min(held)} at the least")


def test_bytes_of_other_encodings(months):
    packer = Packer()

    def batch(kind, run):
        return wire_batches.pack([frame.encode(kind, *each) for each in run], 4000, packer)[0]

    for name, (kind, month) in months.items():
        encodings = {
            "citynode": batch,
            "protobuf": others.Protobuf(kind),
            "MessagePack": others.msgpack_array,
            "CBOR": others.cbor_columns,
            "CayenneLPP": others.cayenne,
            "JSON": others.json_text,
            "SenML-CBOR": others.senml_cbor,
        }
        windows = {n: list(series.windows(month, n)) for n in SIZES}
        print(f"\n{name}: mean bytes of {', '.join(map(str, SIZES))} records")
        found = {}
        for encoding, encode in encodings.items():
            found[encoding] = [
                fmean(len(encode(kind, run)) for run in runs[:: len(runs) // COMPARED])
                for runs in windows.values()
            ]
            print(f"  {encoding:12}" + "".join(f"{mean:8.1f}" for mean in found[encoding]))
        ours = found.pop("citynode")
        for means in found.values():
            assert all(mine < theirs for mine, theirs in zip(ours[1:], means[1:], strict=True))


def test_time_and_heap_on_micropython(months, tmp_path):
    """In the unix port, whose words are twice as wide as a chip's: ratios tell more than times."""
    runs = {kind: month[100:112] for kind, month in months.values()}
    (tmp_path / "frames_runs.py").write_text(f"RUNS = {runs!r}\n", encoding="utf-8")
    done = subprocess.run(
        [micropython(), "-X", "heapsize=8M", "-c",
         "import frames_on_micropython, frames_runs\n"
         "print(frames_on_micropython.told(frames_runs.RUNS))"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env={"MICROPYPATH": f"{HOST_TOOLS}:{HERE}:{tmp_path}:.frozen"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for kind, figures in json.loads(done.stdout).items():
        dumps_us, dumps_bytes = figures.pop("json")
        print(
            f"\nrecord type {kind}: json.dumps {dumps_us:.1f} us, {dumps_bytes:.0f} bytes of heap"
        )
        for way, (spent, taken) in figures.items():
            ratio = spent / dumps_us
            print(f"  {way:5} {ratio:4.1f} times json.dumps, {taken:.0f} B of heap a record")
        assert figures["batch"][1] < dumps_bytes

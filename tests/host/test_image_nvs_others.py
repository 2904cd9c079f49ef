"""The NVS codec against others: Espressif's generator, and a reader of its own."""

import csv
import random
import struct
import subprocess
import sys
import zlib

from citynode.image.nvs import Kind, build_partition, read_partition
from nvs_bench import INTEGERS, SIZE, Flash


def generate(tmp_path, rows, size=SIZE):
    table = tmp_path / "values.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("key", "type", "encoding", "value"), *rows])
    out = tmp_path / "out.bin"
    command = [sys.executable, "-m", "esp_idf_nvs_partition_gen", "generate", table, out, hex(size)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return out.read_bytes()


def test_partitions_of_the_generator_are_read(tmp_path):
    long = random.Random(2).randbytes(9001)
    (tmp_path / "long.bin").write_bytes(long)
    rows = [("citynode", "namespace", "", "")]
    rows += [(k.name, "data", k.name.lower(), str(v)) for k, v in INTEGERS.items()]
    rows += [
        ("text", "data", "string", "Bochum, Straße 5"),
        ("hex", "data", "hex2bin", "00ff10"),
        ("base", "data", "base64", "AAEC"),
        ("long", "file", "binary", str(tmp_path / "long.bin")),
        ("other", "namespace", "", ""),
        ("text", "data", "string", "two"),
    ]
    image = generate(tmp_path, rows)
    wanted = {k.name: (k, v) for k, v in INTEGERS.items()}
    wanted["text"] = (Kind.STRING, "Bochum, Straße 5")
    wanted["hex"] = (Kind.BLOB, b"\x00\xff\x10")
    wanted["base"] = (Kind.BLOB, b"\x00\x01\x02")
    wanted["long"] = (Kind.BLOB, long)
    assert read_partition(image) == {"citynode": wanted, "other": {"text": (Kind.STRING, "two")}}
    flash = Flash()
    flash.cells[:] = image
    store = flash.store()
    store.set("citynode", "text", Kind.STRING, "changed")
    assert flash.store().items("citynode") == {**wanted, "text": (Kind.STRING, "changed")}


def test_small_partitions_equal_the_generators(tmp_path):
    rows = [
        ("citynode", "namespace", "", ""),
        ("ver", "data", "i32", "1"),
        ("node_id", "data", "hex2bin", b"bo-0001".hex()),
        ("name", "data", "string", "Bochum"),
    ]
    values = {
        "ver": (Kind.I32, 1),
        "node_id": (Kind.BLOB, b"bo-0001"),
        "name": (Kind.STRING, "Bochum"),
    }
    assert build_partition(SIZE, {"citynode": values}) == generate(tmp_path, rows)


def independent_read(image):
    """Read a partition as the documentation of the format says, sharing no line with the codec."""
    found, names, chunks, indexes = {}, {}, {}, {}
    pages = [image[at : at + 4096] for at in range(0, len(image), 4096)]
    assert any(page == b"\xff" * 4096 for page in pages)
    live = [page for page in pages if page != b"\xff" * 4096]
    for page in sorted(live, key=lambda page: struct.unpack_from("<I", page, 4)[0]):
        assert struct.unpack_from("<I", page)[0] in (0xFFFFFFFE, 0xFFFFFFFC)
        assert page[8] == 0xFE
        assert struct.unpack_from("<I", page, 28)[0] == zlib.crc32(page[4:28], 0xFFFFFFFF)
        bitmap = int.from_bytes(page[32:64], "little")
        number = 0
        while number < 126:
            state = bitmap >> 2 * number & 3
            entry = page[64 + 32 * number : 96 + 32 * number]
            number += 1
            if state != 2:
                assert state == 0 or entry == b"\xff" * 32
                continue
            assert struct.unpack_from("<I", entry, 4)[0] == zlib.crc32(
                entry[:4] + entry[8:], 0xFFFFFFFF
            )
            space, kind, span, chunk = entry[:4]
            key = entry[8:24].rstrip(b"\0").decode()
            body = page[64 + 32 * number : 64 + 32 * (number + span - 1)]
            for extra in range(number, number + span - 1):
                assert bitmap >> 2 * extra & 3 == 2
            number += span - 1
            if space == 0:
                names[entry[24]] = key
            elif kind in (0x21, 0x42):
                size, crc = struct.unpack_from("<H2xI", entry, 24)
                assert zlib.crc32(body[:size], 0xFFFFFFFF) == crc
                if kind == 0x21:
                    assert body[size - 1] == 0
                    assert (space, key) not in found
                    found[space, key] = body[: size - 1].decode()
                else:
                    assert (space, key, chunk) not in chunks
                    chunks[space, key, chunk] = body[:size]
            elif kind == 0x48:
                assert (space, key) not in indexes
                indexes[space, key] = struct.unpack_from("<IBB", entry, 24)
            else:
                width = kind & 15
                value = int.from_bytes(entry[24 : 24 + width], "little", signed=kind >= 16)
                assert (space, key) not in found
                found[space, key] = value
    for (space, key), (size, count, start) in indexes.items():
        parts = [chunks.pop((space, key, start + each)) for each in range(count)]
        found[space, key] = b"".join(parts)
        assert len(found[space, key]) == size
    assert not chunks
    return {(names[space], key): value for (space, key), value in found.items()}


def test_what_is_written_is_read_by_others():
    flash = Flash()
    store = flash.store()
    rng = random.Random(3)
    expected = {}
    for _ in range(400):
        name, key = rng.choice(("one", "two")), f"k{rng.randrange(8)}"
        kind = rng.choice((Kind.I32, Kind.U64, Kind.STRING, Kind.BLOB))
        if kind is Kind.STRING:
            value = "s" * rng.randrange(100)
        elif kind is Kind.BLOB:
            value = rng.randbytes(rng.choice((1, 200, 900)))
        else:
            value = rng.randrange(1 << 30)
        if rng.random() < 0.1:
            store.erase(name, key)
            expected.pop((name, key), None)
        else:
            store.set(name, key, kind, value)
            expected[name, key] = value
    assert flash.erases > 3
    assert independent_read(bytes(flash.cells)) == expected

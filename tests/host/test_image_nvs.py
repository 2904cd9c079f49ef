"""The NVS codec against Espressif's generator, against random bytes and through power cuts."""

import contextlib
import csv
import random
import struct
import subprocess
import sys
import zlib

import pytest
from citynode.image.nvs import Kind, NvsError, NvsStore, build_partition, read_partition
from hypothesis import given, settings
from hypothesis import strategies as st

SIZE = 0x6000
INTEGERS = {
    Kind.U8: 0xFF,
    Kind.I8: -0x80,
    Kind.U16: 0xFFFF,
    Kind.I16: -0x8000,
    Kind.U32: 0xFFFFFFFF,
    Kind.I32: -0x80000000,
    Kind.U64: 2**64 - 1,
    Kind.I64: -(2**63),
}


class PowerCutError(Exception):
    pass


class Flash:
    """NOR cells; `cut` operations from now power goes, in the middle of that operation."""

    def __init__(self, size=SIZE, cut=None, tear=0):
        self.cells = bytearray(b"\xff" * size)
        self.cut = cut
        self.tear = tear
        self.operations = 0
        self.erases = 0

    def _spend(self):
        self.operations += 1
        if self.cut is not None and self.operations > self.cut:
            self.cut = -1  # stays off
            return True
        return False

    def read(self, address, length):
        return bytes(self.cells[address : address + length])

    def program(self, address, data):
        off = self._spend()
        for number, byte in enumerate(data[: self.tear] if off else data, address):
            self.cells[number] &= byte
        if off:
            raise PowerCutError

    def erase(self, address):
        if self._spend():
            raise PowerCutError
        self.erases += 1
        self.cells[address : address + 4096] = b"\xff" * 4096

    def store(self, **options):
        return NvsStore(self.read, self.program, self.erase, len(self.cells), **options)


def reboot(flash):
    after = Flash(len(flash.cells))
    after.cells[:] = flash.cells
    return after


def test_values_come_back_after_a_restart():
    flash = Flash()
    store = flash.store()
    for kind, value in INTEGERS.items():
        store.set("numbers", kind.name, kind, value)
    store.set("texts", "name", Kind.STRING, "Straße")
    store.set("texts", "empty", Kind.BLOB, b"")
    store.set("texts", "long", Kind.BLOB, bytes(range(256)) * 39)
    again = flash.store()
    for kind, value in INTEGERS.items():
        assert again.get("numbers", kind.name, kind) == value
    assert again.get("texts", "name", Kind.STRING) == "Straße"
    assert again.get("texts", "empty", Kind.BLOB) == b""
    assert again.get("texts", "long", Kind.BLOB) == bytes(range(256)) * 39
    assert again.get("texts", "name", Kind.BLOB) is None
    assert again.get("absent", "name", Kind.STRING) is None
    assert again.namespaces() == ("numbers", "texts")


def test_an_equal_value_costs_no_write():
    flash = Flash()
    store = flash.store()
    store.set("a", "k", Kind.BLOB, b"same")
    before = flash.operations
    store.set("a", "k", Kind.BLOB, b"same")
    assert flash.operations == before


def test_another_type_replaces_the_value():
    flash = Flash()
    store = flash.store()
    store.set("a", "k", Kind.I32, 5)
    store.set("a", "k", Kind.BLOB, b"five")
    assert flash.store().items("a") == {"k": (Kind.BLOB, b"five")}


def test_keys_are_erased_one_by_one_and_all():
    flash = Flash()
    store = flash.store()
    store.set("a", "x", Kind.BLOB, bytes(5000))
    store.set("a", "y", Kind.U8, 1)
    assert store.erase("a", "x")
    assert not store.erase("a", "x")
    assert flash.store().items("a") == {"y": (Kind.U8, 1)}
    store.erase_all("a")
    assert flash.store().items("a") == {}
    assert flash.store().namespaces() == ("a",)


@pytest.mark.parametrize(
    ("namespace", "key", "name"),
    [
        ("a", "sixteen_letters_", "ESP_ERR_NVS_KEY_TOO_LONG"),
        ("sixteen_letters_", "a", "ESP_ERR_NVS_KEY_TOO_LONG"),
        ("a", "", "ESP_ERR_NVS_INVALID_NAME"),
        ("a", "ö", "ESP_ERR_NVS_INVALID_NAME"),
    ],
)
def test_bad_names_are_refused(namespace, key, name):
    with pytest.raises(NvsError) as caught:
        Flash().store().set(namespace, key, Kind.U8, 1)
    assert caught.value.name == name
    assert caught.value.code & 0xFF00 == 0x1100


def test_bad_values_are_refused():
    store = Flash().store()
    with pytest.raises(OverflowError):
        store.set("a", "k", Kind.I8, 128)
    with pytest.raises(TypeError):
        store.set("a", "k", Kind.BLOB, "text")
    with pytest.raises(NvsError) as caught:
        store.set("a", "k", Kind.STRING, "x" * 4000)
    assert caught.value.name == "ESP_ERR_NVS_VALUE_TOO_LONG"
    with pytest.raises(NvsError) as caught:
        store.set("a", "k", Kind.BLOB, bytes(SIZE))
    assert caught.value.name == "ESP_ERR_NVS_VALUE_TOO_LONG"


def test_a_full_partition_keeps_what_it_has():
    flash = Flash(0x3000)
    store = flash.store()
    written = {}

    def fill():
        for number in range(1000):
            store.set("a", f"k{number}", Kind.BLOB, bytes([number % 256]) * 100)
            written[f"k{number}"] = (Kind.BLOB, bytes([number % 256]) * 100)

    with pytest.raises(NvsError) as caught:
        fill()
    assert caught.value.name == "ESP_ERR_NVS_NOT_ENOUGH_SPACE"
    assert len(written) > 40
    assert store.items("a") == written
    assert flash.store().items("a") == written
    store.erase("a", "k7")
    store.set("a", "new", Kind.BLOB, b"fits again")
    assert flash.store().get("a", "new", Kind.BLOB) == b"fits again"


def test_pages_are_collected_and_worn_evenly():
    flash = Flash(0x4000)
    store = flash.store()
    store.set("a", "fixed", Kind.BLOB, b"identity" * 40)
    for number in range(3000):
        store.set("a", "counter", Kind.U32, number)
    assert store.get("a", "fixed", Kind.BLOB) == b"identity" * 40
    assert flash.store().get("a", "counter", Kind.U32) == 2999
    assert flash.erases >= 3000 // 126 - 4
    flash = reboot(flash)
    assert flash.store().get("a", "counter", Kind.U32) == 2999


# -- a loss of power at each operation ----------------------------------------------------------


def history():
    """Writes that fill pages, move them, and replace and erase all kinds of values."""
    rng = random.Random(5)
    for number in range(40):
        yield ("set", "number", Kind.I32, number)
        yield ("set", "text", Kind.STRING, "x" * rng.randrange(60))
        yield ("set", "blob", Kind.BLOB, rng.randbytes(rng.choice((0, 40, 700, 3000))))
        if number % 9 == 4:
            yield ("erase", "text")
        if number % 13 == 7:
            yield ("erase", "blob")


def apply(store, step):
    if step[0] == "set":
        store.set("n", *step[1:])
    else:
        store.erase("n", step[1])


def after(state, step):
    state = dict(state)
    if step[0] == "set":
        state[step[1]] = step[2:]
    else:
        state.pop(step[1], None)
    return state


def total_operations():
    flash = Flash(0x4000)
    store = flash.store()
    store.set("n", "fixed", Kind.BLOB, b"identity")
    start = flash.operations
    for step in history():
        apply(store, step)
    assert flash.erases > 4
    return start, flash.operations


def cut_at(cut, tear):
    flash = Flash(0x4000, cut=cut, tear=tear)
    store = flash.store()
    store.set("n", "fixed", Kind.BLOB, b"identity")
    older = {"fixed": (Kind.BLOB, b"identity")}
    newer = older
    try:
        for step in history():
            newer = after(older, step)
            apply(store, step)
            older = newer
    except PowerCutError:
        pass
    return flash, older, newer


@pytest.mark.slow
def test_power_cuts_leave_the_older_or_the_newer_state():
    start, end = total_operations()
    rng = random.Random(1)
    for cut in range(start, end, 3):
        flash, older, newer = cut_at(cut, tear=rng.choice((0, 4, 8, 20, 31)))
        woken = reboot(flash)
        store = woken.store(format_unusable=False)
        found = store.items("n")
        assert found in (older, newer), cut
        # A second cut in the repair itself, then a write: nothing is lost either.
        if woken.operations:
            again = reboot(flash)
            again.cut, again.tear = rng.randrange(woken.operations), 4
            with pytest.raises(PowerCutError):
                again.store(format_unusable=False)
            store = reboot(again).store(format_unusable=False)
            assert store.items("n") == found
        store.set("n", "later", Kind.U8, 1)
        assert store.items("n") == {**found, "later": (Kind.U8, 1)}


# -- any bytes ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=0x3000), st.integers(0, 2**32), st.integers(0, 60))
def test_any_bytes_give_a_store_that_works(data, seed, flips):
    flash = Flash(0x4000)
    if seed % 2:
        store = flash.store()
        store.set("n", "a", Kind.BLOB, b"x" * (seed % 4500))
        store.set("n", "b", Kind.STRING, "y")
    else:
        flash.cells[: len(data)] = data
    rng = random.Random(seed)
    for _ in range(flips):
        flash.cells[rng.randrange(len(flash.cells))] ^= 1 << rng.randrange(8)
    store = flash.store()
    store.set("w", "key", Kind.U64, 7)
    assert flash.store().get("w", "key", Kind.U64) == 7


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=9000))
def test_reading_a_partition_is_total(data):
    with contextlib.suppress(NvsError):
        read_partition(data)


def test_a_damaged_value_is_dropped_and_the_others_stay():
    data = bytearray(
        build_partition(SIZE, {"n": {"a": (Kind.BLOB, b"A" * 64), "b": (Kind.BLOB, b"B" * 64)}})
    )
    at = data.index(b"A" * 64)
    data[at + 5] ^= 0x10
    assert read_partition(bytes(data)) == {"n": {"b": (Kind.BLOB, b"B" * 64)}}


# -- Espressif's generator ----------------------------------------------------------------------


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

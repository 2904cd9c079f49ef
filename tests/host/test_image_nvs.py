"""The NVS codec against random bytes and through power cuts."""

import contextlib
import random

import pytest
from citynode.image.nvs import Kind, NvsError, build_partition, read_partition
from hypothesis import given, settings
from hypothesis import strategies as st
from nvs_bench import INTEGERS, SIZE, Flash, PowerCutError


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

"""The tests of this folder once more, on MicroPython; both sides judge the same noise alike."""

import ast

import pytest
from test_wire_fuzz import digest
from wire_micropython import passes, run

MODULES = ("test_wire_cbor", "test_wire_frame", "test_wire_batch", "test_wire_fuzz")


@pytest.mark.parametrize("module", MODULES)
def test_on_micropython(module):
    passes(module)


def test_both_interpreters_say_the_same_of_any_bytes():
    assert run("test_wire_fuzz:digest") == (0, f"{digest()}\n")


def test_packing_leaves_no_garbage_per_record():
    """What remains is the same for any number of records and values."""
    code, output = run("wire_batches:allocated")
    assert code == 0, output
    few, some, many = ast.literal_eval(output)
    assert few == some == many < 1000

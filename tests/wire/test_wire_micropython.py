"""The tests of this folder once more, on MicroPython; both sides judge the same noise alike."""

import ast

import pytest
from test_wire_fuzz import digest
from wire_micropython import HERE, run

MODULES = ("test_wire_cbor", "test_wire_frame", "test_wire_batch", "test_wire_fuzz")


def count_tests(module):
    """Return how many test functions a module has."""
    tree = ast.parse((HERE / f"{module}.py").read_text(encoding="utf-8"))
    return sum(isinstance(n, ast.FunctionDef) and n.name.startswith("test_") for n in tree.body)


@pytest.mark.parametrize("module", MODULES)
def test_on_micropython(module):
    code, output = run(module)
    assert code == 0, output
    assert output.splitlines()[-1] == f"{module}: {count_tests(module)} passed, 0 failed"


def test_both_interpreters_say_the_same_of_any_bytes():
    assert run("test_wire_fuzz:digest") == (0, f"{digest()}\n")


def test_packing_leaves_no_garbage_per_record():
    """What remains is the same for any number of records and values."""
    code, output = run("wire_batches:allocated")
    assert code == 0, output
    few, some, many = ast.literal_eval(output)
    assert few == some == many < 1000

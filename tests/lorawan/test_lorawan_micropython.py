"""The portable tests of this folder once more, on MicroPython and its own cipher."""

from pathlib import Path

import pytest
from citynode.resources import firmware
from wire_micropython import passes, run

HERE = Path(__file__).parent
HOST_ONLY = {"test_lorawan_micropython", "test_lorawan_packet"}
MODULES = sorted(path.stem for path in HERE.glob("test_lorawan_*.py") if path.stem not in HOST_ONLY)
# The tests' own logs are in the heap.
WHERE = {"folder": HERE, "source": firmware(), "heap": "16M"}


@pytest.mark.parametrize("module", MODULES)
def test_on_micropython(module):
    passes(module, **WHERE)


def test_a_failing_test_is_seen():
    code, output = run("lorawan_bench:kind_of", **WHERE)
    assert code != 0
    assert "TypeError" in output

"""The portable tests of this folder once more, on MicroPython; both say the same of any noise."""

from pathlib import Path

import pytest
from citynode.resources import firmware
from test_traffic_any import digest
from wire_micropython import passes, run

WHERE = {"folder": Path(__file__).parent, "source": firmware(), "heap": "4M"}
MODULES = ("test_traffic_any", "test_traffic_detectors", "test_traffic_sums")


@pytest.mark.parametrize("module", MODULES)
def test_on_micropython(module):
    passes(module, **WHERE)


def test_both_interpreters_say_the_same_of_any_samples():
    assert run("test_traffic_any:digest", **WHERE) == (0, f"{digest()}\n")

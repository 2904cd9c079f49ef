"""The portable tests of this folder once more, on MicroPython; both say the same of any noise."""

import ast
import subprocess
from pathlib import Path

import pytest
from citynode.resources import firmware, micropython
from test_traffic_any import digest

HERE = Path(__file__).parent
RUNNER = HERE.parent / "wire" / "run_micropython.py"
MODULES = ("test_traffic_any", "test_traffic_detectors", "test_traffic_sums")
LIMIT_S = 120


def run(*arguments):
    """Run the portable runner; return its exit code and what it printed."""
    done = subprocess.run(
        [micropython(), "-X", "heapsize=4M", RUNNER, *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd="/",
        env={"MICROPYPATH": f"{firmware()}:{HERE}:.frozen"},
    )
    return done.returncode, done.stdout + done.stderr


def count_tests(module):
    """Return how many test functions a module has."""
    tree = ast.parse((HERE / f"{module}.py").read_text(encoding="utf-8"))
    return sum(isinstance(n, ast.FunctionDef) and n.name.startswith("test_") for n in tree.body)


@pytest.mark.parametrize("module", MODULES)
def test_on_micropython(module):
    code, output = run(module)
    assert code == 0, output
    assert output.splitlines()[-1] == f"{module}: {count_tests(module)} passed, 0 failed"


def test_both_interpreters_say_the_same_of_any_samples():
    assert run("test_traffic_any:digest") == (0, f"{digest()}\n")

"""The portable tests of this folder once more, on MicroPython and its own cipher."""

import ast
import subprocess
from pathlib import Path

import pytest
from citynode.resources import firmware, micropython

HERE = Path(__file__).parent
RUNNER = HERE.parent / "wire" / "run_micropython.py"
HOST_ONLY = {"test_lorawan_micropython", "test_lorawan_packet"}
MODULES = sorted(path.stem for path in HERE.glob("test_lorawan_*.py") if path.stem not in HOST_ONLY)
LIMIT_S = 120
HEAP = "16M"  # the tests' own logs are in it


def run(*arguments):
    """Run the portable runner; return its exit code and what it printed."""
    done = subprocess.run(
        [micropython(), "-X", f"heapsize={HEAP}", RUNNER, *arguments],
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


def test_a_failing_test_is_seen():
    code, output = run("lorawan_bench:kind_of")
    assert code != 0
    assert "TypeError" in output

"""The tests of this folder once more, on MicroPython; both sides judge the same noise alike."""

import ast
import subprocess
from pathlib import Path

import pytest
from citynode.resources import micropython
from test_wire_fuzz import digest

HERE = Path(__file__).parent
HOST_TOOLS = HERE.parents[1] / "host_tools"
MODULES = ("test_wire_cbor", "test_wire_frame", "test_wire_fuzz")
LIMIT_S = 120


def run(*arguments):
    """Run the portable runner; return its exit code and what it printed."""
    done = subprocess.run(
        [micropython(), "-X", "heapsize=8M", HERE / "run_micropython.py", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd="/",
        env={"MICROPYPATH": f"{HOST_TOOLS}:{HERE}:.frozen"},
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


def test_both_interpreters_say_the_same_of_any_bytes():
    assert run("test_wire_fuzz:digest") == (0, f"{digest()}\n")

"""Every test of this folder that is for the node's interpreter, each in a start of its own.

`upy_*.py` run on MicroPython alone; `test_node_*.py` are portable, and run here as well as by
pytest itself.
"""

import ast
import subprocess
from pathlib import Path

import pytest
from citynode.resources import firmware, micropython, upy

HERE = Path(__file__).parent
HOST_ONLY = {
    "test_node_micropython",
    "test_node_host",
    "test_node_board",
    "test_node_lorawan",
    "test_node_station",
}
HEAP = "32M"  # the tests' own copies of a flash are in it
SMALL_HEAP = "4M"  # where the node itself collects garbage often, which takes longer on a large one
LIMIT_S = 60


def cases():
    """Yield the module and the name of each test function."""
    for path in sorted([*HERE.glob("upy_*.py"), *HERE.glob("test_node_*.py")]):
        if path.stem in HOST_ONLY:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield path.stem, node.name


def run(module, function):
    """Run one function on MicroPython; return its exit code and what it printed."""
    folders = [upy(), upy() / "core", HERE / "fast", HERE, HERE.parent / "lorawan", firmware()]
    done = subprocess.run(
        [
            micropython(),
            "-X",
            f"heapsize={SMALL_HEAP if module.startswith('upy_lora') else HEAP}",
            HERE / "upy_run.py",
            ":".join(map(str, folders)),
            f"{module}:{function}",
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd="/",
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("module", "function"), [*cases()])
def test_on_micropython(module, function):
    code, output = run(module, function)
    assert code == 0, output


def test_a_failing_test_is_seen():
    code, output = run("node_tools", "kind_of")
    assert code == 1
    assert "TypeError" in output

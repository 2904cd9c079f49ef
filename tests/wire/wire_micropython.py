"""Runs the portable tests of a folder on MicroPython."""

import ast
import subprocess
from pathlib import Path

from citynode.resources import micropython

HERE = Path(__file__).parent
HOST_TOOLS = HERE.parents[1] / "host_tools"
LIMIT_S = 120


def run(*arguments, folder=HERE, source=HOST_TOOLS, heap="8M"):
    """Run `run_micropython.py` on modules of `folder`, which test what is in `source`.

    Return its exit code and what it printed.
    """
    done = subprocess.run(
        [micropython(), "-X", f"heapsize={heap}", HERE / "run_micropython.py", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd="/",
        env={"MICROPYPATH": f"{source}:{folder}:.frozen"},
    )
    return done.returncode, done.stdout + done.stderr


def passes(module, **options):
    """Run the tests of a module; each of them has to pass there."""
    path = options.get("folder", HERE) / f"{module}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    count = sum(isinstance(n, ast.FunctionDef) and n.name.startswith("test_") for n in tree.body)
    code, output = run(module, **options)
    assert code == 0, output
    assert output.splitlines()[-1] == f"{module}: {count} passed, 0 failed"

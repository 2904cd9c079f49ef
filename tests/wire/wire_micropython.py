"""Runs the portable modules of this folder on MicroPython."""

import subprocess
from pathlib import Path

from citynode.resources import micropython

HERE = Path(__file__).parent
HOST_TOOLS = HERE.parents[1] / "host_tools"
LIMIT_S = 120


def run(*arguments):
    """Run `run_micropython.py`; return its exit code and what it printed."""
    done = subprocess.run(
        [micropython(), "-X", "heapsize=8M", HERE / "run_micropython.py", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        cwd="/",
        env={"MICROPYPATH": f"{HOST_TOOLS}:{HERE}:.frozen"},
    )
    return done.returncode, done.stdout + done.stderr

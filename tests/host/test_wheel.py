"""The wheel carries firmware, boards and profiles, and works outside of the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_wheel_works_outside_of_the_checkout(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)

    def run(*command):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(installed), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    where = run("-c", "import citynode.resources as r; print(r.firmware() / 'node', r.upy())")
    for folder in where.split():
        assert Path(folder).is_relative_to(installed)
        assert Path(folder).is_dir()
    frame = "86050020020001"
    decoded = run("-m", "citynode", "decode", frame)
    assert "restart" in decoded
    boards = run("-c", "from citynode.boards import board_ids; print(*board_ids())")
    assert "esp32-devkit" in boards.split()

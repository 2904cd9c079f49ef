"""The page on new sensors, followed to the letter in a copy of the project."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from citynode.resources import micropython

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "new-sensor.md"
COPIED = ("firmware", "host_tools", "board_configs", "provisioning", "docs", "tests/firmware")
LIMIT_S = 240
# "`file`:" or "`file`, behind `a line`:", and then what belongs there.
STEP = re.compile(
    r"^(?:`(?P<path>[^`]+)`(?:, behind `(?P<anchor>[^`]+)`)?:\n\n)?"
    r"```(?P<kind>python|toml|console)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@pytest.fixture
def project(tmp_path):
    leave = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=leave)
    return tmp_path


def run(command, project):
    words = shlex.split(command)
    if words[0] == "citynode":
        words[:1] = ["python", "-m", "citynode"]
    assert words[0] == "python"
    places = [project / "host_tools", project / "tests" / "firmware"]
    environment = {
        **os.environ,
        "PYTHONPATH": ":".join(map(str, places)),
        "CITYNODE_MICROPYTHON": str(micropython()),
        "PYTEST_ADDOPTS": "",
    }
    done = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def insert(path, anchor, text):
    """Put text behind the end of the one line that has `anchor`, and its comment, in it."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if anchor in line]
    assert len(places) == 1, (path, anchor)
    lines.insert(places[0] + 1, text)
    path.write_text("".join(lines), encoding="utf-8")


@pytest.mark.slow
def test_a_sensor_that_the_tree_does_not_know(project):
    told = []
    for step in STEP.finditer(PAGE.read_text(encoding="utf-8")):
        path, anchor, text = step["path"], step["anchor"], step["text"]
        if step["kind"] == "console":
            for line in text.splitlines():
                told.append(run(line.removeprefix("$ "), project))
        elif anchor is None:
            assert not (project / path).exists()
            (project / path).write_text(text, encoding="utf-8")
        else:
            insert(project / path, anchor, text)
    _, checked, shown, tested = told
    assert "right, and fits esp32-devkit" in checked
    assert "light_lx" in shown
    assert "3 passed" in tested
    assert "light_lx" in (project / "docs" / "records.md").read_text(encoding="utf-8")
    assert "light_lx" not in (ROOT / "docs" / "records.md").read_text(encoding="utf-8")

"""A fleet whose processes are killed and whose disk is full loses nothing and gives nothing twice.

The rig runs in a process of its own, as it forks and limits the size of files.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RIG = Path(__file__).with_name("fleet_rig.py")


def rig(folder, *arguments):
    done = subprocess.run(
        [sys.executable, RIG, folder, *map(str, arguments)],
        env={
            **os.environ,
            "CITYNODE_STATE": str(folder / "state"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_thirty_kills(tmp_path, state):
    told = rig(tmp_path, "kill", 30, 1)
    assert told["kills"] == 30
    assert told["nodes"] > 30
    assert 0 < told["in the middle of one"] <= 30


@pytest.mark.slow
def test_a_disk_that_is_full_at_each_write(tmp_path, state, monkeypatch):
    monkeypatch.setenv("CITYNODE_KEY_FILE", str(tmp_path / "key"))
    told = rig(tmp_path, "full")
    assert {name: each["nodes"] for name, each in told.items()} == {
        "init": 0, "import": 50, "issue": 31, "rekey": 30, "retire": 30, "backup": 30,
    }  # fmt: skip
    assert all(each["refused"] > 4 for each in told.values())

"""`citynode demo`: it ends well, and leaves nothing behind however it ends."""

import ctypes
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from workbench import Running, wait_for

pytestmark = pytest.mark.slow

CANARY = "Kanarie-psk-of-the-users-own-network"


@pytest.fixture
def nothing_left(tmp_path, state):
    """Give runs folders of their own; at the end neither files nor processes may be left."""
    set_child_subreaper = 36  # orphans become children of this process
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(set_child_subreaper, 1, 0, 0, 0) == 0
    before = set(psutil.Process().children())
    folders = []

    def environment():
        folders.append(Path(tempfile.mkdtemp(dir=tmp_path)))
        return {"TMPDIR": str(folders[-1]), "CITYNODE_WIFI_PSK": CANARY}

    def left():
        orphans = set(psutil.Process().children()) - before
        for orphan in orphans:
            if orphan.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(orphan.pid, 0)
        return [orphan for orphan in orphans if orphan.is_running()]

    yield environment
    try:
        wait_for(lambda: not left(), 10, lambda: f"still there: {left()}")
    finally:
        libc.prctl(set_child_subreaper, 0, 0, 0, 0)
        for orphan in left():
            orphan.kill()
    assert [list(folder.iterdir()) for folder in folders] == [[]] * len(folders)
    assert not list(state.rglob("*"))


def test_blank_boards_become_nodes_that_report(nothing_left):
    end = Running("demo", "--duration", "25s", env=nothing_left()).end(120)
    assert end.code == 0, end
    verdicts = [line for line in end.out.splitlines() if line.rstrip("│ ").endswith("PASS")]
    assert len(verdicts) == 3, end.out
    assert end.err.endswith("Three nodes, no record lost. Everything was stopped again.\n")
    assert CANARY not in end.out + end.err


def test_ctrl_c_at_each_stage(nothing_left):
    def interrupted(stage):
        run = Running("demo", "--duration", "15s", env=nothing_left())
        run.until(stage)
        for _ in range(3):  # as people do
            run.interrupt()
            time.sleep(0.05)
        return run.end(30)

    stages = ["Compiling", "Starting", "watching for"]
    with ThreadPoolExecutor(len(stages)) as pool:
        ends = list(pool.map(interrupted, stages))
    for stage, end in zip(stages, ends, strict=True):
        assert end.code == 2, (stage, end)
        assert end.err.endswith("citynode: interrupted\n"), (stage, end)
        assert end.err.count("citynode: ") == 1
        assert "Traceback" not in end.err

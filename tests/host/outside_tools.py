"""Tools of others that run in Node: installed once, as package-lock.json says, into the cache."""

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import filelock
import pytest
from citynode import resources

FOLDER = Path(__file__).with_name("outside")


@functools.cache
def node_modules():
    """Return the folder of the installed packages; skips the test where Node is missing."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs node and npm")
    lock = (FOLDER / "package-lock.json").read_bytes()
    folder = resources.cache_dir() / "outside" / hashlib.sha256(lock).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock"), timeout=120):
        if not (folder / "complete").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copyfile(FOLDER / name, folder / name)
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
                cwd=folder,
                env={**os.environ, "npm_config_cache": str(folder / "npm")},
                check=True,
                timeout=100,
            )
            shutil.rmtree(folder / "npm", ignore_errors=True)
            (folder / "complete").touch()
    return folder / "node_modules"


def run(script, *arguments, stdin):
    """Run a script of `outside/`; return what it printed."""
    done = subprocess.run(
        ["node", FOLDER / script, *arguments],
        input=stdin,
        env={**os.environ, "NODE_PATH": str(node_modules())},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout

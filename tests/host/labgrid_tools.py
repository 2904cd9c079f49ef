"""labgrid's own programs, in an environment of their own: it replaces the pyserial of others."""

import functools
import hashlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import filelock
from citynode import resources

LOCK = Path(__file__).with_name("outside") / "labgrid.lock"


@functools.cache
def programs():
    """Return the folder of labgrid's programs, as labgrid.lock says; installed once."""
    name = f"labgrid-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    folder = resources.cache_dir() / "outside" / name
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder.with_suffix(".lock"), timeout=240):
        if not (folder / "complete").exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            install = ("install", "-qq", "--disable-pip-version-check", "--require-hashes", "-r")
            pip = [folder / "bin" / "python", "-m", "pip", *install, LOCK]
            subprocess.run(pip, check=True, timeout=200)
            (folder / "complete").touch()
    return folder / "bin"


class Lab:
    """A coordinator and an exporter on loopback, with what `resources` (YAML) says."""

    def __init__(self, folder, port, resources):
        self.address = f"127.0.0.1:{port}"
        self._folder = folder
        self._resources = resources
        self._processes = []

    def client(self, *words, **environment):
        """Run labgrid-client and return what it printed."""
        done = subprocess.run(
            [programs() / "labgrid-client", "-x", self.address, *words],
            env={**os.environ, **environment},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def __enter__(self):
        (self._folder / "exported.yaml").write_text(self._resources)
        self._start("labgrid-coordinator", "-l", self.address)
        self._listening()
        exporter = ("-c", self.address, "-n", "lab", "--hostname", "127.0.0.1", "exported.yaml")
        self._start("labgrid-exporter", *exporter, until="Exporter ready")
        return self

    def __exit__(self, *_):
        for process in reversed(self._processes):
            process.terminate()
            process.communicate(timeout=20)

    def _listening(self):
        host, port = self.address.split(":")
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=5).close()
                return
            except OSError:
                assert time.monotonic() < end, "labgrid-coordinator does not listen"
                time.sleep(0.1)

    def _start(self, name, *words, until=None):
        process = subprocess.Popen(
            [programs() / name, *words],
            cwd=self._folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self._processes.append(process)
        if until is None:
            return
        end = time.monotonic() + 60
        for line in process.stdout:
            if until in line:
                return
            assert time.monotonic() < end
        raise AssertionError(f"{name} has ended")

"""The real executables of the tools, as a user runs them."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent


class Tool:
    """Runs executables in a folder of its own against one port."""

    def __init__(self, folder, port):
        self.folder = folder
        self.port = port

    def run(self, *command, check=True, timeout=60, **kwargs):
        done = subprocess.run(
            [BIN / command[0], *map(str, command[1:])],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "COLUMNS": "200"},
            **kwargs,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def mpremote(self, *command, **kwargs):
        return self.run("mpremote", "connect", self.port, *command, **kwargs)

    def ampy(self, *command, **kwargs):
        return self.run("ampy", "-p", self.port, *command, **kwargs)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()

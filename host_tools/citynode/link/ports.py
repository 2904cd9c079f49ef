"""The ports of this machine: which there are, and who of us uses one."""

import contextlib
import fnmatch
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import filelock
from serial.tools import list_ports

from citynode.errors import CitynodeError
from citynode.link.errors import LinkError
from citynode.state import state_dir

# USB vendors of the bridges on ESP32 boards and of the chips' own USB (usb.ids).
_VENDORS = {
    0x303A: "Espressif USB",
    0x10C4: "CP210x bridge",
    0x1A86: "CH34x bridge",
    0x0403: "FTDI bridge",
    0x067B: "PL2303 bridge",
}


@dataclass(frozen=True)
class Port:
    """A serial port; `likely` tells that a board may be behind it."""

    device: str
    description: str
    likely: bool
    usb: str | None = None
    serial_number: str | None = None
    location: str | None = None
    accessible: bool = True


def list_all() -> list[Port]:
    """Return the machine's serial ports, those with a likely board first."""
    ports = []
    for found in list_ports.comports():
        usb = None if found.vid is None else f"{found.vid:04x}:{found.pid or 0:04x}"
        ports.append(
            Port(
                device=found.device,
                description=_VENDORS.get(found.vid or 0) or found.description or "",
                likely=found.vid in _VENDORS,
                usb=usb,
                serial_number=found.serial_number,
                location=found.location,
                accessible=os.name != "posix" or os.access(found.device, os.R_OK | os.W_OK),
            )
        )
    return sorted(ports, key=lambda port: (not port.likely, port.device))


def select(given: Iterable[str]) -> list[str]:
    """Return the ports that the arguments mean: names, globs (`/dev/ttyUSB*`), commas, URLs.

    Raises CitynodeError when a glob matches nothing, or a port is there twice.
    """
    chosen: list[str] = []
    for text in given:
        for item in filter(None, (part.strip() for part in text.split(","))):
            if "://" in item or not re.search(r"[*?\[]", item):
                _check_url(item)
                chosen.append(item)
                continue
            found = matching(item)
            if not found:
                raise CitynodeError(f"no port matches {item}", "see 'citynode ports'")
            chosen += found
    keys = [key(port) for port in chosen]
    for port, own in zip(chosen, keys, strict=True):
        if keys.count(own) > 1:
            raise CitynodeError(f"{port} is given twice", "name each port once")
    return chosen


def matching(pattern: str) -> list[str]:
    """Return the ports that a name or glob means now, in alphabetical order."""
    listed = {port.device for port in list_all() if fnmatch.fnmatch(port.device, pattern)}
    return sorted(listed | _matching_files(pattern))


_FILTERS = ("name", "serial", "location", "vid", "pid")


def filtered(found: Iterable[Port], filters: Iterable[str]) -> list[Port]:
    """Return the ports that all filters hold for.

    A filter is KEY=VALUE as esptool's `--port-filter`: `name`, `serial` and `location` are parts of
    the port's name, USB serial number and place, `vid` and `pid` numbers (0x… or decimal). Raises
    CitynodeError for any other.
    """
    chosen = list(found)
    for text in filters:
        name, equals, value = text.partition("=")
        if name not in _FILTERS or not equals or not value:
            raise CitynodeError(
                f"--port-filter {text} is not KEY=VALUE", f"known keys are {', '.join(_FILTERS)}"
            )
        try:
            chosen = [port for port in chosen if _holds(port, name, value)]
        except ValueError:
            raise CitynodeError(
                f"--port-filter {name}: {value} is no number", "write 0x10c4 or 4292"
            ) from None
    return chosen


def _holds(port: Port, name: str, value: str) -> bool:
    if name in ("vid", "pid"):
        number = int(value, 0)
        vid, _, pid = (port.usb or "").partition(":")
        own = vid if name == "vid" else pid
        return bool(own) and int(own, 16) == number
    own = {"name": port.device, "serial": port.serial_number, "location": port.location}[name] or ""
    return value in own


def _check_url(item: str) -> None:
    if not item.lower().startswith("rfc2217://"):
        return
    try:
        address = urlsplit(item)
        if address.hostname and address.port:
            return
    except ValueError:
        pass
    raise CitynodeError(f"{item} names no host and port", "write rfc2217://HOST:PORT")


def _matching_files(pattern: str) -> set[str]:
    path = Path(pattern)
    try:
        return {str(found) for found in path.parent.glob(path.name)}
    except (OSError, ValueError):
        return set()


def check(port: str) -> None:
    """See whether a device can be opened, without opening it; raises LinkError."""
    if "://" in port or os.name != "posix":
        return
    if not os.path.exists(port):
        raise LinkError("no_port", port)
    if not stat.S_ISCHR(os.stat(port).st_mode):
        raise LinkError("not_serial", port)
    if not os.access(port, os.R_OK | os.W_OK):
        raise LinkError("permission", port)


@contextlib.contextmanager
def lock(port: str, *, within_s: float = 0.0) -> Iterator[None]:
    """Keep other citynode runs off a port for the whole job; raises LinkError.

    A job opens its port several times, and the system's own lock ends with each. `within_s` is how
    long to wait for who has it now.
    """
    folder = state_dir() / "locks"
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", key(port)).strip("_")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(folder / f"{name}.lock")
        held.acquire(timeout=within_s)
    except filelock.Timeout:
        raise LinkError("busy", port) from None
    except OSError as error:
        raise CitynodeError(
            f"cannot write {folder}: {error.strerror}",
            "make the folder writable, or set CITYNODE_STATE to one that is",
        ) from None
    try:
        yield
    finally:
        held.release()


def key(port: str) -> str:
    """Return what is the same for all names of a port."""
    return port.lower() if "://" in port else os.path.realpath(port)

"""Where the project's data and the MicroPython interpreter are, in a checkout and in a wheel."""

import os
import shutil
from pathlib import Path

from platformdirs import user_cache_path

from citynode.errors import CitynodeError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]


def _data(name: str) -> Path:
    packed = _PACKAGE / "_data" / name
    return packed if packed.is_dir() else _CHECKOUT / name


def firmware() -> Path:
    """Return the folder of the MicroPython firmware as it is deployed."""
    return _data("firmware")


def board_configs() -> Path:
    """Return the folder of the board files (TOML)."""
    return _data("board_configs")


def provisioning() -> Path:
    """Return the folder of profiles, schemas and codecs."""
    return _data("provisioning")


def upy() -> Path:
    """Return the folder of the modules that stand in for the ESP32's own on a virtual board."""
    return _PACKAGE / "virtual" / "upy"


def cache_dir() -> Path:
    """Return the cache folder: `CITYNODE_CACHE`, else `.cache` of a checkout, else the user's."""
    if given := os.environ.get("CITYNODE_CACHE"):
        return Path(given)
    if (_CHECKOUT / "pyproject.toml").is_file():
        return _CHECKOUT / ".cache"
    return user_cache_path("citynode")


def tool(name: str, variable: str) -> Path | None:
    """Find a program: the environment's `variable`, else `.cache`, else PATH; None if nowhere."""
    if given := os.environ.get(variable):
        return Path(given)
    unpacked = cache_dir() / "debs" / "bin" / name
    if unpacked.is_file():
        return unpacked
    found = shutil.which(name)
    return Path(found) if found else None


def micropython() -> Path:
    """Return the MicroPython unix interpreter (1.24 or newer) that virtual boards run."""
    found = tool("micropython", "CITYNODE_MICROPYTHON")
    if found is None or not found.is_file():
        raise CitynodeError(
            "no MicroPython interpreter found",
            "install MicroPython >= 1.24 (unix port) or set CITYNODE_MICROPYTHON to it; "
            "in a checkout './run' unpacks one",
        )
    return found

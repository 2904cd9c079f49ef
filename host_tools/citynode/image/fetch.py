"""MicroPython images from their makers, kept in the cache with the SHA-256 they had.

Nothing here goes to the network unless `fetch` is called, which only the verb of that name does.
"""

import hashlib
import os
import re
import ssl
import tempfile
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from citynode.errors import CitynodeError
from citynode.image.micropython import version_numbers
from citynode.resources import cache_dir

SITE = "https://micropython.org/resources/firmware/"
_TIMEOUT_S = 30.0
_LARGEST = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9_]+(-[A-Z0-9_]+)?")
_VERSION = re.compile(r"v\d+\.\d+\.\d+(-[a-z0-9.]+)?")

# The day in each file's name (micropython.org/download).
RELEASES = {
    "v1.20.0": "20230426",
    "v1.21.0": "20231005",
    "v1.22.0": "20231227",
    "v1.22.1": "20240105",
    "v1.22.2": "20240222",
    "v1.23.0": "20240602",
    "v1.24.0": "20241025",
    "v1.24.1": "20241129",
    "v1.25.0": "20250415",
    "v1.26.0": "20250809",
    "v1.26.1": "20250911",
    "v1.27.0": "20251209",
}
# Until v1.20 the files had other names.
_OLD_NAMES = {
    "ESP32_GENERIC": "esp32",
    "ESP32_GENERIC-SPIRAM": "esp32spiram",
    "ESP32_GENERIC_C3": "esp32c3",
    "ESP32_GENERIC_S3": "GENERIC_S3",
}

Opener = Callable[[str], AbstractContextManager[HTTPResponse]]


class FetchError(CitynodeError):
    """An image cannot be had, or is not the one that was meant."""


@dataclass(frozen=True)
class Fetched:
    """An image in the cache and its SHA-256 (hex)."""

    path: Path
    sha256: str


def url_of(build: str, version: str, date: str | None = None) -> str:
    """Return where the makers keep an image.

    `build` is their name of it (ESP32_GENERIC_S3-SPIRAM_OCT), `date` (YYYYMMDD) the day in the
    file's name, needed for versions that are not in `RELEASES`. Raises FetchError.
    """
    if not _NAME.fullmatch(build) or not _VERSION.fullmatch(version):
        raise FetchError(f"{build} {version} is no build of MicroPython", "write v1.25.0")
    day = date or RELEASES.get(version)
    if day is None or not re.fullmatch(r"\d{8}", day):
        raise FetchError(
            f"the day of MicroPython {version} is not known",
            "give --date as in the file's name on micropython.org/download (YYYYMMDD)",
        )
    name = _OLD_NAMES.get(build, build) if version_numbers(version) < (1, 21) else build
    return f"{SITE}{name}-{day}-{version}.bin"


def fetch(
    url: str, sha256: str | None = None, *, folder: Path | None = None, opener: Opener | None = None
) -> Fetched:
    """Load an image over HTTPS into the cache; one that is there and whole is not loaded again.

    With `sha256` (hex) the image has to have that. The file appears whole or not at all. Raises
    FetchError.
    """
    wanted = sha256.lower() if sha256 else None
    if wanted is not None and not re.fullmatch(r"[0-9a-f]{64}", wanted):
        raise FetchError("the SHA-256 does not have 64 hex digits", "copy it again")
    name = Path(urlsplit(url).path).name
    if urlsplit(url).scheme != "https" or not name.endswith(".bin"):
        raise FetchError(f"{url} is not an image over HTTPS", "give an https address of a .bin")
    home = folder or _folder()
    path = home / name
    known = _verified(path)
    if known is not None and wanted in (None, known):
        return Fetched(path, known)
    data = _download(url, opener or _open)
    found = hashlib.sha256(data).hexdigest()
    if wanted not in (None, found):
        raise FetchError(
            f"{name} has the SHA-256 {found}, not the one that was given",
            "compare with who gave it to you; nothing was kept",
        )
    if not data.startswith(b"\xe9"):
        raise FetchError(f"what {url} gives is no image of an ESP chip", "check the address")
    try:
        home.mkdir(parents=True, exist_ok=True)
        _write(path, data)
        _write(_record(path), f"{found}  {name}\n".encode())
    except OSError as error:
        raise FetchError(
            f"cannot write {path}: {error.strerror}", "make the cache folder writable"
        ) from error
    return Fetched(path, found)


def find(build: str, version: str | None = None, *, folder: Path | None = None) -> Fetched:
    """Return the image of a build in the cache, the newest if no version is asked for.

    Raises FetchError when there is none, or its bytes are not those that were fetched.
    """
    found = kept(build, version, folder=folder)
    if not found:
        what = f"MicroPython {version}" if version else "MicroPython"
        raise FetchError(
            f"there is no {what} for {build} in the cache",
            f"run 'citynode image fetch --build {build} --version {version or 'v1.25.0'}', "
            "or give --image a file",
        )
    path = found[max(found)]
    sha256 = _verified(path)
    if sha256 is None:
        raise FetchError(f"{path} is not what was fetched", "delete it and fetch it again")
    return Fetched(path, sha256)


def kept(
    build: str, version: str | None = None, *, folder: Path | None = None
) -> dict[tuple[tuple[int, ...], str], Path]:
    """Return the files in the cache for a build, by version and day, whole or not."""
    names = {build, _OLD_NAMES.get(build, build)}
    pattern = re.compile(rf"({'|'.join(map(re.escape, names))})-(\d{{8}})-(v[^/]+)\.bin")
    found = {}
    for path in (folder or _folder()).glob("*.bin"):
        match = pattern.fullmatch(path.name)
        if match and version in (None, match[3]):
            found[version_numbers(match[3]), match[2]] = path
    return found


def _folder() -> Path:
    return cache_dir() / "firmware"


def _record(path: Path) -> Path:
    return path.with_suffix(".bin.sha256")


def _verified(path: Path) -> str | None:
    """Return the SHA-256 of a file in the cache if it is the one that was noted."""
    try:
        noted = _record(path).read_text(encoding="ascii").split()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, UnicodeError):
        return None
    return found if noted[:1] == [found] else None


def _download(url: str, opener: Opener) -> bytes:
    try:
        with opener(url) as response:
            data = response.read(_LARGEST + 1)
            length = response.headers.get("Content-Length")
    except (OSError, HTTPException, ValueError) as error:
        raise FetchError(
            f"cannot load {url}: {error}", "check the connection, or give --image a file"
        ) from error
    if len(data) > _LARGEST or (length is not None and length != str(len(data))):
        raise FetchError(f"what {url} gives is cut off or too large", "try again")
    return data


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if urlsplit(newurl).scheme != "https":
            raise OSError(f"it sends us to {newurl}, which is not HTTPS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def https(context: ssl.SSLContext) -> Opener:
    """Return what opens addresses over HTTPS alone, trusting whom `context` trusts."""
    director = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _OnlyHttps(),
    ):
        director.add_handler(handler)
    director.addheaders = [("User-Agent", "citynode")]
    return lambda url: cast(HTTPResponse, director.open(url, timeout=_TIMEOUT_S))


def _open(url: str) -> AbstractContextManager[HTTPResponse]:
    return https(ssl.create_default_context())(url)


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise

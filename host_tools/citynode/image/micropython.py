"""What a MicroPython image says about itself.

The app descriptor of its ESP32 builds has neither version nor project (`sdkconfig.base` leaves both
out), so what counts is the text that the REPL greets with.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from citynode.image.esp_image import Image, Segment

_VERSION = re.compile(rb"MicroPython (v\d[\x21-\x7e]{1,40}) on (\d{4}-\d\d-\d\d)")
# The machine is a string of its own: name and chip, as `os.uname()` has it.
_MACHINE = re.compile(rb"\0(?:; )?([\x20-\x7e]{2,80}? with ESP32[\x20-\x7e]{0,12})\0")
_NUMBERS = re.compile(r"v(\d+)\.(\d+)(?:\.(\d+))?")

RUNTIME_VFS = (1, 26)  # from here on the file system's partition is made when the app starts


@dataclass(frozen=True)
class MicroPython:
    """Version (with its v), date of the build, and name of the machine ("" if none is found)."""

    version: str
    built: str
    machine: str

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers: (1, 25, 0)."""
        return version_numbers(self.version)


def version_numbers(version: str) -> tuple[int, ...]:
    """Return (major, minor, patch) of a text like v1.25.0-preview.3; () if it is none."""
    found = _NUMBERS.match(version)
    return tuple(int(each or 0) for each in found.groups()) if found else ()


def identify(image: Image | Sequence[Segment]) -> MicroPython | None:
    """Find out which MicroPython an app is; None if it is none."""
    segments = image.segments if isinstance(image, Image) else image
    for segment in segments:
        found = _VERSION.search(segment.data)
        if found is not None:
            machine = _MACHINE.search(segment.data)
            return MicroPython(
                found[1].decode("ascii"),
                found[2].decode("ascii"),
                machine[1].decode("ascii") if machine else "",
            )
    return None

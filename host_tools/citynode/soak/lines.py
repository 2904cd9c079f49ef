"""What a board says on its serial port, line by line, whatever noise is on it."""

import re
from dataclasses import dataclass

_LINE = re.compile(r"([DIWE]) (\d{1,10})\.(\d{3}) ([a-z0-9_]{1,16}): (.*)")
_START = re.compile(r"citynode (\S+) node (\S+) reset (\S+)")
_ROM = re.compile(r"rst:0x[0-9a-f]+ \((\w+)\)")
_MAX_LINE = 1024

LEVELS = {"D": "debug", "I": "info", "W": "warning", "E": "error"}


@dataclass(frozen=True)
class Line:
    """A line of the node's log; `uptime_ms` since the start of its program."""

    level: str
    uptime_ms: int
    tag: str
    text: str

    @property
    def frame(self) -> bytes | None:
        """The frame of a record that the node has accepted, if the line is about one."""
        if self.tag != "frame":
            return None
        try:
            return bytes.fromhex(self.text)
        except ValueError:
            return None

    @property
    def start(self) -> tuple[str, str, str] | None:
        """Version, node id and reset cause, if the line is the first of a program."""
        found = _START.fullmatch(self.text) if self.tag == "app" else None
        return (found[1], found[2], found[3]) if found else None


def parse(text: str) -> Line | None:
    """Return the line of a node's log that `text` is; None if it is none."""
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    return Line(found[1], int(found[2]) * 1000 + int(found[3]), found[4], found[5])


def rom_reset(text: str) -> str | None:
    """Return the ROM's name of the cause, if `text` is its line about a reset."""
    found = _ROM.search(text)
    return found[1] if found else None


class Splitter:
    """Makes lines of bytes as they come; a line has a limit, bytes that are no text are marked."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now, without their ends."""
        *lines, rest = (self._rest + data).split(b"\n")
        while len(rest) > _MAX_LINE:
            lines.append(rest[:_MAX_LINE])
            rest = rest[_MAX_LINE:]
        self._rest = rest
        return [line.rstrip(b"\r").decode("utf-8", "backslashreplace") for line in lines]

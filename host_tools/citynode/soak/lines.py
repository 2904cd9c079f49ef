"""What a board says on its serial port, line by line, whatever noise is on it."""

import re
from dataclasses import dataclass
from enum import Enum

_LINE = re.compile(r"([DIWE]) (\d{1,10})\.(\d{3}) ([a-z0-9_]{1,16}): (.*)")
_START = re.compile(r"citynode (\S+) node (\S+) reset (\S+)")
_ROM = re.compile(r"rst:0x[0-9a-f]+ \((\w+)\)")
_IDF = re.compile(r"([VDIWE]) \((?:\d+|[\d:.]+)\) [^:]{1,40}: .*")
# A colour that ESP-IDF gives a line; nothing that moves a cursor.
_COLOUR = re.compile(r"\x1b\[[0-9;]{0,16}m")

# What ROM and second stage print when all is well, as recorded on ESP32, S2, S3, C3 and C6.
_BOOT = re.compile(
    r"ets [A-Z][a-z]{2} +\d{1,2} \d{4}\b.*|ESP-ROM:.*|Build:.*|rst:0x.*|configsip: .*"
    r"|clk_drv:0x.*|SPIWP:0x.*|mode:[A-Z ]+, clock div:\d+|load:0x.*|entry 0x.*|ho \d+ tail \d+.*"
    r"|(?:Core\d )?Saved PC:0x.*|Octal (?:Flash|PSRAM) Mode.*|For OPI Flash.*"
    r"|waiting for download"
)
# What they print when it is not, and what is printed when a program dies.
_TROUBLE = re.compile(
    r"invalid header: 0x.*|flash read err.*|csum err:.*|Checksum failure.*|ets_main\.c \d+.*"
    r"|SHA-256 comparison failed.*|Attempting to boot anyway.*|Guru Meditation Error.*"
    r"|assert failed: .*|abort\(\) was called.*|Backtrace: ?0x.*"
    r"|Brownout detector.*|Rebooting\.\.\."
    r"|\*\*\*ERROR\*\*\* A stack overflow.*|Traceback \(most recent call last\):"
)

LEVELS = {"D": "debug", "I": "info", "W": "warning", "E": "error"}


class Voice(Enum):
    """Who speaks in a line."""

    NODE = "node"
    IDF = "idf"
    BOOT = "boot"
    TROUBLE = "trouble"
    OTHER = "other"


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


def voice(text: str) -> tuple[Voice, str]:
    """Return who speaks in a line, and the letter of its level ("" where it has none)."""
    if found := _LINE.fullmatch(text) or _IDF.fullmatch(text):
        return (Voice.NODE if found.re is _LINE else Voice.IDF), found[1]
    if _BOOT.fullmatch(text):
        return Voice.BOOT, ""
    return (Voice.TROUBLE if _TROUBLE.fullmatch(text) else Voice.OTHER), ""


def printable(text: str) -> str:
    """Return a line that cannot drive a terminal: colours are left out, the rest is written out.

    That goes for all control characters but the tab, and for those that turn the direction of
    writing or are not seen.
    """
    text = _COLOUR.sub("", text)
    if text.isprintable():
        return text
    return "".join(
        each if each == "\t" or each.isprintable() else each.encode("unicode_escape").decode()
        for each in text
    )

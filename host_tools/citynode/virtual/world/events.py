"""The event log: what has happened on a rack, a line for each event, in order.

A line is the time (ns of the engine's clock), the board (or the station on the air), the kind and
its details, with blanks between them:

```
1500042310 esp32-devkit-0 boot poweron
1500042310 esp32-devkit-0 out rst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)
9000000000 node sent 1 868100000 SF7 14 dBm 40a1b2c3…
```
"""

from pathlib import Path
from typing import TextIO

from citynode.virtual.air.stations import Event
from citynode.virtual.world.clock import Clock


class EventLog:
    """Keeps what it is told in `lines`, or writes it to the file `path` instead."""

    def __init__(self, clock: Clock, path: Path | None = None) -> None:
        self.lines: list[str] = []
        self._clock = clock
        self._path = path
        self._file: TextIO | None = None
        self._partial: dict[str, bytearray] = {}

    def note(self, who: str, kind: str, detail: str = "", at_ns: int | None = None) -> None:
        """Write down an event of now, or of a time that was given."""
        at = self._clock.now_ns() if at_ns is None else at_ns
        line = f"{at} {who} {kind} {detail}".rstrip()
        if self._path is None:
            self.lines.append(line)
            return
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8")
        self._file.write(line + "\n")

    def output(self, who: str, data: bytes) -> None:
        """Write down what a board has sent at its serial port: "out" for each whole line."""
        text = self._partial.setdefault(who, bytearray())
        text += data
        *lines, rest = text.split(b"\n")
        for line in lines:
            self.note(who, "out", _printable(line))
        text[:] = rest

    def end_output(self, who: str) -> None:
        """Write down the line that a board has begun and will not end."""
        text = self._partial.pop(who, None)
        if text:
            self.note(who, "out", _printable(text))

    def on_air(self, event: Event) -> None:
        """Write down what has happened on the air."""
        frame = event.frame
        what = f"{frame.number}"
        if event.kind == "sent":
            m = frame.modulation
            what += f" {m.freq_hz} Hz SF{m.sf} {m.bw_hz} Hz {frame.power_dbm:g} dBm"
            what += f" until {frame.end_ns} {frame.payload.hex()}"
        else:
            what += f" of {frame.sender} {event.reason}".rstrip()
        self.note(event.receiver or frame.sender, event.kind, what, event.at_ns)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _printable(line: bytes | bytearray) -> str:
    text = line.rstrip(b"\r").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)

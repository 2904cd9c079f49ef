"""How lines of boards look: for people with colours, as JSON for programs, as text in a file."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Literal, Protocol

from rich.console import Console
from rich.text import Text

from citynode.errors import CitynodeError
from citynode.frames import Record, decode
from citynode.soak.lines import LEVELS, Line, Voice, parse, printable, voice
from citynode.wire.frame import FrameError

_LEVELS = {"V": "dim", "D": "dim", "I": "", "W": "yellow", "E": "bold red"}
_PORTS = ("cyan", "magenta", "blue", "green", "bright_cyan", "bright_magenta")
_NOTICES = {
    "gone": "went away; waiting until it is back",
    "back": "is back",
    "full": "lines were not shown: they came faster than they could be",
}


@dataclass(frozen=True)
class Said:
    """What came from a port, `at` in Unix seconds: a line, or "gone", "back", "full" about it."""

    at: float
    port: str
    kind: str
    text: str = ""


class View(Protocol):
    """Somebody who is shown all that comes."""

    def show(self, said: Said) -> None:
        """Show it."""


def short_names(ports: Sequence[str]) -> dict[str, str]:
    """Return a short name for each port: without its folder or scheme where that is clear."""
    names = {
        port: port.partition("://")[2] if "://" in port else Path(port).name or port
        for port in ports
    }
    clear = len(set(names.values())) == len(names)
    return names if clear else {port: port for port in ports}


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).isoformat(" ", "milliseconds")


def _notice(said: Said) -> str:
    return f"{said.text} {_NOTICES[said.kind]}".lstrip()


def _console(*, stderr: bool = False) -> Console:
    # With NO_COLOR Rich would go on to write bold and dim.
    system: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(stderr=stderr, soft_wrap=True, highlight=False, color_system=system)


def _records(line: Line) -> tuple[list[Record], str]:
    """Return the records in a line about a frame, or what is wrong with it."""
    frame = line.frame
    try:
        return ([], "not hex") if frame is None else (decode(frame), "")
    except FrameError as error:
        return [], str(error)


class People:
    """Lines on a terminal, or anything that takes text; notices go to stderr."""

    def __init__(self, ports: Sequence[str], *, times: bool, raw: bool) -> None:
        self._out = _console()
        self._aside = _console(stderr=True)
        self._names = short_names(ports)
        self._times = times
        self._raw = raw

    def show(self, said: Said) -> None:
        """Print a line or a notice."""
        if said.kind == "line":
            self._out.print(self._head(said) + self._body(said.text), soft_wrap=True)
        else:
            self.say(f"{self._names[said.port]}: {_notice(said)}")

    def say(self, text: str) -> None:
        """Print a notice of ours."""
        self._aside.print(Text(f"--- {text}", style="yellow"), soft_wrap=True)

    def _head(self, said: Said) -> Text:
        head = Text()
        if len(self._names) > 1:
            place = list(self._names).index(said.port)
            width = max(map(len, self._names.values()))
            head.append(f"{self._names[said.port]:{width}} ", _PORTS[place % len(_PORTS)])
        if self._times:
            head.append(f"{_clock(said.at)} ", "dim")
        return head

    def _body(self, text: str) -> Text:
        text = printable(text)
        who, level = voice(text)
        line = parse(text)
        if line is not None and line.tag == "frame" and not self._raw:
            start = text[: len(text) - len(line.text)]
            records, wrong = _records(line)
            if wrong:
                return Text.assemble(start, (f"{line.text} ({wrong})", _LEVELS["E"]))
            body = Text().append(start, "dim")
            for number, record in enumerate(records):
                if number:  # of a batch: one below the other
                    body.append("\n" + " " * len(start))
                name, _, rest = str(record).partition(" ")
                style = "yellow" if record.faults else "cyan"
                body.append(name, f"bold {style}").append(f" {rest}", style)
            return body
        if who is Voice.BOOT:
            return Text(text, "dim")
        if who is Voice.TROUBLE:
            return Text(text, "red")
        if level == "I":
            start, colon, rest = text.partition(":")
            return Text.assemble((start + colon, "green"), rest)
        return Text(text, _LEVELS.get(level, ""))


class Machines:
    """One JSON object per line, ASCII only; a frame becomes one per record."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw

    def show(self, said: Said) -> None:
        """Print what came."""
        for event, facts in self._events(said):
            known = {"at": round(said.at, 3), "event": event, "port": said.port}
            print(json.dumps({**known, **facts}), flush=True)

    def _events(self, said: Said) -> list[tuple[str, dict[str, object]]]:
        if said.kind == "full":
            return [("lines dropped", {"count": int(said.text)})]
        if said.kind != "line":
            return [(f"port {said.kind}", {})]
        text = printable(said.text)
        line = parse(text)
        if line is None:
            who, level = voice(text)
            levelled = {"level": LEVELS.get(level, "verbose")} if level else {}
            return [(who.value, {**levelled, "text": text})]
        facts = {"level": LEVELS[line.level], "uptime_s": line.uptime_ms / 1000}
        if line.tag == "frame" and not self._raw:
            records, wrong = _records(line)
            if not wrong:
                return [("record", {**facts, **record.to_json()}) for record in records]
            return [("bad frame", {**facts, "text": line.text, "error": wrong})]
        return [(Voice.NODE.value, {**facts, "tag": line.tag, "text": line.text})]


class LogFile:
    """All lines with time and port, as the boards sent them: `citynode decode` reads its frames."""

    def __init__(self, path: Path) -> None:
        self._file: IO[str] | None
        try:
            self._file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise CitynodeError(
                f"cannot write {path}: {error.strerror}", "give --log another file"
            ) from None

    def show(self, said: Said) -> None:
        """Write a line; raises CitynodeError once when that fails, and is silent from then on."""
        if self._file is None:
            return
        text = printable(said.text) if said.kind == "line" else f"--- {_notice(said)}"
        try:
            self._file.write(f"{_clock(said.at)} {said.port} {text}\n")
        except OSError as error:
            self.close()
            raise CitynodeError(
                f"the log ends here: {error.strerror}", "make room, then start again"
            ) from None

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):  # what could not be written has been told of
                file.close()

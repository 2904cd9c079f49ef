"""What `citynode decode` is given: files, stdin and arguments, as frames and uplink events."""

import base64
import binascii
import re
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from citynode.errors import CitynodeError
from citynode.fleet.events import EventError, Uplink, documents, uplink

_LOGGED = re.compile(r"\bframe: *(\S.*?)\s*$")
_MAX_INPUT = 64 << 20


class Format(StrEnum):
    """How the frames are written."""

    AUTO = "auto"
    HEX = "hex"
    BASE64 = "base64"
    LOG = "log"
    JSON = "json"
    BINARY = "binary"


class BadInputError(ValueError):
    """Text that is not what its format says."""


# Where it is from, and the bytes, the uplink, or in place of what is neither, why.
Found = tuple[str, bytes | Uplink | BadInputError]


def read(inputs: list[str], form: Format) -> Iterator[Found]:
    """Yield every frame of the inputs."""
    for number, given in enumerate(inputs, 1):
        if given == "-":
            yield from _from_bytes("stdin", sys.stdin.buffer.read(_MAX_INPUT + 1), form)
        elif _is_file(given):
            yield from _from_bytes(given, _contents(Path(given)), form)
        elif form is Format.BINARY:
            raise CitynodeError(f"no such file: {given}")
        elif _is_json(given, form):
            yield from _from_json(f"input {number}", given)
        else:
            where = f"input {number}"
            yield from _from_lines(where, [(where, given)], form)


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):  # a long frame is no file name
        return False


def _contents(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_INPUT + 1)
    except OSError as error:
        raise CitynodeError(f"cannot read {path}: {error.strerror}") from None


def _from_bytes(where: str, data: bytes, form: Format) -> Iterator[Found]:
    """Yield the frames of a file: the file itself when it is binary, else those in its text."""
    if len(data) > _MAX_INPUT:
        raise CitynodeError(f"{where} is larger than {_MAX_INPUT >> 20} MiB", "split it")
    # A frame starts with the head of a CBOR array, a byte that no UTF-8 text starts with.
    # A log may start anywhere in a boot message, and hold whatever noise was on the line.
    binary = 0x80 <= data[0] <= 0xBF if data else False
    if form is Format.BINARY or (form is Format.AUTO and binary and b"frame: " not in data):
        yield where, data
        return
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    if _is_json(text, form):
        yield from _from_json(where, text)
        return
    lines = enumerate(text.splitlines(), 1)
    yield from _from_lines(where, [(f"{where}:{n}", line) for n, line in lines], form)


def _is_json(text: str, form: Format) -> bool:
    return form is Format.JSON or (form is Format.AUTO and text.lstrip()[:1] in ("{", "["))


def _from_json(where: str, text: str) -> Iterator[Found]:
    """Yield the uplinks of a JSON document or stream; where it is neither, of its single lines."""
    try:
        events = [(where, event) for event in documents(text)]
    except EventError as error:
        lines = [line for line in enumerate(text.splitlines(), 1) if line[1].strip()]
        if len(lines) < 2:
            yield where, BadInputError(f"{error}: {_short(text.strip())}")
            return
        for number, line in lines:
            place = f"{where}:{number}"
            try:
                events = [(place, event) for event in documents(line)]
            except EventError as why:
                yield place, BadInputError(f"{why}: {_short(line.strip())}")
            else:
                yield from _from_events(events)
        return
    if len(events) > 1:
        events = [(f"{where}, event {n}", event) for n, (_, event) in enumerate(events, 1)]
    yield from _from_events(events)


def _from_events(events: list[tuple[str, object]]) -> Iterator[Found]:
    for place, event in events:
        try:
            found = uplink(event)
        except EventError as error:
            yield place, BadInputError(str(error))
        else:
            if found is not None:
                yield place, found


def _from_lines(where: str, lines: list[tuple[str, str]], form: Format) -> Iterator[Found]:
    logged = [(place, m[1]) for place, line in lines if (m := _LOGGED.search(line))]
    if form is Format.LOG or (form is Format.AUTO and logged):
        lines, form = logged, Format.HEX
    for place, line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            yield place, _parse(text, form)
        except BadInputError as error:
            yield place, error


def _parse(text: str, form: Format) -> bytes:
    """Turn one line into bytes. Hex goes first: no frame's base64 starts with a hex digit."""
    if form is not Format.BASE64:
        digits = re.sub(r"0[xX]|[\s:,-]", "", text)
        try:
            return bytes.fromhex(digits)
        except ValueError:
            if form is Format.HEX:
                raise BadInputError(f"not hex: {_short(text)}") from None
    letters = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        kinds = "base64" if form is Format.BASE64 else "hex, base64 or a file"
        raise BadInputError(f"not {kinds}: {_short(text)}") from None


def _short(text: str) -> str:
    text = ascii(text)[1:-1]
    return text if len(text) <= 40 else text[:37] + "..."

"""Listening to a port: its bytes as lines, for as long as it takes, without touching the board."""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import cast

import serial

from citynode.link.errors import LinkError
from citynode.link.serialio import PortError, open_port

BAUD = 115200
MAX_LINE = 1024

_READ_S = 0.2
_READ_BYTES = 4096
_RETRY_S = 1.0
_RESET_S = 0.1

# What pyserial lets through when a device goes away at the wrong moment.
_LOST: tuple[type[Exception], ...] = (OSError,)
with contextlib.suppress(ImportError):
    import termios

    _LOST = (OSError, termios.error)


class Splitter:
    """Makes lines of bytes as they come; a line has a limit, bytes that are no text are marked."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now, without their ends; long ones in pieces."""
        *ended, rest = (self._rest + data).split(b"\n")
        pieces = [piece for line in ended for piece in _pieces(line.rstrip(b"\r"))]
        *full, self._rest = _pieces(rest)
        return [_text(piece) for piece in pieces + full]

    def take(self) -> str:
        """Return what has come of a line that has not ended, and forget it."""
        rest, self._rest = self._rest, b""
        return _text(rest.rstrip(b"\r"))


def _pieces(line: bytes) -> list[bytes]:
    return [line[at : at + MAX_LINE] for at in range(0, len(line), MAX_LINE)] or [b""]


def _text(line: bytes) -> str:
    return line.decode("utf-8", "backslashreplace")


def open_listening(port: str, baud: int = BAUD) -> serial.SerialBase:
    """Open a port to listen; the lines that reset a board stay as they are. Raises LinkError."""
    try:
        return open_port(port, baud, _READ_S, leave_lines=True)
    except PortError as error:
        raise LinkError(error.kind, port, str(error)) from None
    except _LOST as error:
        raise LinkError("lost", port, str(error)) from None


def read_lines(
    port: str,
    stop: threading.Event,
    on_line: Callable[[str], None],
    on_change: Callable[[str], None] = lambda _: None,
    line: serial.SerialBase | None = None,
    *,
    baud: int = BAUD,
    patience_s: float | None = None,
) -> None:
    """Pass on a port's lines until `stop` is set; opens it again whenever it goes away.

    `on_change` gets "gone" and "back". With `patience_s` the beginning of a line is passed on as
    one when nothing follows for so long: a prompt has no end.
    """
    while not stop.is_set():
        if line is None:
            try:
                line = open_listening(port, baud)
            except LinkError:
                stop.wait(_RETRY_S)
                continue
            on_change("back")
        try:
            _listen(line, stop, on_line, patience_s)
        except _LOST:
            on_change("gone")
        finally:
            with contextlib.suppress(*_LOST):
                line.close()
            line = None


def _listen(
    line: serial.SerialBase,
    stop: threading.Event,
    on_line: Callable[[str], None],
    patience_s: float | None,
) -> None:
    splitter = Splitter()
    heard = time.monotonic()
    waiting = False
    try:
        while not stop.is_set():
            data = line.read(1)
            if data:
                more = cast(int, line.in_waiting)  # type: ignore[attr-defined]
                data += line.read(min(more, _READ_BYTES))
                heard, waiting = time.monotonic(), True
            for text in splitter.feed(data):
                on_line(text)
            if waiting and patience_s is not None and time.monotonic() - heard >= patience_s:
                waiting = False
                if rest := splitter.take():
                    on_line(rest)
    finally:
        if patience_s is not None and (rest := splitter.take()):
            on_line(rest)


def reset(port: str, line: serial.SerialBase) -> None:
    """Pull EN low for a moment by RTS, with IO0 high: the board starts anew. Raises LinkError.

    Both lines end asserted, as the system sets them at opening: EN and IO0 are high then, and a
    board with a USB of its own takes the host for present.
    """
    try:
        line.dtr = False
        line.rts = True
        line.dtr = False  # Windows passes RTS on with a change of DTR only
        time.sleep(_RESET_S)
        line.rts = False
        line.dtr = False
        time.sleep(_RESET_S)  # IO0 is looked at while EN rises
        line.dtr = True
        line.rts = True
    except _LOST as error:
        raise LinkError("no_lines", port, str(error)) from None

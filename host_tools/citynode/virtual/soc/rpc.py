"""Calls from the interpreter to the models of the chip, over a stream socket.

A message is its length (u32, little-endian) and that many bytes. A request is a sequence number
(u8), the length of the JSON part (u32), a JSON list `[name, argument, …]` and the bytes that
arguments `{"b": length}` stand for, in order; an answer has a status byte (0 value, 1 OSError,
2 another exception) behind the number and one JSON value. JSON, because both sides have a C parser
for it: a call takes a fraction of a millisecond.
"""

import json
import socket
import struct
from collections.abc import Callable

Value = None | bool | int | float | str | bytes | list["Value"] | tuple["Value", ...]
Handler = Callable[..., Value]

_MESSAGE_LIMIT = 1 << 24  # bytes; a whole flash of 16 MiB never goes over in one call
_VALUE, _OS_ERROR, _ERROR = range(3)


class HardwareError(Exception):
    """A Python exception that the chip's MicroPython raises, by the name of its built-in type."""

    def __init__(self, type_name: str, text: str = "") -> None:
        super().__init__(type_name, text)
        self.type_name = type_name
        self.text = text


class Server:
    """The host's end of one interpreter's calls.

    `receive` reads what has come and answers all whole requests in it; False means that the other
    end is gone or has broken the format.
    """

    def __init__(self, sock: socket.socket, handlers: dict[str, Handler]) -> None:
        self._sock = sock
        self._handlers = handlers
        self._input = bytearray()

    def receive(self) -> bool:
        """Answer what can be read without waiting."""
        try:
            data = self._sock.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._input += data
        while len(self._input) >= 4:
            (length,) = struct.unpack_from("<I", self._input)
            if not 5 <= length <= _MESSAGE_LIMIT:
                return False
            if len(self._input) < 4 + length:
                break
            message = bytes(self._input[4 : 4 + length])
            del self._input[: 4 + length]
            if not self._answer(message):
                return False
        return bool(data)

    def _answer(self, message: bytes) -> bool:
        number, size = struct.unpack_from("<BI", message)
        status, value = perform(self._handlers, message[5 : 5 + size], message[5 + size :])
        text, blob = encode(value)
        answer = struct.pack("<IBBI", 6 + len(text) + len(blob), number, status, len(text))
        try:
            # The interpreter waits for this answer, so the socket has room or the end is gone.
            self._sock.setblocking(True)
            self._sock.settimeout(5)
            self._sock.sendall(answer + text + blob)
            self._sock.setblocking(False)
        except OSError:
            return False
        return True


def perform(handlers: dict[str, Handler], text: bytes, blob: bytes) -> tuple[int, Value]:
    """Make the call of a request (its JSON and its bytes); return the answer's status and value."""
    try:
        name, *arguments = json.loads(text)
        if b"{" in text:
            arguments = _fill(arguments, blob)
        handler = handlers[name]
    except (ValueError, KeyError, TypeError):
        # Only a broken module of the virtual board's own gets here.
        name = text.decode(errors="replace")[:80]
        return _ERROR, ["RuntimeError", f"no such call: {name}"]
    try:
        return _VALUE, handler(*arguments)
    except HardwareError as error:
        return _ERROR, [error.type_name, error.text]
    except OSError as error:
        return _OS_ERROR, error.errno or 5
    except (TypeError, ValueError, OverflowError) as error:
        # An argument of a kind or size that the hardware has no use for: as in the port, it is
        # the program that hears of it.
        return _ERROR, [type(error).__name__, str(error)]


_to_json = json.JSONEncoder(separators=(",", ":")).encode


def encode(value: Value) -> tuple[bytes, bytes]:
    """Return the JSON and the bytes of a value."""
    if isinstance(value, bytes):
        return b'{"b":%d}' % len(value), value
    blob = bytearray()
    return _to_json(_mark(value, blob)).encode(), bytes(blob)


def _fill(arguments: list[object], blob: bytes) -> list[object]:
    """Put the bytes in where the marks are."""
    filled: list[object] = []
    at = 0
    for argument in arguments:
        if isinstance(argument, dict):
            size = int(argument["b"])
            filled.append(blob[at : at + size])
            at += size
        else:
            filled.append(argument)
    return filled


def _mark(value: Value, blob: bytearray) -> object:
    """Move bytes out of a value, leaving marks."""
    if isinstance(value, bytes | bytearray | memoryview):
        blob += value
        return {"b": len(value)}
    if isinstance(value, list | tuple):
        return [_mark(item, blob) for item in value]
    return value

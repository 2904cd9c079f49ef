"""The program that drives one board's REPL with mpremote's or ampy's library."""

import ast
import contextlib
import time
from typing import Any, Protocol

import serial
from ampy.files import Files
from ampy.pyboard import Pyboard, PyboardError
from mpremote.transport import TransportError, TransportExecError
from mpremote.transport_serial import SerialTransport

from citynode.link.channel import Failure, Handler, Progress, serve
from citynode.link.serialio import PortError, open_port

_BAUD = 115200
_RESET = "import machine\nmachine.reset()"
_PAUSE_S = 0.5
_LOOK_S = 0.02
_READ_S = 5.0  # for single reads; the tools' own would wait for ever
_ENTER_S = 3.0  # for each step into the raw REPL; what is sent while a board starts is lost
_TO_PROMPT = b"\r\x03\x02"  # out of a program, out of the raw REPL
_PROMPT = b">>> "
_PASSING = ("no_port", "busy", "lost")  # what may be over in a moment


class _Transport(Protocol):
    def enter(self) -> None: ...
    def run(self, code: str) -> str: ...
    def put(self, path: str, data: bytes, report: Progress) -> None: ...
    def restart(self) -> None: ...
    def close(self) -> None: ...


class _Mpremote:
    """MicroPython's own tool."""

    def __init__(self, port: str) -> None:
        self._link: Any = SerialTransport(port, _BAUD, timeout=_READ_S)

    def enter(self) -> None:
        self._link.enter_raw_repl(soft_reset=True, timeout_overall=_ENTER_S)

    def run(self, code: str) -> str:
        output: bytes = self._link.exec(code)
        return output.decode("utf-8", "replace")

    def put(self, path: str, data: bytes, report: Progress) -> None:
        self._link.fs_writefile(path, data, progress_callback=report)

    def restart(self) -> None:
        self._link.exec_raw_no_follow(_RESET)

    def close(self) -> None:
        self._link.close()


class _Ampy:
    """Adafruit's tool: ports of this machine only."""

    def __init__(self, port: str) -> None:
        if "://" in port:
            raise Failure("local_only")
        self._link: Any = Pyboard(port, _BAUD)
        self._link.serial.timeout = _READ_S

    def enter(self) -> None:
        # ampy waits for a minute if the board is still starting and does not hear it.
        line = self._link.serial
        line.write(_TO_PROMPT)
        said, end = b"", time.monotonic() + _ENTER_S
        while not said.endswith(_PROMPT):
            if time.monotonic() > end:
                raise PyboardError("no prompt")
            said += line.read(line.in_waiting)
            time.sleep(_LOOK_S)
        self._link.enter_raw_repl()

    def run(self, code: str) -> str:
        output: bytes = self._link.exec_(code)
        return output.decode("utf-8", "replace")

    def put(self, path: str, data: bytes, report: Progress) -> None:
        Files(self._link).put(path, data)
        self._link.enter_raw_repl()
        report(len(data), len(data))

    def restart(self) -> None:
        self._link.exec_raw_no_follow(_RESET)

    def close(self) -> None:
        self._link.close()


class Repl:
    """One board in its raw REPL."""

    def __init__(self) -> None:
        self._link: _Transport | None = None

    def connect(self, report: Progress, port: str, transport: str, within_s: float) -> None:
        """Stop what runs on the board and enter the raw REPL.

        The board may still be starting. One that is its own USB device is away meanwhile, and the
        system may look at it first when it is back.
        """
        self.close(report)
        end = time.monotonic() + within_s
        while True:
            try:
                if self._link is None:
                    self._link = self._reach(port, transport)
                self._link.enter()
                self._link.run("pass")  # what the board still had to say has been read after this
                return
            except (TransportError, PyboardError):
                failure: Exception = Failure("no_repl")
            except PortError as error:
                if error.kind not in _PASSING:
                    raise
                failure = error
            except OSError as error:
                self.close(report)
                failure = PortError("lost", str(error))
            if time.monotonic() > end:
                self.close(report)
                raise failure from None
            report(0, 0)
            time.sleep(_PAUSE_S)

    def _reach(self, port: str, transport: str) -> _Transport:
        if transport != "ampy" or "://" not in port:
            # The tools hide why a port cannot be opened.
            open_port(port, _BAUD).close()
        return _Ampy(port) if transport == "ampy" else _Mpremote(port)

    def run(self, report: Progress, code: str) -> str:
        """Run a program and return what it printed."""
        return self._open().run(code)

    def value(self, report: Progress, code: str) -> object:
        """Run a program that prints one literal, and return that."""
        return ast.literal_eval(self._open().run(code).strip())

    def put(self, report: Progress, path: str, data: bytes) -> None:
        """Write a file: complete under its name, or as it was."""
        link = self._open()
        link.put(path + ".new", data, report)
        link.run(f"import os\nos.rename({path + '.new'!r}, {path!r})")

    def restart(self, report: Progress) -> None:
        """Reset the board and let go of the port."""
        self._open().restart()
        time.sleep(_PAUSE_S)  # the command has to be read before the port's lines change
        self.close(report)

    def close(self, report: Progress) -> None:
        """Let go of the port."""
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.close()
            self._link = None

    def _open(self) -> _Transport:
        if self._link is None:
            raise Failure("no_repl")
        return self._link

    def handlers(self) -> dict[str, Handler]:
        """Return what the parent may call."""
        return {
            "connect": self.connect,
            "run": self.run,
            "value": self.value,
            "put": self.put,
            "restart": self.restart,
            "close": self.close,
        }


def classify(error: BaseException) -> tuple[str, str]:
    """Tell which kind of failure an exception of the tools is."""
    if isinstance(error, PortError):
        return error.kind, str(error)
    if isinstance(error, TransportExecError):
        return "program", _last_line(error.error_output)
    if isinstance(error, PyboardError) and len(error.args) == 3:
        return "program", _last_line(error.args[2].decode("utf-8", "replace"))
    if isinstance(error, TransportError | PyboardError):
        return "no_repl", ""
    if isinstance(error, serial.SerialException | OSError):
        return "lost", str(error)
    return "program", f"nothing that makes sense ({type(error).__name__})"


def _last_line(traceback: str) -> str:
    """Return the exception of a traceback; its other lines may quote the program."""
    lines = traceback.strip().splitlines()
    return lines[-1] if lines else "nothing"


if __name__ == "__main__":
    serve(Repl().handlers(), classify)

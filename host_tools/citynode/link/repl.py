"""A board's REPL, driven by mpremote or ampy in a process of its own."""

from types import TracebackType
from typing import Literal, Self

from citynode.link.channel import Child, Leash, Progress

Transport = Literal["mpremote", "ampy"]

_STEP_S = 40.0


class Repl:
    """A session with one board's REPL; use it as a context manager.

    Programs are sent through pipes: they may hold secrets. Every method raises LinkError.
    """

    def __init__(
        self, port: str, transport: Transport = "mpremote", leash: Leash | None = None
    ) -> None:
        self._child = Child("citynode.link.repl_child", port, leash)
        self.port = port
        self._transport = transport

    def connect(self, within_s: float = 30.0) -> None:
        """Stop the board's program, restart MicroPython (boot.py runs, main.py does not)."""
        self._child.call(
            "connect",
            timeout_s=within_s + _STEP_S,
            port=self.port,
            transport=self._transport,
            within_s=within_s,
        )

    def run(self, code: str) -> str:
        """Run a program and return what it printed."""
        output: str = self._child.call("run", timeout_s=_STEP_S, code=code)
        return output

    def value(self, code: str) -> object:
        """Run a program that prints one Python literal, and return that."""
        return self._child.call("value", timeout_s=_STEP_S, code=code)

    def put(self, path: str, data: bytes, progress: Progress | None = None) -> None:
        """Write a file: complete under its name, or as it was."""
        self._child.call("put", timeout_s=_STEP_S, progress=progress, path=path, data=data)

    def restart(self) -> None:
        """Reset the board and let go of the port."""
        self._child.call("restart", timeout_s=_STEP_S)

    def close(self) -> None:
        """End the session; the board stays in its REPL if it was not restarted."""
        self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

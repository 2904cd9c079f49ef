"""Calls to a program of ours that holds a port: CBOR messages over its stdin and stdout.

esptool logs to one place a process, and a hung port can only be left by ending its process: so
each port has one. Secrets go through the pipe, never through arguments or files.
"""

import contextlib
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import IO, Any, Self, cast

import cbor2

from citynode.link.errors import LinkError
from citynode.link.serialio import PortError

_HEAD = struct.Struct("<I")
_MAX_MESSAGE = 64 << 20
_END_S = 5.0

Handler = Callable[..., object]
Progress = Callable[[int, int], None]


def _send(pipe: IO[bytes], message: object) -> None:
    raw = cbor2.dumps(message)
    pipe.write(_HEAD.pack(len(raw)) + raw)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> dict[str, Any] | None:
    """Read one message; None at the end of the stream."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    (size,) = _HEAD.unpack(head)
    raw = pipe.read(size) if size <= _MAX_MESSAGE else b""
    if len(raw) < size:
        return None
    message = cbor2.loads(raw)
    return message if isinstance(message, dict) else None


class Failure(Exception):  # noqa: N818 -- an outcome of the child, not of this process
    """What a child tells its parent when a call did not succeed: a kind of LinkError's."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail)
        self.kind = kind


def serve(
    handlers: Mapping[str, Handler], classify: Callable[[BaseException], tuple[str, str]]
) -> None:
    """Answer the parent's calls until it is gone; whatever tools print goes to stderr.

    A handler takes `report(done, total)` and the call's arguments by name.
    """
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    calls: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while (call := _receive(sys.stdin.buffer)) is not None:
                calls.put(call)
        finally:
            os._exit(0)  # the parent is gone: whatever holds the port, let go of it

    threading.Thread(target=listen, daemon=True).start()

    def report(done: int, total: int) -> None:
        _send(output, {"done": done, "total": total})

    while True:
        call = calls.get()
        try:
            result = handlers[call["call"]](report, **call["arguments"])
        except (KeyboardInterrupt, SystemExit):
            raise
        except (PortError, Failure) as error:
            _send(output, {"kind": error.kind, "detail": str(error)})
        except BaseException as error:  # ampy's errors are no Exceptions
            kind, detail = classify(error)
            _send(output, {"kind": kind, "detail": detail})
        else:
            _send(output, {"result": result})


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Let no Ctrl-C reach a child between its fork and the session of its own."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Leash:
    """Holds the children of a job that several threads work on, to end them all at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._is_cut = False

    @property
    def is_cut(self) -> bool:
        """Whether the job is over."""
        return self._is_cut

    def attach(self, child: "Child") -> None:
        """Hold a child; raises LinkError if the job is over."""
        with self._lock:
            if not self._is_cut:
                self._children.add(child)
                return
        child.kill()
        raise LinkError("stopped", child.port)

    def detach(self, child: "Child") -> None:
        """Let a child go that has ended."""
        with self._lock:
            self._children.discard(child)

    def cut(self) -> None:
        """End all children, now and to come; whoever waits for one gets a LinkError."""
        with self._lock:
            self._is_cut = True
            children = list(self._children)
        for child in children:
            child.kill()


class Child:
    """The parent's side: starts `module` for `port`, calls it, and ends it in any case."""

    def __init__(self, module: str, port: str, leash: Leash | None = None) -> None:
        self.port = port
        self._leash = leash or Leash()
        trace = os.environ.get("CITYNODE_TRACE")
        with _no_interrupt():
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if trace else subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is ours to handle: we end the child
            )
        # PIPE was asked for, so that there are both.
        self._stdin = cast(IO[bytes], self._process.stdin)
        self._stdout = cast(IO[bytes], self._process.stdout)
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._leash.attach(self)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def call(
        self, name: str, *, timeout_s: float, progress: Progress | None = None, **arguments: object
    ) -> Any:
        """Call the child; raises LinkError.

        `timeout_s` is how long it may be silent: progress starts the wait anew.
        """
        try:
            _send(self._stdin, {"call": name, "arguments": arguments})
        except OSError:
            self.close()
            raise LinkError("died", self.port, name) from None
        while True:
            try:
                message = self._messages.get(timeout=timeout_s)
            except queue.Empty:
                self.close()
                raise LinkError("silent", self.port, name) from None
            if message is None:
                code = self._process.wait()
                if self._leash.is_cut:
                    raise LinkError("stopped", self.port)
                raise LinkError("died", self.port, f"{name}, code {code}")
            if "result" in message:
                return message["result"]
            if "kind" in message:
                raise LinkError(message["kind"], self.port, message["detail"])
            if progress is not None:
                progress(message["done"], message["total"])

    def kill(self) -> None:
        """End the child at once."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End the child and wait until it is gone; its port is free then."""
        if self._process.poll() is None:
            with contextlib.suppress(OSError):
                self._stdin.close()  # it lets go by itself
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(_END_S)
        for pipe in (self._stdin, self._stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._leash.detach(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (message := _receive(self._stdout)) is not None:
                self._messages.put(message)
        self._messages.put(None)

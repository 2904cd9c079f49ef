"""What a board says on its port, kept line by line while a test runs."""

import re
import threading
import time
from types import TracebackType
from typing import Self

import serial

from citynode.frames import Record, decode
from citynode.link.errors import LinkError
from citynode.link.lines import open_listening, read_lines, reset
from citynode.soak.lines import parse, printable
from citynode.wire.frame import FrameError

_END_S = 5.0
_FREE_S = 10.0
_LOOK_S = 0.2
_TAKEN = ("busy", "not_rfc2217")
_MOST = 20_000  # lines that are kept


class NotSeenError(AssertionError):
    """Something that a test waits for has not happened; `what` says what."""

    def __init__(self, what: str, within_s: float) -> None:
        super().__init__(f"{what} within {within_s:g} s")
        self.what = what
        self.within_s = within_s


class Console:
    """Listens to a port in a thread; the board's lines EN and IO0 stay as they are.

    `mark` is a place in the log, for `wait` to look from. Raises LinkError where the port cannot be
    opened; later it is opened again whenever it goes away.
    """

    def __init__(self, port: str) -> None:
        self.port = port
        self._changed = threading.Condition()
        self._lines: list[str] = []
        self._records: list[tuple[int, Record]] = []  # with the line's number
        self._forgotten = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def lines(self) -> list[str]:
        """What was said since `clear`, without what could drive a terminal."""
        with self._changed:
            return list(self._lines)

    @property
    def records(self) -> list[Record]:
        """The records that the node has accepted since `clear`, in their order."""
        with self._changed:
            return [record for _, record in self._records]

    @property
    def mark(self) -> int:
        """The place behind the last line."""
        with self._changed:
            return self._forgotten + len(self._lines)

    def clear(self) -> None:
        """Forget what was said."""
        with self._changed:
            self._forgotten += len(self._lines)
            self._lines.clear()
            self._records.clear()

    def wait(self, pattern: str, within_s: float = 20.0, *, since: int = 0) -> re.Match[str]:
        """Wait for a line in which a regular expression is found, from the mark `since` on.

        Raises NotSeenError.
        """
        return self.find(pattern, within_s, since=since)[0]

    def find(
        self, pattern: str, within_s: float = 20.0, *, since: int = 0
    ) -> tuple[re.Match[str], int]:
        """Do as `wait` does, and return the mark behind that line as well."""
        sought = re.compile(pattern)
        end = time.monotonic() + within_s
        with self._changed:
            at = since
            while True:
                at = max(at, self._forgotten)
                for line in self._lines[at - self._forgotten :]:
                    at += 1
                    if found := sought.search(line):
                        return found, at
                left = end - time.monotonic()
                if left <= 0:
                    raise NotSeenError(f"the board did not say {pattern!r}", within_s)
                self._changed.wait(left)

    def wait_records(
        self, count: int, within_s: float = 20.0, *, kind: int | None = None, since: int = 0
    ) -> list[Record]:
        """Wait until the node has accepted so many records (of a kind) and return them.

        Raises NotSeenError.
        """
        end = time.monotonic() + within_s
        with self._changed:
            while True:
                found = [
                    record
                    for at, record in self._records
                    if at >= since and kind in (None, record.kind)
                ]
                left = end - time.monotonic()
                if len(found) >= count:
                    return found
                if left <= 0:
                    raise NotSeenError(
                        f"the node has accepted {len(found)} instead of {count} records", within_s
                    )
                self._changed.wait(left)

    # -- the port -------------------------------------------------------------------------------

    def open(self, *, restart: bool = False) -> None:
        """Begin to listen; with `restart` the board is reset by its lines, unheard before."""
        if self._thread is not None:
            return
        line = self._opened()
        try:
            if restart:
                reset(self.port, line)
        except BaseException:
            line.close()
            raise
        self._stop.clear()
        self._thread = threading.Thread(
            target=read_lines,
            args=(self.port, self._stop, self._said),
            kwargs={"line": line},
            name=f"citynode console {self.port}",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """Let go of the port; what was said is kept."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stop.set()
            thread.join(_END_S)

    def _opened(self) -> serial.SerialBase:
        """Open the port; who has just closed it on our behalf may not have let go yet."""
        end = time.monotonic() + _FREE_S
        while True:
            try:
                return open_listening(self.port)
            except LinkError as error:
                if error.kind not in _TAKEN or time.monotonic() > end:
                    raise
                time.sleep(_LOOK_S)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _said(self, text: str) -> None:
        text = printable(text)
        records = _records(text)
        with self._changed:
            at = self._forgotten + len(self._lines)
            self._lines.append(text)
            if len(self._lines) > _MOST:
                del self._lines[0]
                self._forgotten += 1
            self._records += [(at, record) for record in records]
            self._changed.notify_all()


def _records(text: str) -> list[Record]:
    line = parse(text)
    frame = None if line is None else line.frame
    if frame is None:
        return []
    try:
        return decode(frame)
    except FrameError:
        return []  # noise on the line

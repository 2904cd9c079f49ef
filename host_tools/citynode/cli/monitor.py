"""`citynode monitor`: what boards say, with levels in colour and frames decoded."""

import contextlib
import io
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import serial
import typer

from citynode.cli import parts
from citynode.cli.monitor_view import LogFile, Machines, People, Said, View
from citynode.cli.soak import seconds
from citynode.errors import CitynodeError
from citynode.link import lines
from citynode.link import ports as link_ports

_PATIENCE_S = 0.5  # the beginning of a line that nothing follows is a prompt
_WAITING = 4096  # lines that a slow terminal may be behind
_TICK_S = 0.2


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("monitor")(monitor_command)


def monitor_command(
    port: parts.Ports = None,
    baud: Annotated[int, typer.Option("-b", "--baud", min=300, help="Speed.")] = lines.BAUD,
    reset: Annotated[bool, typer.Option("--reset", help="Reset the board first, by EN.")] = False,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", help="Put the time of arrival before each line.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", "--no-decode", help="Leave frames as the board writes them.")
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(
            show_default=False,
            help="Append all lines to a file, frames as they came; 'citynode decode' reads it.",
        ),
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(show_default=False, help="End by itself after 90s, 10m, 24h or 7d."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per line, and per record.")
    ] = False,
) -> None:
    """Show what boards say: levels in colour, frames decoded, until Ctrl-C.

    Nothing is sent, and without --reset nothing is reset or interrupted.
    A port that goes away is waited for.
    Ctrl-C is how this ends, so the exit code is then 0, as after --duration.
    """
    limit_s = None if duration is None else seconds(duration, "--duration")
    selected = parts.choose_ports(port)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    people = People(selected, times=timestamps, raw=raw)
    with contextlib.ExitStack() as stack:
        views: list[View] = [Machines(raw=raw) if as_json else people]
        if log is not None:
            file = LogFile(log)
            stack.callback(file.close)
            views.append(file)
        source = Source(selected, baud, reset=reset)
        try:
            with contextlib.suppress(KeyboardInterrupt), source:
                people.say(f"listening to {', '.join(selected)} at {baud} baud; Ctrl-C ends")
                end = None if limit_s is None else time.monotonic() + limit_s
                while end is None or time.monotonic() < end:
                    left = _TICK_S if end is None else max(0.0, end - time.monotonic())
                    _show(source.take(min(_TICK_S, left)), views, people)
            _show(source.take(0), views, people)
        except BrokenPipeError:
            # Whoever read our output has gone; Python would complain of it once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None


def _show(arrived: list[Said], views: list[View], people: People) -> None:
    for said in arrived:
        for view in views:
            try:
                view.show(said)
            except CitynodeError as error:
                people.say(str(error))


class Source:
    """A thread per port that listens; `take` returns what has come. Raises CitynodeError.

    What comes faster than it is taken is dropped and counted.
    """

    def __init__(self, ports: list[str], baud: int, *, reset: bool) -> None:
        self._ports = ports
        self._baud = baud
        self._reset = reset
        self._queue: queue.Queue[Said] = queue.Queue(_WAITING)
        self._dropped = dict.fromkeys(ports, 0)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._cleanup = contextlib.ExitStack()

    def __enter__(self) -> "Source":
        with self._cleanup:
            opened = []
            for port in self._ports:
                self._cleanup.enter_context(link_ports.lock(port))
                link_ports.check(port)
                line = lines.open_listening(port, self._baud)
                opened.append((port, line))
                self._cleanup.callback(line.close)
            self._cleanup.callback(self._end)
            for port, line in opened:
                if self._reset:
                    lines.reset(port, line)
                thread = threading.Thread(target=self._listen, args=(port, line), daemon=True)
                self._threads.append(thread)
                thread.start()
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def take(self, wait_s: float) -> list[Said]:
        """Return what has come; waits for the first at most `wait_s`."""
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._queue.get(timeout=wait_s) if wait_s else self._queue.get_nowait())
            while len(found) < _WAITING:
                found.append(self._queue.get_nowait())
        return found

    def _listen(self, port: str, line: serial.SerialBase) -> None:
        def say(kind: str, text: str = "") -> None:
            said = Said(time.time(), port, kind, text)
            try:
                if self._dropped[port]:
                    self._queue.put_nowait(Said(said.at, port, "full", str(self._dropped[port])))
                    self._dropped[port] = 0
                self._queue.put_nowait(said)
            except queue.Full:
                self._dropped[port] += 1

        lines.read_lines(
            port,
            self._stop,
            lambda text: say("line", text),
            say,
            line,
            baud=self._baud,
            patience_s=_PATIENCE_S,
        )

    def _end(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

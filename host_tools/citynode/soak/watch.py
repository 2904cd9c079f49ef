"""The watcher: a thread per serial port, one for the broker, and the ledger in between."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import serial

from citynode.errors import CitynodeError
from citynode.link import ports as link_ports
from citynode.link.errors import LinkError
from citynode.link.serialio import PortError, open_port
from citynode.soak.account import Account, Event, Ledger
from citynode.soak.broker import Address, Listener
from citynode.soak.lines import Splitter
from citynode.soak.verdict import Plan, judge

_BAUD = 115200
_READ_S = 0.2
_RETRY_S = 1.0
_TICK_S = 0.25


def read_lines(
    port: str,
    stop: threading.Event,
    on_line: Callable[[str], None],
    on_change: Callable[[str], None] = lambda _: None,
    line: serial.SerialBase | None = None,
) -> None:
    """Pass on a port's lines until `stop` is set; opens it again whenever it goes away."""
    while not stop.is_set():
        if line is None:
            try:
                line = open_port(port, _BAUD, _READ_S)
            except PortError:
                stop.wait(_RETRY_S)
                continue
            on_change("back")
        splitter = Splitter()
        try:
            while not stop.is_set():
                data = line.read(1)
                if data:
                    data += line.read(line.in_waiting)  # type: ignore[attr-defined]
                for text in splitter.feed(data):
                    on_line(text)
        except OSError:
            on_change("gone")
        finally:
            with contextlib.suppress(OSError):
                line.close()
            line = None


class JsonLog:
    """Events as JSON lines, in a file if one is given."""

    def __init__(self, path: Path | None) -> None:
        self._file: IO[str] | None = None
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8", buffering=1)
            except OSError as error:
                raise CitynodeError(
                    f"cannot write {path}: {error.strerror}", "give --log another file"
                ) from None

    def write(self, now_s: float, kind: str, facts: dict[str, object]) -> None:
        """Write one line; a full disk ends the log, not the soak."""
        if self._file is not None:
            try:
                self._file.write(json.dumps({"t": round(now_s, 3), "event": kind, **facts}) + "\n")
            except OSError:
                self._file = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class Watcher:
    """Watches ports and a broker from `with` to its end; `names` has the nodes known by port.

    Raises CitynodeError if a port cannot be opened or the broker cannot be reached at the start.
    """

    def __init__(
        self,
        ports: list[str],
        broker: Address | None,
        log: Path | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._ports = ports
        self._broker = broker
        self._log_path = log
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._cleanup = contextlib.ExitStack()
        self.ledger = Ledger(ports, names)

    def __enter__(self) -> Self:
        with self._cleanup:
            self._log = JsonLog(self._log_path)
            self._cleanup.callback(self._log.close)
            threads: list[threading.Thread] = []

            def end() -> None:
                self._stop.set()
                for thread in threads:
                    thread.join()

            self._cleanup.callback(end)
            if self._broker is not None:
                self._cleanup.enter_context(Listener(self._broker, self._message))
            for port in self._ports:
                self._cleanup.enter_context(link_ports.lock(port))
                link_ports.check(port)
                try:
                    line = open_port(port, _BAUD, _READ_S)
                except PortError as error:
                    raise LinkError(error.kind, port, str(error)) from None
                thread = threading.Thread(target=self._read, args=(port, line), daemon=True)
                threads.append(thread)
                thread.start()
            self._cleanup = self._cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def wait(self, plan: Plan, on_tick: Callable[[float, list[Account]], None]) -> None:
        """Watch for the plan's duration, then until what is on its way has arrived.

        `on_tick` gets the seconds that are left and the accounts, four times a second.
        """
        end = time.monotonic() + plan.duration_s
        while (left := end - time.monotonic()) > 0:
            with self._lock:
                on_tick(left, self.ledger.accounts)
            time.sleep(min(_TICK_S, left))
        with self._lock:
            owed = self._missing()
        end = time.monotonic() + (plan.grace_s if self._broker is not None else 0)
        while (left := end - time.monotonic()) > 0:
            with self._lock:
                on_tick(0.0, self.ledger.accounts)
                missing = self._missing()
            if not any(owed[port] & missing[port] for port in owed):
                break
            time.sleep(_TICK_S)
        with self._lock:
            self._stop.set()  # what is judged must not change while it is shown
            # What was accepted after the end is nobody's concern.
            for port, numbers in self._missing().items():
                self.ledger.forget(port, numbers - owed[port])

    def _missing(self) -> dict[str, set[int]]:
        return {each.port: set(each.missing) for each in self.ledger.accounts if each.port}

    def results(self, plan: Plan) -> list[tuple[Account, list[str]]]:
        """Return each node with what is wrong with it, and log the verdict."""
        now_s = time.time()
        with self._lock:
            rows = []
            for account in self.ledger.accounts:
                if account.port is None and self._ports:
                    continue  # a node of somebody else on the same broker
                if account.last_heard_s is not None:
                    account.heard(now_s)
                wrong = judge(account, plan, broker=self._broker is not None)
                rows.append((account, wrong))
                self._log.write(
                    now_s, "verdict", {**account.to_json(), "passed": not wrong, "wrong": wrong}
                )
        return rows

    def _read(self, port: str, line: serial.SerialBase) -> None:
        read_lines(
            port,
            self._stop,
            lambda text: self._note(lambda now_s: self.ledger.line(port, text, now_s)),
            lambda state: self._log.write(time.time(), f"port {state}", {"port": port}),
            line,
        )

    def _message(self, topic: str, payload: bytes) -> None:
        self._note(lambda now_s: self.ledger.message(topic, payload, now_s))

    def _note(self, take: Callable[[float], list[Event]]) -> None:
        now_s = time.time()
        with self._lock:
            if self._stop.is_set():
                return
            for event in take(now_s):
                who = {"port": event.account.port, "node": event.account.node_id}
                self._log.write(now_s, event.kind, {**who, **event.facts})

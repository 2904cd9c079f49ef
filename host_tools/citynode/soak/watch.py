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
from citynode.link.lines import open_listening, read_lines
from citynode.soak.account import Account
from citynode.soak.ledger import Event, Ledger
from citynode.soak.listener import Address, Listener
from citynode.soak.verdict import Plan, judge

_TICK_S = 0.25


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

    def write(self, kind: str, facts: Mapping[str, object]) -> None:
        """Write one line; a full disk ends the log, not the soak."""
        if self._file is not None:
            line = json.dumps({"at": round(time.time(), 3), "event": kind, **facts})
            try:
                self._file.write(line + "\n")
            except OSError:
                self.close()

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


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
        self._names = names
        self.broker_losses = 0

    def __enter__(self) -> Self:
        self.ledger = Ledger(self._ports, self._names, time.monotonic())
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
                listener = Listener(self._broker, self._message, self._broker_changed)
                self._cleanup.enter_context(listener)
            for port in self._ports:
                self._cleanup.enter_context(link_ports.lock(port))
                link_ports.check(port)
                line = open_listening(port)
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
            self.ledger.close(time.monotonic())
        end = time.monotonic() + (0.0 if self._broker is None else plan.grace_s)
        while time.monotonic() < end:
            with self._lock:
                on_tick(0.0, self.ledger.accounts)
                accounts = [each for each in self.ledger.accounts if self._ours(each)]
            if not any(account.on_their_way for account in accounts):
                break
            time.sleep(_TICK_S)

    def results(self, plan: Plan) -> list[tuple[Account, list[str]]]:
        """Stop watching, log the verdict, and return each node with what is wrong with it."""
        with self._lock:
            self._stop.set()  # what is judged must not change while it is shown
            rows = []
            for account in self.ledger.judged(time.monotonic()):
                if not self._ours(account):
                    continue
                wrong = judge(account, plan, broker=self._broker is not None)
                rows.append((account, wrong))
                verdict = {"passed": not wrong, "wrong": wrong}
                self._log.write("verdict", {**account.to_json(), **verdict})
        return rows

    def _ours(self, account: Account) -> bool:
        """Tell whether a node is not somebody else's on the same broker."""
        return account.port is not None or not self._ports

    def _read(self, port: str, line: serial.SerialBase) -> None:
        read_lines(
            port,
            self._stop,
            lambda text: self._note(lambda now_s: self.ledger.line(port, text, now_s)),
            lambda state: self._changed(f"port {state}", port=port),
            line,
        )

    def _message(self, topic: str, payload: bytes) -> None:
        self._note(lambda now_s: self.ledger.message(topic, payload, now_s))

    def _broker_changed(self, state: str) -> None:
        self.broker_losses += state == "gone"
        self._changed(f"broker {state}")

    def _changed(self, kind: str, **facts: object) -> None:
        with self._lock:
            if not self._stop.is_set():
                self._log.write(kind, facts)

    def _note(self, take: Callable[[float], list[Event]]) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            for event in take(time.monotonic()):
                who = {"port": event.account.port, "node": event.account.node_id}
                self._log.write(event.kind, {**who, **event.facts})

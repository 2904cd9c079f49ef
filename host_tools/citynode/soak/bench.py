"""A bench with real nodes as a site of a soak: serial ports, a broker, resets, supplies."""

import contextlib
import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import serial

from citynode.bench.power import Power
from citynode.errors import CitynodeError
from citynode.frames import Record, decode
from citynode.link import ports
from citynode.link.lines import open_listening, read_lines, reset
from citynode.soak import topics
from citynode.soak.lines import parse
from citynode.soak.listener import Address, Listener
from citynode.soak.plan import SoakPlan
from citynode.soak.schedule import Due, Member, members
from citynode.soak.site import Ear, Station
from citynode.wire.frame import FrameError

_START_S = 60.0  # for a node to tell who it is
_WAIT_S = 0.25

Call = Callable[[], object]


class Bench:
    """The nodes at the ports of a plan, as a `Site`.

    They are reset when it is opened: so each tells who it is. All calls to the ear come from `open`
    and `run`.
    """

    def __init__(self, plan: SoakPlan, broker: Address | None) -> None:
        self._broker = broker
        self._ports: dict[str, str] = {}
        self._power: dict[str, Power] = {}
        for member in members(plan):
            self._add(plan, member)
        self.stations = [Station(name, "", "") for name in self._ports]
        self.delivers = broker is not None
        self.started_s = 0.0
        self.kinds = frozenset(("reset", "power") if self._power else ("reset",))
        self._events: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._stop = threading.Event()
        self._cleanup = contextlib.ExitStack()
        self._off: list[Power] = []  # supplies that are cut
        self._lines: dict[str, serial.SerialBase] = {}
        self._names: dict[str, str] = {}  # of nodes at the broker: of stations
        # The first record of each station that was accepted here: what is older is of before.
        self._first: dict[str, int] = {}

    def _add(self, plan: SoakPlan, member: Member) -> None:
        group = plan.nodes[member.group]
        first = next(each for each in members(plan) if each.group == member.group).number
        self._ports[member.id] = group.ports[member.number - first]
        if group.power is not None:
            self._power[member.id] = group.power

    # -- a Site ---------------------------------------------------------------------------------

    def open(self, ear: Ear, faults: Sequence[Due]) -> None:
        """Open all ports and reset the nodes; raises CitynodeError, also if one says nothing."""
        for due in faults:
            if due.kind == "power" and due.node not in self._power:
                raise CitynodeError(
                    f"the supply of {due.node} cannot be switched",
                    "give it power in the plan, or the fault other nodes",
                )
        self._began, self.started_s = time.monotonic(), time.time()
        threads: list[threading.Thread] = []

        def end() -> None:
            self._stop.set()
            for thread in threads:
                thread.join()

        self._cleanup.callback(end)
        if self._broker is not None:
            self._cleanup.enter_context(
                Listener(
                    self._broker,
                    lambda topic, payload: self._post(self._message, ear, topic, payload),
                    lambda state: self._post(self._changed, ear, f"broker {state}"),
                )
            )
        for station, port in self._ports.items():
            self._cleanup.enter_context(ports.lock(port))
            ports.check(port)
            line = self._lines[station] = open_listening(port)
            thread = threading.Thread(target=self._read, args=(ear, station, line), daemon=True)
            threads.append(thread)
            thread.start()
            reset(port, line)
        limit = time.monotonic() + _START_S
        while missing := set(self._ports) - set(self._names.values()):
            if time.monotonic() > limit:
                silent = ", ".join(sorted(self._ports[each] for each in missing))
                raise CitynodeError(
                    f"no node has started at {silent}",
                    "provision it, and see what 'citynode monitor' shows",
                    exit_code=1,
                )
            self._serve(_WAIT_S)
        for due in faults:
            self._at(due.at_s, partial(self._strike, due, ear))

    def run(self, until_s: float) -> None:
        """Let time go on, and do what is due."""
        while (left := until_s - self._now_s()) > 0:
            due_s = self._timers[0][0] - self._now_s() if self._timers else left
            self._serve(max(0.0, min(left, due_s, _WAIT_S)))
            while self._timers and self._timers[0][0] <= self._now_s():
                heapq.heappop(self._timers)[2]()

    def erases(self, node: str) -> Mapping[int, int]:
        """Return nothing: a real flash does not tell."""
        return {}

    def energy_mah(self, node: str) -> float | None:
        """Return nothing: no supply of a bench tells."""
        return None

    def close(self) -> None:
        """Let go of all ports; supplies that were cut are on again."""
        with self._cleanup:
            for supply in self._off:
                supply.switch(True)

    # -- time -----------------------------------------------------------------------------------

    def _now_s(self) -> float:
        return time.monotonic() - self._began

    def _at(self, at_s: float, call: Call) -> None:
        heapq.heappush(self._timers, (at_s, next(self._order), call))

    def _post(self, fn: Callable[..., object], *args: object) -> None:
        self._events.put(partial(fn, *args))

    def _serve(self, wait_s: float) -> None:
        """Do what threads have posted, waiting for the first of it."""
        with contextlib.suppress(queue.Empty):
            self._events.get(timeout=max(wait_s, 0.001))()
            while True:
                self._events.get_nowait()()

    # -- what is heard --------------------------------------------------------------------------

    def _read(self, ear: Ear, station: str, line: serial.SerialBase) -> None:
        port = self._ports[station]
        read_lines(
            port,
            self._stop,
            lambda text: self._post(self._line, ear, station, text),
            lambda state: self._post(self._changed, ear, f"{port} {state}"),
            line,
        )

    def _line(self, ear: Ear, station: str, text: str) -> None:
        line = parse(text)
        if station not in self._names.values():
            if line is None or line.start is None:
                return  # of the program that the reset has ended
            self._names[line.start[1]] = station
        if line is not None and line.frame is not None:
            for record in _records(line.frame):
                self._first.setdefault(station, record.seq)
        ear.line(station, _renamed(text, station), self._now_s())

    def _message(self, ear: Ear, topic: str, payload: bytes) -> None:
        message = topics.read(topic, payload)
        station = None if message is None else self._names.get(message[0])
        if message is None or station is None:
            return
        # Without a number to compare with (a garbled frame) it is for the account to say.
        numbers = [record.seq for record in _records(message[1])]
        if not numbers or max(numbers) >= self._first.get(station, max(numbers) + 1):
            ear.message(f"citynode/{station}/up", message[1], self._now_s())

    def _changed(self, ear: Ear, what: str) -> None:
        ear.change(what, self._now_s())

    # -- faults ---------------------------------------------------------------------------------

    def _strike(self, due: Due, ear: Ear) -> None:
        node = due.node or ""
        ear.began(due, self._now_s())
        if due.kind == "reset":
            reset(self._ports[node], self._lines[node])
            ear.ended(due, self._now_s())
            return
        supply = self._power[node]
        supply.switch(False)
        self._off.append(supply)

        def end() -> None:
            self._off.remove(supply)
            supply.switch(True)
            ear.ended(due, self._now_s())

        self._at(self._now_s() + due.for_s, end)


def _records(frame: bytes) -> Sequence[Record]:
    try:
        return decode(frame)
    except FrameError:
        return ()


def _renamed(text: str, station: str) -> str:
    """Return the line with which a node starts under the name that the plan has for it."""
    line = parse(text)
    if line is None or line.start is None:
        return text
    version, _, cause = line.start
    head = text[: len(text) - len(line.text)]
    return f"{head}citynode {version} node {station} reset {cause}"

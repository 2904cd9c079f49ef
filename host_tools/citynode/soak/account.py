"""The accounts of a soak: what each node accepted, what arrived, how it fared. No I/O.

A node's records carry its sequence numbers, which go on through restarts: what it accepted and
the broker never had is lost, what came twice is repeated.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from citynode.frames import Record, decode
from citynode.soak.lines import parse, rom_reset
from citynode.wire.frame import FrameError
from citynode.wire.schema import CLIMATE, HEALTH

# A wake-up is what the profile asked for, and a person's reset is no fault of the node.
_NO_FAULT = frozenset(("deepsleep",))
_MAX_FRAMES = 4096  # that are remembered to find out which node is at which port
_MAX_HOLES = 4096
_MIN_SPAN_S = 600.0  # over less, a slope of the heap is noise


@dataclass
class Account:
    """One node, or what one side has seen of it."""

    port: str | None = None
    node_id: str | None = None
    accepted: dict[int, float] = field(default_factory=dict)  # seq: when, on the serial port
    received: Counter[int] = field(default_factory=Counter)  # seq: how often, at the broker
    restarts: Counter[str] = field(default_factory=Counter)
    boots: Counter[str] = field(default_factory=Counter)
    heap: list[tuple[float, float]] = field(default_factory=list)  # uptime s, bytes free
    warnings: int = 0
    errors: int = 0
    bad_frames: int = 0
    faults: int = 0
    last: Record | None = None
    last_heard_s: float | None = None
    longest_silence_s: float = 0.0

    @property
    def expected(self) -> int:
        """Records that the node accepted, as far as they were seen on its port."""
        return len(self.accepted)

    @property
    def delivered(self) -> int:
        """Different records at the broker."""
        return len(self.received)

    @property
    def missing(self) -> list[int]:
        """Sequence numbers that were accepted and have not arrived."""
        return sorted(set(self.accepted) - set(self.received)) + self._holes()

    @property
    def repeated(self) -> int:
        """Copies beyond the first."""
        return sum(self.received.values()) - len(self.received)

    @property
    def faulty_restarts(self) -> int:
        """Restarts that nobody asked for."""
        return sum(n for cause, n in self.restarts.items() if cause not in _NO_FAULT)

    @property
    def heap_slope(self) -> float | None:
        """Bytes of free heap per hour, by least squares; None over less than ten minutes."""
        if len(self.heap) < 3 or self.heap[-1][0] - self.heap[0][0] < _MIN_SPAN_S:
            return None
        n = len(self.heap)
        mean_x = sum(x for x, _ in self.heap) / n
        mean_y = sum(y for _, y in self.heap) / n
        spread = sum((x - mean_x) ** 2 for x, _ in self.heap)
        return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in self.heap) / spread

    def _holes(self) -> list[int]:
        """Numbers between those that arrived, where the serial port saw none of them."""
        if self.accepted or not self.received:
            return []
        numbers = range(min(self.received), max(self.received) + 1)
        return [n for n in numbers if n not in self.received][:_MAX_HOLES]

    def heard(self, now_s: float) -> None:
        """Note that the node gave a sign of life."""
        if self.last_heard_s is not None:
            self.longest_silence_s = max(self.longest_silence_s, now_s - self.last_heard_s)
        self.last_heard_s = now_s

    def learn(self, record: Record) -> None:
        """Take what a record says about its node."""
        self.faults += len(record.faults)
        if record.kind == CLIMATE:
            self.last = record
        if record.kind == HEALTH:
            free, uptime = record.values["heap_free_b"], record.values["uptime_s"]
            if isinstance(free, int | float) and isinstance(uptime, int | float):
                if self.heap and uptime < self.heap[-1][0]:
                    self.heap.clear()  # a slope over a restart means nothing
                self.heap.append((float(uptime), float(free)))

    def to_json(self) -> dict[str, object]:
        """Return what JSON can hold."""
        slope = self.heap_slope
        return {
            "port": self.port,
            "node": self.node_id,
            "expected": self.expected,
            "received": self.delivered,
            "lost": len(self.missing),
            "repeated": self.repeated,
            "restarts": dict(self.restarts),
            "heap_bytes_per_hour": None if slope is None else round(slope),
            "sensor_faults": self.faults,
            "bad_frames": self.bad_frames,
            "warnings": self.warnings,
            "errors": self.errors,
            "longest_silence_s": round(self.longest_silence_s, 1),
        }


@dataclass(frozen=True)
class Event:
    """Something for the log: `kind` and its facts."""

    kind: str
    account: Account
    facts: Mapping[str, object]


class Ledger:
    """All accounts of a soak: what the ports showed, and what the broker had, put together.

    Which node is at which port, the node's first line tells, or `names`, or the frames: a node is
    at the port that showed most of its frames. Two nodes may well send the same bytes.
    """

    def __init__(self, ports: Iterable[str], names: Mapping[str, str] | None = None) -> None:
        self._ports = {port: Account(port=port) for port in ports}
        self._nodes: dict[str, Account] = {}
        for port, node_id in (names or {}).items():
            self._ports[port].node_id = node_id
        self._shown: dict[bytes, set[str]] = {}  # frame: ports
        self._sent: dict[bytes, set[str]] = {}  # frame: nodes
        self._votes: Counter[tuple[str, str]] = Counter()  # (node, port)

    @property
    def accounts(self) -> list[Account]:
        """Return the nodes: those at our ports, then those that only the broker knows."""
        places = self._places()
        listed = []
        for port, account in self._ports.items():
            node = next((node for node, place in places.items() if place == port), None)
            listed.append(_joined(account, self._nodes.get(node or ""), node))
        return listed + [self._nodes[node] for node in self._nodes if node not in places]

    def line(self, port: str, text: str, now_s: float) -> list[Event]:
        """Take a line from a port."""
        account = self._ports[port]
        if cause := rom_reset(text):
            account.boots[cause] += 1
            return [Event("reset", account, {"rom": cause})]
        line = parse(text)
        if line is None:
            return []
        account.heard(now_s)
        account.warnings += line.level == "W"
        account.errors += line.level == "E"
        if start := line.start:
            account.node_id = start[1]
            account.restarts[start[2]] += 1
            return [Event("restart", account, {"cause": start[2], "version": start[0]})]
        if line.tag != "frame":
            return []
        frame = line.frame
        records = None if frame is None else _records(frame)
        if frame is None or records is None:
            account.bad_frames += 1
            return []
        self._vote(frame, port=port)
        for record in records:
            account.accepted.setdefault(record.seq, now_s)
        return [Event("accepted", account, record.to_json()) for record in records]

    def message(self, topic: str, payload: bytes, now_s: float) -> list[Event]:
        """Take a message of the broker; others than `citynode/<node id>/up` are left alone."""
        parts = topic.split("/")
        if len(parts) != 3 or parts[0] != "citynode" or parts[2] != "up":
            return []
        account = self._nodes.setdefault(parts[1], Account(node_id=parts[1]))
        account.heard(now_s)
        records = _records(payload)
        if records is None:
            account.bad_frames += 1
            return []
        self._vote(payload, node=parts[1])
        events = []
        for record in records:
            account.received[record.seq] += 1
            again = account.received[record.seq] > 1
            events.append(Event("repeated" if again else "received", account, record.to_json()))
            if not again:
                account.learn(record)
        return events

    def forget(self, port: str, numbers: Iterable[int]) -> None:
        """Take records that a port showed out of the account."""
        for number in numbers:
            self._ports[port].accepted.pop(number, None)

    def _places(self) -> dict[str, str]:
        """Return the port of each node that has one."""
        places = {
            account.node_id: port
            for port, account in self._ports.items()
            if account.node_id is not None
        }
        for node in self._nodes:
            ranked = [
                (count, port)
                for (voter, port), count in self._votes.items()
                if voter == node and port not in places.values()
            ]
            ranked.sort(reverse=True)
            if node not in places and ranked and (len(ranked) < 2 or ranked[0][0] > ranked[1][0]):
                places[node] = ranked[0][1]
        return places

    def _vote(self, frame: bytes, *, port: str | None = None, node: str | None = None) -> None:
        """Count the pairs of node and port that had the same frame."""
        ports = self._shown.setdefault(frame, set())
        nodes = self._sent.setdefault(frame, set())
        for pair_port in {port} - ports if port else ports:
            for pair_node in {node} - nodes if node else nodes:
                self._votes[pair_node, pair_port] += 1
        if port:
            ports.add(port)
        if node:
            nodes.add(node)
        for known in (self._shown, self._sent):
            while len(known) > _MAX_FRAMES:
                del known[next(iter(known))]


def _joined(account: Account, broker: Account | None, node_id: str | None) -> Account:
    """Put the two halves of a node together."""
    joined = replace(account, node_id=node_id or account.node_id)
    if broker is not None:
        joined.received = broker.received
        joined.heap = broker.heap
        joined.faults = broker.faults
        joined.last = broker.last
        joined.bad_frames = account.bad_frames + broker.bad_frames
        heard = [each for each in (account.last_heard_s, broker.last_heard_s) if each is not None]
        joined.last_heard_s = max(heard, default=None)
    return joined


def _records(frame: bytes) -> list[Record] | None:
    try:
        return decode(frame)
    except FrameError:
        return None

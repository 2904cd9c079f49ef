"""The accounts of a soak: what each node accepted, what arrived, how it fared. No I/O.

A node's records carry its sequence numbers, which go on through restarts: what it accepted and
the broker never had is lost, what came twice is repeated.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from citynode.frames import Record, decode
from citynode.soak.lines import parse, rom_reset
from citynode.wire.frame import FrameError
from citynode.wire.schema import CLIMATE, HEALTH

# A wake-up is what the profile asked for, and a person's reset is no fault of the node.
_NO_FAULT = frozenset(("deepsleep",))
_MAX_MATCHES = 4096


@dataclass
class Account:
    """One node; `port` and `node_id` are filled in as soon as they are known."""

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
        """Bytes of free heap per hour, by least squares; None with fewer than three values."""
        if len(self.heap) < 3:
            return None
        n = len(self.heap)
        mean_x = sum(x for x, _ in self.heap) / n
        mean_y = sum(y for _, y in self.heap) / n
        spread = sum((x - mean_x) ** 2 for x, _ in self.heap)
        if not spread:
            return None
        return 3600 * sum((x - mean_x) * (y - mean_y) for x, y in self.heap) / spread

    def _holes(self) -> list[int]:
        """Numbers between those that arrived, where the serial port saw none of them."""
        if self.accepted or not self.received:
            return []
        numbers = range(min(self.received), max(self.received) + 1)
        return [n for n in numbers if n not in self.received][:_MAX_MATCHES]

    def heard(self, now_s: float) -> None:
        """Note that the node gave a sign of life."""
        if self.last_heard_s is not None:
            self.longest_silence_s = max(self.longest_silence_s, now_s - self.last_heard_s)
        self.last_heard_s = now_s

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
    """All accounts of a soak. A port and a node id that show the same frame are one node."""

    def __init__(self, ports: list[str]) -> None:
        self._by_port = {port: Account(port=port) for port in ports}
        self._by_node: dict[str, Account] = {}
        self._frames: dict[bytes, str] = {}  # frames as the ports showed them

    @property
    def accounts(self) -> list[Account]:
        """Return the nodes: those at our ports, then those that only the broker knows."""
        listed = list(self._by_port.values())
        return listed + [each for each in self._by_node.values() if each.port is None]

    def of_port(self, port: str) -> Account:
        """Return the account of a port."""
        return self._by_port[port]

    def line(self, port: str, text: str, now_s: float) -> list[Event]:
        """Take a line from a port."""
        account = self._by_port[port]
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
            self._name(account, start[1])
            account.restarts[start[2]] += 1
            return [Event("restart", account, {"cause": start[2], "version": start[0]})]
        frame = line.frame
        if frame is None:
            if line.tag == "frame":
                account.bad_frames += 1
            return []
        if len(self._frames) < _MAX_MATCHES * len(self._by_port):
            self._frames[frame] = port
        records = self._decode(account, frame)
        for record in records:
            account.accepted.setdefault(record.seq, now_s)
        return [Event("accepted", account, record.to_json()) for record in records]

    def message(self, topic: str, payload: bytes, now_s: float) -> list[Event]:
        """Take a message of the broker; others than `citynode/<node id>/up` are left alone."""
        parts = topic.split("/")
        if len(parts) != 3 or parts[0] != "citynode" or parts[2] != "up":
            return []
        node_id = parts[1][:64]
        account = self._by_node.get(node_id)
        port = self._frames.get(payload)
        if (account is None or account.port is None) and port is not None:
            self._name(self._by_port[port], node_id)
            account = self._by_node[node_id]
        if account is None:
            account = self._by_node[node_id] = Account(node_id=node_id)
        account.heard(now_s)
        events = []
        for record in self._decode(account, payload):
            account.received[record.seq] += 1
            again = account.received[record.seq] > 1
            events.append(Event("repeated" if again else "received", account, record.to_json()))
            if not again:
                self._learn(account, record)
        return events

    def _name(self, account: Account, node_id: str) -> None:
        """Put together what is known of a port and of a node id."""
        account.node_id = node_id
        other = self._by_node.get(node_id)
        if other is not None and other is not account and other.port is None:
            account.received.update(other.received)
            account.heap += other.heap
            account.faults += other.faults
            account.last = account.last or other.last
        self._by_node[node_id] = account

    def _decode(self, account: Account, frame: bytes) -> list[Record]:
        try:
            return decode(frame)
        except FrameError:
            account.bad_frames += 1
            return []

    def _learn(self, account: Account, record: Record) -> None:
        account.faults += len(record.faults)
        if record.kind == CLIMATE:
            account.last = record
        if record.kind == HEALTH:
            free, uptime = record.values["heap_free_b"], record.values["uptime_s"]
            if isinstance(free, int | float) and isinstance(uptime, int | float):
                if account.heap and uptime < account.heap[-1][0]:
                    account.heap.clear()  # a slope over a restart means nothing
                account.heap.append((float(uptime), float(free)))

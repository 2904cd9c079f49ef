"""The account of one node: what it accepted, what arrived, how it fared. No I/O.

A node's records carry its sequence numbers, which go on through restarts. A record is known to
exist when the node's port showed that it was accepted, when the broker had it, or when the broker
had an earlier and a later one; what exists and never arrived is lost.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from citynode.frames import Record
from citynode.wire.schema import CLIMATE, HEALTH

# A wake-up is what the profile asked for.
_NO_FAULT = frozenset(("deepsleep",))
_MIN_SPAN_S = 600.0  # over less, a slope of the heap is noise
_QUIET_S = 1.0  # signs of life that are closer together are one


@dataclass
class Account:
    """One node, or what one side has seen of it. Times are seconds of any clock."""

    port: str | None = None
    node_id: str | None = None
    accepted: set[int] = field(default_factory=set)  # numbers seen on the serial port
    received: Counter[int] = field(default_factory=Counter)  # number: how often, at the broker
    restarts: Counter[str] = field(default_factory=Counter)
    began: str | None = None  # cause of a start that was the first thing heard
    boots: Counter[str] = field(default_factory=Counter)  # resets as the ROM tells them
    heap: list[tuple[float, float]] = field(default_factory=list)  # uptime s, bytes free
    warnings: int = 0
    errors: int = 0
    bad_lines: int = 0  # frames on the serial port that are none: noise, as far as we know
    bad_frames: int = 0  # messages at the broker that are none
    newest: int = -1  # the last number that the serial port showed
    renumbered: int = 0  # how often the numbers went back
    faults: int = 0
    last: Record | None = None
    signs: list[tuple[float, float]] = field(default_factory=list)  # of life: from, to
    longest_silence_s: float = 0.0

    @property
    def expected(self) -> int:
        """Records that are known to exist."""
        return self.delivered + self.lost

    @property
    def delivered(self) -> int:
        """Different records at the broker."""
        return len(self.received)

    @property
    def lost(self) -> int:
        """Records that exist and have not arrived."""
        between = self._between
        holes = len(between) - self.delivered
        return holes + sum(number not in between for number in self.accepted)

    @property
    def missing(self) -> Iterator[int]:
        """The numbers of what is lost, in order."""
        between = self._between
        ends = sorted(self.received)
        yield from sorted(n for n in self.accepted if n < between.start or not between)
        for before, after in pairwise(ends):
            yield from range(before + 1, after)
        yield from sorted(n for n in self.accepted if between and n >= between.stop)

    @property
    def on_their_way(self) -> bool:
        """Whether something may still arrive: a node sends the oldest first."""
        return max(self.accepted, default=-1) > max(self.received, default=-1)

    @property
    def highest(self) -> int:
        """The highest number that is known, -1 where there is none."""
        return max(max(self.accepted, default=-1), max(self.received, default=-1))

    @property
    def repeated(self) -> int:
        """Copies beyond the first."""
        return sum(self.received.values()) - len(self.received)

    def faulty_restarts(self, *, started: bool) -> int:
        """Return the restarts that neither the profile asked for nor, if `started`, the soak."""
        faulty = sum(n for cause, n in self.restarts.items() if cause not in _NO_FAULT)
        asked = started and self.began is not None and self.began not in _NO_FAULT
        return faulty - asked

    @property
    def false_starts(self) -> int:
        """Resets that no start of the program followed; the last may still be on its way."""
        return max(0, sum(self.boots.values()) - sum(self.restarts.values()) - 1)

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

    @property
    def _between(self) -> range:
        """From the first to the last number that arrived: so many there are."""
        return range(min(self.received), max(self.received) + 1) if self.received else range(0)

    def accept(self, number: int) -> None:
        """Note that the serial port showed this record as accepted."""
        self.renumbered += number <= self.newest
        self.newest = number
        self.accepted.add(number)

    def heard(self, now_s: float) -> None:
        """Note that the node gave a sign of life."""
        if self.signs and now_s - self.signs[-1][1] <= _QUIET_S:
            self.signs[-1] = (self.signs[-1][0], max(now_s, self.signs[-1][1]))
        else:
            self.signs.append((now_s, now_s))

    def silence(self, start_s: float | None, end_s: float) -> float:
        """Return the longest time without a sign of life, from `start_s` or else from the first."""
        ordered = sorted(self.signs)
        longest = 0.0
        until = start_s if start_s is not None else ordered[0][0] if ordered else end_s
        for first, last in [*ordered, (end_s, end_s)]:
            longest = max(longest, min(first, end_s) - until)
            until = max(until, last)
        return longest

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

    def joined(self, broker: "Account | None", node_id: str | None) -> "Account":
        """Return this, a port's account, together with what the broker had of the node."""
        joined = replace(self, node_id=node_id or self.node_id)
        if broker is not None:
            joined.received = broker.received
            joined.bad_frames = broker.bad_frames
            joined.signs = self.signs + broker.signs
            if broker.received:  # it knows all that the port does, and what the port missed
                joined.heap = broker.heap
                joined.faults = broker.faults
                joined.last = broker.last
        return joined

    def to_json(self) -> dict[str, object]:
        """Return what JSON can hold."""
        slope = self.heap_slope
        return {
            "port": self.port,
            "node": self.node_id,
            "expected": self.expected,
            "received": self.delivered,
            "lost": self.lost,
            "repeated": self.repeated,
            "restarts": dict(self.restarts),
            "rom_resets": dict(self.boots),
            "renumbered": self.renumbered,
            "heap_bytes_per_hour": None if slope is None else round(slope),
            "sensor_faults": self.faults,
            "bad_frames": self.bad_frames,
            "bad_lines": self.bad_lines,
            "warnings": self.warnings,
            "errors": self.errors,
            "longest_silence_s": round(self.longest_silence_s, 1),
        }

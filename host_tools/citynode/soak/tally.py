"""What a soak sees of each node while it runs, and what it makes of it in the end. No I/O."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from citynode.soak import results
from citynode.soak.account import Account
from citynode.soak.ledger import Event, Ledger
from citynode.soak.lines import Voice, printable, voice
from citynode.soak.plan import KINDS, SoakPlan
from citynode.soak.schedule import Due
from citynode.soak.site import Station
from citynode.wire.schema import RECORDS

_HEALTH = "health"
# A node that has its power back is on its feet, and has told so, within this.
_START_S = 60.0
_SAMPLED = frozenset(RECORDS[kind][0] for kind in RECORDS) - {_HEALTH, "event"}


@dataclass
class Strike:
    """A fault as it happened; `until_s` None while it lasts."""

    due: Due
    at_s: float
    until_s: float | None = None
    did: str = ""


@dataclass
class Trail:
    """What was seen of one node besides its account."""

    accepted_at: dict[int, float] = field(default_factory=dict)
    content: dict[int, tuple[object, ...]] = field(default_factory=dict)
    frames: list[results.Frame] = field(default_factory=list)
    heap: list[results.Heap] = field(default_factory=list)
    link: list[results.Link] = field(default_factory=list)
    restarts: list[results.Restart] = field(default_factory=list)
    faulty: list[float] = field(default_factory=list)  # when records with a failed sensor came
    air: list[tuple[float, float]] = field(default_factory=list)  # when, how long
    joins: list[float] = field(default_factory=list)
    complaints: list[float] = field(default_factory=list)  # warnings and errors
    crashes: list[str] = field(default_factory=list)
    replaced: int = 0  # records whose number another one has had
    twins: int = 0  # records that say what one of another number says


class Tally:
    """Takes what a site tells (an `Ear`), and has the result of each node."""

    def __init__(self, plan: SoakPlan, stations: Sequence[Station], *, delivers: bool) -> None:
        self.plan = plan
        self.stations = {station.id: station for station in stations}
        self.delivers = delivers
        self.strikes: list[Strike] = []
        self.changes: list[tuple[float, str]] = []
        self.on_event = _ignored
        self._ledger = Ledger(self.stations, {id: id for id in self.stations}, 0.0)
        self._trails = {id: Trail() for id in self.stations}
        self._said: dict[str, dict[tuple[object, ...], int]] = {id: {} for id in self.stations}
        self._noisy: Counter[str] = Counter()

    # -- an Ear ---------------------------------------------------------------------------------

    def line(self, node: str, text: str, now_s: float) -> None:
        """Take a line from a node's serial port.

        While the fault "serial" lasts nothing that it says is believed: a number with a wrong
        digit would pass for a record.
        """
        if self._noisy[node]:
            return
        trail = self._trails[node]
        who, level = voice(text)
        if who is Voice.TROUBLE:
            trail.crashes.append(printable(text[:200]))
        elif who is Voice.NODE and level in "WE":
            trail.complaints.append(now_s)
        self._note(self._ledger.line(node, text, now_s), node, now_s)

    def message(self, topic: str, payload: bytes, now_s: float) -> None:
        """Take what arrived at broker or network server."""
        for event in self._ledger.message(topic, payload, now_s):
            name = event.account.node_id
            if name in self._trails:
                self._note([event], name, now_s)

    def link(self, node: str, rssi_dbm: float, snr_db: float | None, now_s: float) -> None:
        """Take how well a node was heard."""
        self._trails[node].link.append(
            (now_s, round(rssi_dbm, 1), None if snr_db is None else round(snr_db, 1))
        )

    def joined(self, node: str, now_s: float) -> None:
        """Take note that a node has joined the network."""
        self._trails[node].joins.append(now_s)
        self.on_event(now_s, "join", node, {})

    def on_air(self, node: str, seconds: float, now_s: float) -> None:
        """Take note that a node begins to send, for so long."""
        self._trails[node].air.append((now_s, seconds))

    def change(self, what: str, now_s: float) -> None:
        """Take note of a port or broker that has gone or come back."""
        self.changes.append((now_s, what))
        self.on_event(now_s, what, None, {})

    def began(self, fault: Due, now_s: float, did: str = "") -> None:
        """Take note of a fault that begins, and of what it did where the plan does not say that."""
        self.strikes.append(Strike(fault, now_s, did=did))
        if fault.kind == "serial" and fault.node is not None:
            self._noisy[fault.node] += 1
        facts = {"fault": fault.kind, "way": fault.way, "size": fault.size, "did": did}
        self.on_event(now_s, "fault", fault.node, facts)

    def ended(self, fault: Due, now_s: float) -> None:
        """Take note of the end of a fault."""
        for strike in self.strikes:
            if strike.due is fault:
                strike.until_s = now_s
        if fault.kind == "serial" and fault.node is not None:
            self._noisy[fault.node] -= 1
        self.on_event(now_s, "fault over", fault.node, {"fault": fault.kind, "way": fault.way})

    # -- while it runs --------------------------------------------------------------------------

    @property
    def accounts(self) -> list[Account]:
        """The nodes' accounts as they are now."""
        return [each for each in self._ledger.accounts if each.node_id in self.stations]

    def close(self, now_s: float) -> None:
        """From here on only records that are known by now count."""
        self._ledger.close(now_s)

    @property
    def restarts(self) -> int:
        """How often nodes have started that were not asleep."""
        return sum(len(trail.restarts) for trail in self._trails.values())

    @property
    def on_their_way(self) -> int:
        """How many nodes have records that may still arrive."""
        return sum(each.on_their_way or each.lost > 0 for each in self.accounts)

    def _note(self, events: Sequence[Event], node: str, now_s: float) -> None:
        trail = self._trails[node]
        for event in events:
            facts = event.facts
            if event.kind == "restart":
                cause = str(facts["cause"])
                if cause != "deepsleep":
                    trail.restarts.append((now_s, cause))
            elif event.kind in ("accepted", "received", "repeated"):
                self._record(trail, node, event, now_s)
            self.on_event(now_s, event.kind, node, facts)

    def _record(self, trail: Trail, node: str, event: Event, now_s: float) -> None:
        facts = event.facts
        seq, values = facts["seq"], facts["values"]
        if not isinstance(seq, int) or not isinstance(values, Mapping):
            return
        first = seq not in trail.content
        content = (facts["record"], *values.values())
        if first:
            trail.content[seq] = content
            if facts["record"] == _HEALTH:
                self._health(trail, values, now_s)
            if facts["faults"]:
                trail.faulty.append(now_s)
        elif trail.content[seq] != content:
            trail.replaced += 1
        if event.kind == "accepted":
            trail.accepted_at.setdefault(seq, now_s)
        elif event.kind == "received":
            begun = trail.accepted_at.get(seq)
            latency = None if begun is None else round(now_s - begun, 3)
            trail.frames.append((round(now_s, 3), seq, latency))
            if facts["t"] is not None and facts["record"] in _SAMPLED:
                # What is left when copies of a number are removed: is anything there twice?
                said = self._said[node]
                key = (facts["t"], *content)
                trail.twins += said.setdefault(key, seq) != seq

    def _health(self, trail: Trail, values: Mapping[str, object], now_s: float) -> None:
        free = values.get("heap_free_b")
        if isinstance(free, int | float):
            trail.heap.append((round(now_s, 3), int(free)))
        rssi, snr = values.get("rssi_dbm"), values.get("snr_db")
        if isinstance(rssi, int | float) and snr is None:
            trail.link.append((round(now_s, 3), float(rssi), None))

    # -- in the end -----------------------------------------------------------------------------

    def silences(self, account: Account, limit_s: float, end_s: float) -> list[results.Gap]:
        """Return the times without a sign of life beyond the limit that no power cut explains."""
        node = account.node_id
        off = [s for s in self.strikes if s.due.node == node and s.due.kind in _SILENCING]
        found = []
        until = 0.0
        for first, last in [*sorted(account.signs), (end_s, end_s)]:
            first = min(first, end_s)
            if first - until > limit_s:
                away = sum(
                    max(0.0, min(first, s.until_s or end_s) - max(until, s.at_s)) for s in off
                )
                if first - until - away > limit_s:
                    found.append((round(until, 3), round(first, 3)))
            until = max(until, last)
        return found

    def trail(self, node: str) -> Trail:
        """Return what was seen of a node."""
        return self._trails[node]

    def surplus(self, node: str) -> Counter[str]:
        """Return a node's restarts by cause that no fault has brought about."""
        trail = self._trails[node]
        left = [
            (strike.until_s, _CAUSES[strike.due.kind])
            for strike in self.strikes
            if strike.due.node == node and strike.due.kind in _CAUSES and strike.until_s is not None
        ]
        found: Counter[str] = Counter()
        for number, (at_s, cause) in enumerate(trail.restarts):
            if number == 0 and cause in ("poweron", "hard") and not self._seen_before(node, at_s):
                continue  # the start of the soak
            match = next(
                (each for each in left if cause in each[1] and 0 <= at_s - each[0] <= _START_S),
                None,
            )
            if match is None:
                found[cause] += 1
            else:
                left.remove(match)
        return found

    def _seen_before(self, node: str, at_s: float) -> bool:
        accepted = self._trails[node].accepted_at
        return any(each < at_s for each in accepted.values())

    def faults(self, end_s: float) -> list[results.Fault]:
        """Return what was done, and what the nodes did."""
        return [
            results.Fault(
                strike.due.kind,
                strike.due.node,
                round(strike.at_s, 3),
                None if strike.until_s is None else round(strike.until_s, 3),
                self._story(strike, end_s),
                cell=None if strike.due.node is not None else f"cell-{strike.due.cell + 1}",
            )
            for strike in self.strikes
        ]

    def _story(self, strike: Strike, end_s: float) -> str:
        due = strike.due
        told = [due.way if due.node is not None else f"cell {due.cell + 1}: {due.way}"]
        kind = KINDS[due.kind]
        if kind.size is not None:
            told.append(f"{due.size:g} {kind.size[0]}")
        if strike.did:
            told.append(strike.did)
        until = end_s if strike.until_s is None else strike.until_s
        names = [due.node] if due.node is not None else list(self.stations)
        trails = [self._trails[name] for name in names]
        restarts = [
            (at_s - strike.at_s, cause)
            for trail in trails
            for at_s, cause in trail.restarts
            if strike.at_s <= at_s <= until + _START_S
        ]
        if restarts and due.kind in _CAUSES:
            after, cause = restarts[0]
            told.append(f"restarted ({cause}) {after:.1f} s after it began")
        failed = sum(
            bisect_right(trail.faulty, until + 1) - bisect_left(trail.faulty, strike.at_s)
            for trail in trails
        )
        if failed and due.kind in ("sensor", "i2c"):
            told.append(f"{failed} records with a failed sensor")
        complaints = sum(
            bisect_right(trail.complaints, until) - bisect_left(trail.complaints, strike.at_s)
            for trail in trails
        )
        if complaints:
            told.append(f"{complaints} warnings and errors meanwhile")
        arrivals = [
            trail.frames[at][0] - until
            for trail in trails
            if (at := bisect_left(trail.frames, (until, 0, None))) < len(trail.frames)
        ]
        if arrivals:
            told.append(f"records arrive again {max(arrivals):.0f} s after it")
        return "; ".join(told)


# What keeps a node from being heard, and what starts it anew.
_SILENCING = frozenset(("power", "brownout", "flash", "serial", "reset"))
_CAUSES = {
    "power": ("poweron",),
    "brownout": ("poweron", "brownout"),
    "reset": ("hard", "poweron"),
}


def _ignored(now_s: float, kind: str, node: str | None, facts: Mapping[str, object]) -> None:
    pass

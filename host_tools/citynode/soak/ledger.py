"""All accounts of a soak: what the ports showed, and what the broker had, put together. No I/O."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from citynode.frames import Record, decode
from citynode.soak import topics
from citynode.soak.account import Account
from citynode.soak.lines import Line, parse, rom_reset
from citynode.wire.frame import FrameError
from citynode.wire.schema import RESET_CAUSES

_NODE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MAX_RECORDS = 4096  # that are remembered to find out which node is at which port
_MAX_NODES = 4096  # anyone may publish under any name

_Key = tuple[object, ...]  # what tells one record from another


@dataclass(frozen=True)
class Event:
    """Something for the log: `kind` and its facts."""

    kind: str
    account: Account
    facts: Mapping[str, object]


class Ledger:
    """The accounts by port and by node.

    Which node is at which port, the node's first line tells, or `names`, or the records: a node is
    at the port that showed most of those it sent, alone or in batches. Two nodes may well have the
    same. `start_s` is when the soak began, by the clock of all other times.
    """

    def __init__(
        self, ports: Iterable[str], names: Mapping[str, str] | None = None, start_s: float = 0.0
    ) -> None:
        self._start_s = start_s
        self._end_s: float | None = None
        self._ports = {port: Account(port=port) for port in ports}
        for port, node_id in (names or {}).items():
            self._ports[port].node_id = node_id
        self._former: list[Account] = []  # of nodes whose place another has taken
        self._nodes: dict[str, Account] = {}
        self._limits: dict[str, int] | None = None  # highest number that counts, by node
        self._shown: dict[_Key, set[str]] = {}  # record: ports
        self._sent: dict[_Key, set[str]] = {}  # record: nodes
        self._votes: dict[str, Counter[str]] = {}  # node: port: how many records they share

    @property
    def accounts(self) -> list[Account]:
        """Return the nodes: those at our ports, then those that only the broker knows."""
        nodes = self._nodes_at_ports()
        listed = []
        for account in [*self._ports.values(), *self._former]:
            node_id = account.node_id or nodes.get(account.port or "")
            listed.append(account.joined(self._nodes.get(node_id or ""), node_id))
        here = {account.node_id for account in listed}
        return listed + [node for name, node in self._nodes.items() if name not in here]

    def judged(self, now_s: float) -> list[Account]:
        """Return the accounts with their longest silence until now."""
        found = self.accounts
        for account in found:
            start_s = None if account.port is None else self._start_s
            end_s = now_s if self._end_s is None else self._end_s
            account.longest_silence_s = account.silence(start_s, end_s)
        return found

    def close(self, now_s: float) -> None:
        """From here on only records that are known by now count: the others came too late."""
        self._end_s = now_s
        self._limits = {each.node_id: each.highest for each in self.accounts if each.node_id}

    def line(self, port: str, text: str, now_s: float) -> list[Event]:
        """Take a line from a port."""
        if cause := rom_reset(text):
            account = self._ports[port]
            account.boots[cause] += 1
            return [Event("reset", account, {"rom": cause})]
        line = parse(text)
        if line is None:
            return []
        events = []
        if line.start is not None:
            events.append(self._started(port, *line.start))
        account = self._ports[port]
        account.heard(now_s)
        account.warnings += line.level == "W"
        account.errors += line.level == "E"
        if line.tag == "frame":
            events += self._accepted(account, line)
        return events

    def message(self, topic: str, payload: bytes, now_s: float) -> list[Event]:
        """Take a message of the broker; what is no message with records is left alone."""
        message = topics.read(topic, payload)
        if message is None:
            return []
        name, payload = message
        if name not in self._nodes and len(self._nodes) >= _MAX_NODES:
            return []
        account = self._nodes.setdefault(name, Account(node_id=name))
        account.heard(now_s)
        records = _records(payload)
        if records is None:
            account.bad_frames += 1
            return [Event("bad frame", account, {"frame": payload[:256].hex()})]
        events = []
        for record in records:
            self._vote(record, node=name)
            if self._limits is not None and record.seq > self._limits.get(name, record.seq):
                continue
            account.received[record.seq] += 1
            again = account.received[record.seq] > 1
            events.append(Event("repeated" if again else "received", account, record.to_json()))
            if not again:
                account.learn(record)
        return events

    def _started(self, port: str, version: str, node_id: str, cause: str) -> Event:
        account = self._ports[port]
        if _NODE_ID.fullmatch(node_id):
            if account.node_id not in (None, node_id):
                self._former.append(account)
                account = self._ports[port] = Account(port=port)
            account.node_id = node_id
        cause = cause if cause in RESET_CAUSES else RESET_CAUSES[0]
        account.restarts[cause] += 1
        if not account.signs:
            account.began = cause
        return Event("restart", account, {"cause": cause, "version": version[:32]})

    def _accepted(self, account: Account, line: Line) -> list[Event]:
        frame = line.frame
        records = None if frame is None else _records(frame)
        if records is None:
            account.bad_lines += 1
            return [Event("bad line", account, {"text": line.text[:512]})]
        for record in records:
            self._vote(record, port=account.port)
        if self._limits is not None:
            return []
        events = []
        for record in records:
            account.accept(record.seq)
            account.learn(record)
            events.append(Event("accepted", account, record.to_json()))
        return events

    def _nodes_at_ports(self) -> dict[str, str]:
        """Return the node at each port, as far as lines, names or frames tell."""
        places = {
            account.node_id: port
            for port, account in self._ports.items()
            if account.node_id is not None
        }
        for node, votes in self._votes.items():
            free = Counter({port: n for port, n in votes.items() if port not in places.values()})
            ranked = free.most_common(2)
            if node not in places and ranked and ranked[0][1] > ranked[-1][1] * (len(ranked) - 1):
                places[node] = ranked[0][0]
        return {port: node for node, port in places.items()}

    def _vote(self, record: Record, *, port: str | None = None, node: str | None = None) -> None:
        """Count the pairs of node and port that had the same record."""
        key = _key(record)
        ports = self._shown.setdefault(key, set())
        nodes = self._sent.setdefault(key, set())
        for pair_port in {port} - ports if port else ports:
            for pair_node in {node} - nodes if node else nodes:
                self._votes.setdefault(pair_node, Counter())[pair_port] += 1
        if port:
            ports.add(port)
        if node:
            nodes.add(node)
        for known in (self._shown, self._sent):
            while len(known) > _MAX_RECORDS:
                del known[next(iter(known))]


def _key(record: Record) -> _Key:
    return (record.kind, record.seq, record.t, record.status, *record.values.values())


def _records(frame: bytes) -> list[Record] | None:
    try:
        return decode(frame)
    except FrameError:
        return None

"""Runs a soak, or a shard of one, at a site, and has its result."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from citynode.errors import CitynodeError
from citynode.soak import criteria, results
from citynode.soak.account import Account
from citynode.soak.plan import SoakPlan
from citynode.soak.schedule import Due
from citynode.soak.site import Site, Station
from citynode.soak.tally import Tally

_STEPS = 200  # looks at the nodes in a soak, at least
_LONGEST_STEP_S = 600.0


@dataclass(frozen=True)
class Glance:
    """How far a shard is: the plan's seconds, and its nodes in numbers."""

    cell: int
    now_s: float
    end_s: float
    accepted: int
    received: int
    missing: int
    repeated: int
    restarts: int
    faults: int


def run(
    plan: SoakPlan,
    seed: int,
    site: Site,
    faults: Sequence[Due],
    *,
    cell: int = 0,
    command: str = "",
    look: Callable[[Glance], None] = lambda glance: None,
    log: Callable[[str], None] | None = None,
) -> results.Run:
    """Let the nodes of a site run for the plan's duration, with these faults; return the result.

    `look` is told how far it is, `log` gets events as lines of JSON. With a KeyboardInterrupt it
    ends early, and the result says so. Raises CitynodeError.
    """
    missing = {fault.kind for fault in faults} - site.kinds
    if missing:
        raise CitynodeError(
            f"this site cannot do {', '.join(sorted(missing))}",
            "take them out of the plan's faults, or give what they need",
        )
    tally = Tally(plan, site.stations, delivers=site.delivers)
    if log is not None:
        tally.on_event = _Log(log, cell)
    stations = {station.id: station for station in site.stations}
    meters = {node: _Meter(site, node) for node in stations}
    now_s, interrupted = 0.0, False
    step_s = min(_LONGEST_STEP_S, plan.duration / _STEPS)

    def go_to(until_s: float) -> None:
        nonlocal now_s
        site.run(until_s)
        now_s = until_s
        if until_s <= plan.duration:
            for meter in meters.values():
                meter.read(until_s)
        look(_glance(tally, cell, now_s, plan.duration))

    try:
        site.open(tally, faults)
        try:
            number = 1
            while now_s < plan.duration:
                go_to(min(plan.duration, number * step_s))
                number += 1
            tally.close(now_s)
            end_s = plan.duration + (plan.grace if site.delivers else 0.0)
            while now_s < end_s and tally.on_their_way:
                go_to(min(end_s, now_s + step_s))
        except KeyboardInterrupt:
            interrupted = True
            tally.close(now_s)
        erases = {node: dict(site.erases(node)) for node in stations}
    finally:
        site.close()
    ended_s = min(now_s, plan.duration)
    done = results.Run(
        plan=plan.id,
        seed=seed,
        started=round(site.started_s, 3),
        duration_s=ended_s,
        clock=plan.clock,
        nodes=tuple(
            _node(tally, account, stations[name], cell, erases[name], meters[name], ended_s)
            for account in tally.accounts
            if (name := account.node_id) is not None
        ),
        faults=tuple(tally.faults(now_s)),
        criteria=criteria.limits(plan),
        command=command,
        interrupted=interrupted,
    )
    if log is not None:
        for node in done.nodes:
            facts = {"passed": not node.wrong, "wrong": [f"{k}: {text}" for k, text in node.wrong]}
            tally.on_event(now_s, "verdict", node.id, facts)
    return replace(done, nodes=tuple(sorted(done.nodes, key=lambda node: node.id)))


class _Meter:
    """What a node has drawn, read now and then."""

    def __init__(self, site: Site, node: str) -> None:
        self.mah: float | None = None
        self.current: list[results.Current] = []
        self._site = site
        self._node = node
        self._last_s = 0.0

    def read(self, now_s: float) -> None:
        before, self.mah = self.mah or 0.0, self._site.energy_mah(self._node)
        if self.mah is not None and now_s > self._last_s:
            ma = (self.mah - before) * 3600 / (now_s - self._last_s)
            self.current.append((now_s, round(ma, 4)))
            self._last_s = now_s


class _Log:
    """Events as lines of JSON: the plan's time, the cell, the node, what, and its facts."""

    def __init__(self, write: Callable[[str], None], cell: int) -> None:
        self._write = write
        self._cell = cell

    def __call__(
        self, now_s: float, kind: str, node: str | None, facts: Mapping[str, object]
    ) -> None:
        head = {"at": round(now_s, 3), "cell": self._cell + 1, "event": kind, "node": node}
        self._write(json.dumps({**head, **facts}))


def _glance(tally: Tally, cell: int, now_s: float, end_s: float) -> Glance:
    accounts = tally.accounts
    return Glance(
        cell,
        now_s,
        end_s,
        sum(len(each.accepted) for each in accounts),
        sum(each.delivered for each in accounts),
        sum(each.lost for each in accounts),
        sum(each.repeated for each in accounts),
        tally.restarts,
        len(tally.strikes),
    )


def _node(
    tally: Tally,
    account: Account,
    station: Station,
    cell: int,
    erases: dict[int, int],
    meter: _Meter,
    ended_s: float,
) -> results.Node:
    trail = tally.trail(station.id)
    limit_s = criteria.silence_limit(tally.plan, station.quiet_s)
    gaps = tally.silences(account, limit_s, ended_s)
    return results.Node(
        id=station.id,
        board=station.board,
        profile=station.profile,
        cell=f"cell-{cell + 1}",
        frames=tuple(trail.frames),
        gaps=tuple(gaps),
        heap=tuple(trail.heap),
        link=tuple(trail.link),
        current=tuple(meter.current),
        restarts=tuple(trail.restarts),
        erases={sector: n for sector, n in sorted(erases.items()) if n},
        energy_mah=None if meter.mah is None else round(meter.mah, 3),
        air_time_s=round(sum(seconds for _, seconds in trail.air), 3),
        joins=len(trail.joins),
        accepted=len(account.accepted),
        received=account.delivered,
        lost=account.lost if tally.delivers else 0,
        repeated=account.repeated,
        wrong=(
            *criteria.judge(tally, account, gaps),
            *criteria.energy(tally.plan, meter.mah, ended_s),
        ),
    )

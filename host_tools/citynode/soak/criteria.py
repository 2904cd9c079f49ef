"""What a plan asks of its nodes, held against what was seen of them. No I/O."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, islice

from citynode.soak import results
from citynode.soak.account import Account
from citynode.soak.plan import Pass, SoakPlan
from citynode.soak.tally import Tally, Trail
from citynode.soak.times import words

_DAY_S = 86_400.0
# The heap of a node that has just started is still filling.
_SETTLING_S = 600.0
_LEAST_POINTS = 4
_LEAST_SPAN_S = 3600.0
_SURE = 2.0  # standard errors between what was measured and what it is blamed for
_DEFAULT_SILENCE_S = 900.0


STRIKES = "faults"


def limits(plan: SoakPlan) -> tuple[results.Criterion, ...]:
    """Return the criteria of a plan, each with its limit in words."""
    wanted = plan.criteria
    named = ", ".join(f"{cause} {n}" for cause, n in sorted(wanted.restarts.items()))
    rows = [
        ("reports", "every node"),
        ("lost", f"{wanted.lost} records"),
        ("duplicates", f"{wanted.duplicates} records"),
        ("restarts", named or "none but those of the faults"),
        ("crashes", "none"),
        ("silence", "the node's own" if wanted.silence is None else words(wanted.silence)),
    ]
    if plan.faults:
        rows.append((STRIKES, "each kind of the plan strikes"))
    if wanted.heap_loss is not None:
        rows.append(("heap", f"{wanted.heap_loss:g} bytes an hour"))
    if wanted.latency_half is not None:
        rows.append(("latency of half", words(wanted.latency_half)))
    if wanted.latency_most is not None:
        rows.append(("latency of 95 %", words(wanted.latency_most)))
    if wanted.joins is not None:
        rows.append(("joins", str(wanted.joins)))
    if wanted.air_time is not None:
        rows.append(("air time", f"{wanted.air_time:g} s in 24 h"))
    if wanted.energy is not None:
        rows.append(("energy", f"{wanted.energy:g} mAh a day"))
    return tuple(results.Criterion(name, limit) for name, limit in rows)


def unseen(plan: SoakPlan, run: results.Run) -> results.Run:
    """Return the run with what is wrong if a kind of fault has not struck anybody."""
    missing = sorted({each.kind for each in plan.faults} - {each.kind for each in run.faults})
    if not missing or run.interrupted:
        return run
    wrong = (f"{', '.join(missing)} did not happen: let it run longer, or give it a time",)
    return replace(
        run,
        criteria=tuple(
            replace(each, wrong=wrong) if each.name == STRIKES else each for each in run.criteria
        ),
    )


def judge(tally: Tally, account: Account, gaps: Sequence[results.Gap]) -> list[results.Wrong]:
    """Return what is wrong with a node, with the name of the criterion."""
    plan, wanted = tally.plan, tally.plan.criteria
    node = account.node_id or ""
    trail = tally.trail(node)
    wrong: list[results.Wrong] = []
    if not account.signs:
        return [("reports", "said nothing")]
    if tally.delivers and not account.received:
        wrong.append(("reports", "nothing arrived"))
    elif not tally.delivers and not account.accepted:
        wrong.append(("reports", "no record was accepted"))
    elif tally.delivers and account.lost > wanted.lost:
        first = ", ".join(map(str, islice(account.missing, 5)))
        wrong.append(("lost", f"{account.lost} records lost (number {first})"))
    if account.renumbered or trail.replaced:
        again = max(account.renumbered, trail.replaced)
        wrong.append(("lost", f"{again} record numbers were used twice"))
    if trail.twins > wanted.duplicates:
        wrong.append(("duplicates", f"{trail.twins} records came under another number as well"))
    if surplus := over(tally.surplus(node), wanted.restarts):
        told = ", ".join(f"{cause} {n}" for cause, n in surplus.most_common())
        wrong.append(("restarts", f"restarted for no reason of the plan ({told})"))
    if account.false_starts and not _garbled(plan):
        told = ", ".join(f"{cause} {n}" for cause, n in account.boots.most_common())
        wrong.append(("restarts", f"did not start after resets ({told})"))
    if trail.crashes:
        first = trail.crashes[0]
        wrong.append(("crashes", f"{len(trail.crashes)} lines as of a crash, the first: {first}"))
    if account.bad_frames:
        wrong.append(("crashes", f"{account.bad_frames} frames that arrived are wrong"))
    for begin, end in gaps:
        wrong.append(("silence", f"silent for {end - begin:.0f} s from {words(begin)} on"))
    wrong += _heap(wanted, trail)
    wrong += _latency(wanted, trail)
    if wanted.joins is not None and len(trail.joins) > wanted.joins:
        wrong.append(("joins", f"joined {len(trail.joins)} times"))
    most = most_in_a_day(trail.air)
    if wanted.air_time is not None and most > wanted.air_time:
        wrong.append(("air time", f"{most:.1f} s on the air within 24 h"))
    return wrong


def energy(plan: SoakPlan, mah: float | None, ended_s: float) -> Iterator[results.Wrong]:
    """Yield what is wrong with what a node has drawn until a time."""
    wanted = plan.criteria.energy
    if wanted is None or mah is None or not ended_s:
        return
    per_day = mah * _DAY_S / ended_s
    if per_day > wanted:
        yield "energy", f"draws {per_day:.3g} mAh a day"


def silence_limit(plan: SoakPlan, quiet_s: float) -> float:
    """Return how long a node may be silent that is silent for `quiet_s` when all is well."""
    if plan.criteria.silence is not None:
        return plan.criteria.silence
    return max(_DEFAULT_SILENCE_S, 2.5 * quiet_s)


def over(found: Counter[str], allowed: Mapping[str, int]) -> Counter[str]:
    """Return the restarts that are more than allowed."""
    return found - Counter(allowed)


def heap_slope(
    heap: Sequence[results.Heap], restarts: Sequence[results.Restart]
) -> tuple[float, float] | None:
    """Return how many bytes of free heap come in an hour, and the standard error of that.

    One slope for all starts of the program, each with a level of its own, by least squares; None
    where four reports over an hour are not there.
    """
    starts = [0.0, *(at_s for at_s, _ in restarts)]
    points = 0
    span = square = product = total = 0.0
    runs = 0
    for begin, end in zip(starts, [*starts[1:], math.inf], strict=True):
        part = [(t, b) for t, b in heap if begin + _SETTLING_S <= t < end]
        if len(part) < 2:
            continue
        runs += 1
        points += len(part)
        mean_t = sum(t for t, _ in part) / len(part)
        mean_b = sum(b for _, b in part) / len(part)
        square += sum((t - mean_t) ** 2 for t, _ in part)
        product += sum((t - mean_t) * (b - mean_b) for t, b in part)
        total += sum((b - mean_b) ** 2 for _, b in part)
        span += part[-1][0] - part[0][0]
    free = points - runs - 1
    if points < _LEAST_POINTS or span < _LEAST_SPAN_S or free < 1 or square <= 0:
        return None
    slope = product / square
    rest = max(0.0, total - slope * product)
    return 3600 * slope, 3600 * math.sqrt(rest / free / square)


def quantile(latencies: Sequence[float], share: float) -> float:
    """Return the value that a share of the values does not exceed."""
    ordered = sorted(latencies)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def most_in_a_day(air: Sequence[tuple[float, float]]) -> float:
    """Return the most air time (s) that any 24 hours have; a frame counts where it begins."""
    if not air:
        return 0.0
    spent = [0.0, *accumulate(seconds for _, seconds in air)]
    most, first = 0.0, 0
    for number, (at_s, _) in enumerate(air):
        while at_s - air[first][0] >= _DAY_S:
            first += 1
        most = max(most, spent[number + 1] - spent[first])
    return most


def _heap(wanted: Pass, trail: Trail) -> Iterator[results.Wrong]:
    found = heap_slope(trail.heap, trail.restarts)
    if wanted.heap_loss is None or found is None:
        return
    slope, error = found
    if slope + _SURE * error < -wanted.heap_loss:
        yield "heap", f"the heap loses {-slope:.0f} bytes an hour"


def _latency(wanted: Pass, trail: Trail) -> Iterator[results.Wrong]:
    took = [latency for _, _, latency in trail.frames if latency is not None]
    for name, share, limit in (
        ("latency of half", 0.5, wanted.latency_half),
        ("latency of 95 %", 0.95, wanted.latency_most),
    ):
        if limit is not None and took and (found := quantile(took, share)) > limit:
            yield name, f"{share:.0%} of the records took up to {words(found)}"


def _garbled(plan: SoakPlan) -> bool:
    """Tell whether lines about starts may have been lost on the way to us."""
    return any(fault.kind == "serial" for fault in plan.faults)

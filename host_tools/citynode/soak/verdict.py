"""When a soak counts as passed."""

from collections import Counter
from dataclasses import dataclass
from itertools import islice

from citynode.soak.account import Account


@dataclass(frozen=True)
class Plan:
    """How long nodes are watched and what they have to do.

    After `duration_s` what is on its way has `grace_s` to arrive. `silence_s` is the longest
    that a node may say nothing, `heap_loss` what its heap may lose in bytes an hour; `started`
    tells that the nodes are started for the soak: a start that is the first thing heard is none.
    """

    duration_s: float
    silence_s: float
    grace_s: float = 20.0
    heap_loss: float = 1024.0
    started: bool = False


def judge(account: Account, plan: Plan, *, broker: bool) -> list[str]:
    """Return what is wrong with a node; nothing if it passed."""
    wrong = []
    if not account.signs:
        wrong.append("said nothing")
    elif account.longest_silence_s > plan.silence_s:
        wrong.append(f"silent for {account.longest_silence_s:.0f} s")
    if account.signs and broker:
        if not account.received:
            wrong.append("nothing arrived at the broker")
        elif account.lost:
            first = ", ".join(map(str, islice(account.missing, 5)))
            wrong.append(f"{account.lost} records lost (number {first})")
    elif account.signs and not account.accepted:
        wrong.append("no record was accepted")
    if account.faulty_restarts(started=plan.started):
        wrong.append(f"restarted ({_counted(account.restarts)})")
    if account.false_starts:
        wrong.append(f"did not start after resets ({_counted(account.boots)})")
    if account.renumbered:
        wrong.append(f"its record numbers went back {account.renumbered} times")
    slope = account.heap_slope
    if slope is not None and slope < -plan.heap_loss:
        wrong.append(f"the heap loses {-slope:.0f} bytes an hour")
    if account.bad_frames:
        wrong.append(f"{account.bad_frames} frames at the broker are wrong")
    if account.bad_lines and not broker:  # with one, it has shown what is noise on the line
        wrong.append(f"{account.bad_lines} frames on the port are wrong")
    return wrong


def _counted(causes: Counter[str]) -> str:
    return ", ".join(f"{cause} {n}" for cause, n in causes.most_common())

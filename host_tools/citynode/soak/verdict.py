"""When a soak counts as passed."""

from dataclasses import dataclass

from citynode.soak.account import Account


@dataclass(frozen=True)
class Plan:
    """How long nodes are watched and what they have to do.

    After `duration_s` what is on its way has `grace_s` to arrive. `silence_s` is the longest
    that a node may say nothing, `heap_loss` what its heap may lose in bytes an hour; `started`
    tells that the nodes are started during the soak, so that one start each is no restart.
    """

    duration_s: float
    grace_s: float = 20.0
    silence_s: float = 900.0
    heap_loss: float = 1024.0
    started: bool = False


def judge(account: Account, plan: Plan, *, broker: bool) -> list[str]:
    """Return what is wrong with a node; nothing if it passed."""
    wrong = []
    who = account.port or account.node_id
    if account.last_heard_s is None:
        return [f"{who} said nothing"]
    if account.longest_silence_s > plan.silence_s:
        wrong.append(f"silent for {account.longest_silence_s:.0f} s")
    if broker:
        if not account.received:
            wrong.append("nothing arrived at the broker")
        elif account.missing:
            first = ", ".join(map(str, account.missing[:5]))
            wrong.append(f"{len(account.missing)} records lost (number {first})")
    elif not account.accepted:
        wrong.append("no record was accepted")
    restarts = account.faulty_restarts - (1 if plan.started else 0)
    if restarts > 0:
        causes = ", ".join(f"{cause} {n}" for cause, n in account.restarts.most_common())
        wrong.append(f"restarted ({causes})")
    slope = account.heap_slope
    if slope is not None and slope < -plan.heap_loss:
        wrong.append(f"the heap loses {-slope:.0f} bytes an hour")
    if account.bad_frames:
        wrong.append(f"{account.bad_frames} frames are wrong")
    return wrong

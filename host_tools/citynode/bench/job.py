"""One piece of work on many ports at once, a thread each, ended together by Ctrl-C."""

import queue
import threading
import time
from collections.abc import Callable, Sequence

from citynode.bench.outcome import Outcome, Step, Unwatched, Verdict, Watch
from citynode.errors import CitynodeError
from citynode.link import ports
from citynode.link.channel import Leash

Work = Callable[["Bench", Outcome], None]


class Bench:
    """What the work on one port needs: a leash for its children, and someone to tell."""

    def __init__(self, port: str, leash: Leash, watch: Watch, outcome: Outcome) -> None:
        self.port = port
        self.leash = leash
        self._watch = watch
        self._outcome = outcome

    def step(self, step: Step) -> None:
        """Begin a step; raises CitynodeError if the job was stopped."""
        if self.leash.is_cut:
            raise CitynodeError("stopped", "run this again: it goes on where it was")
        self._outcome.step = step
        self._watch.step(self.port, step)

    def progress(self, done: int, total: int) -> None:
        """Say how far the step is."""
        self._watch.progress(self.port, done, total)


def run(
    selected: Sequence[str], work: Work, *, jobs: int | None = None, watch: Watch | None = None
) -> list[Outcome]:
    """Do the work on every port, at most `jobs` at a time, and return how each ended.

    A board that fails stops no other. KeyboardInterrupt ends all children before it goes on.
    """
    watch = watch or Unwatched()
    leash = Leash()
    outcomes = [Outcome(port) for port in selected]
    waiting: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    for outcome in outcomes:
        waiting.put(outcome)

    def labour() -> None:
        while True:
            try:
                outcome = waiting.get_nowait()
            except queue.Empty:
                return
            _one(outcome, work, leash, watch)

    workers = [
        threading.Thread(target=labour, name=f"citynode {number}", daemon=True)
        for number in range(min(len(outcomes), jobs or len(outcomes)))
    ]
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():  # in slices: a signal has to get through on every system
                worker.join(0.2)
    except BaseException:
        leash.cut()
        for worker in workers:
            if worker.ident is not None:
                worker.join()
        raise
    return outcomes


def _one(outcome: Outcome, work: Work, leash: Leash, watch: Watch) -> None:
    bench = Bench(outcome.port, leash, watch, outcome)
    start = time.monotonic()
    try:
        with ports.lock(outcome.port):
            ports.check(outcome.port)
            work(bench, outcome)
        outcome.verdict = Verdict.PASS
        outcome.step = Step.DONE
        watch.step(outcome.port, Step.DONE)
    except CitynodeError as error:
        outcome.verdict = Verdict.ABORTED if leash.is_cut else Verdict.FAIL
        outcome.error, outcome.cure = error.what, error.cure
    except Exception as error:
        # A fault of ours. Its text may hold anything, so only its kind is told.
        outcome.error = f"citynode itself failed ({type(error).__name__})"
        outcome.cure = "report this, with the verb and the step"
    outcome.seconds = time.monotonic() - start

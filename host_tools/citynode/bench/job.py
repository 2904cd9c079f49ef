"""One piece of work on many ports at once, a thread each, ended together by Ctrl-C."""

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from citynode.bench.outcome import Outcome, Step, Unwatched, Verdict, Watch
from citynode.errors import CitynodeError
from citynode.link import ports
from citynode.link.channel import Leash

Work = Callable[["Bench", Any], None]  # of the kind of outcome that the job makes
Judge = Callable[[Exception], Verdict]

_SLICE_S = 0.2  # a signal has to get through on every system
_END_S = 10.0
_GO_ON = "run this again: it goes on where it was"


class InterruptedJobError(CitynodeError):
    """Somebody pressed Ctrl-C; `outcomes` tells how far each board was."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__("interrupted", _GO_ON)
        self.outcomes = outcomes


class SkippedError(Exception):
    """There is nothing to do for this board; its text says why."""


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
            raise CitynodeError("stopped", _GO_ON)
        self._outcome.step = step
        self._watch.step(self.port, step)

    def progress(self, done: int, total: int) -> None:
        """Say how far the step is."""
        self._watch.progress(self.port, done, total)


def failed(error: Exception) -> Verdict:
    """Return how a board has ended whose work raised `error`, where nobody tells more."""
    return Verdict.FAIL


def run(
    selected: Sequence[str],
    work: Work,
    *,
    jobs: int | None = None,
    watch: Watch | None = None,
    make: Callable[[str], Outcome] = Outcome,
    judge: Judge = failed,
) -> list[Outcome]:
    """Do the work on every port, at most `jobs` at a time, and return how each ended.

    A board that fails stops no other; `judge` gives its verdict. Ctrl-C ends all children, then
    raises InterruptedJobError.
    """
    watch = watch or Unwatched()
    leash = Leash()
    outcomes = [make(port) for port in selected]
    waiting: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    for outcome in outcomes:
        waiting.put(outcome)

    def labour(ended: threading.Event) -> None:
        try:
            while True:
                one(waiting.get_nowait(), work, leash, watch, judge)
        except queue.Empty:
            pass
        finally:
            ended.set()

    # Events, because a `join` that Ctrl-C has interrupted takes the thread for ended.
    ends = [threading.Event() for _ in range(min(len(outcomes), jobs or len(outcomes)))]
    workers = [
        threading.Thread(target=labour, args=(end,), name=f"citynode {number}", daemon=True)
        for number, end in enumerate(ends)
    ]
    try:
        for worker in workers:
            worker.start()
        for end in ends:
            while not end.wait(_SLICE_S):
                pass
    except BaseException as error:
        with deaf():  # whoever is impatient presses twice
            leash.cut()
            for worker, end in zip(workers, ends, strict=True):
                # One that Ctrl-C came before may be about to start, or never will.
                end.wait(_SLICE_S if worker.ident is None else _END_S)
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedJobError(outcomes) from None
        raise
    return outcomes


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Ignore Ctrl-C for a moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def one(outcome: Outcome, work: Work, leash: Leash, watch: Watch, judge: Judge = failed) -> None:
    """Do the work on one port, with the port locked; whatever happens is in the outcome."""
    bench = Bench(outcome.port, leash, watch, outcome)
    start = time.monotonic()
    try:
        with ports.lock(outcome.port):
            ports.check(outcome.port)
            work(bench, outcome)
        outcome.verdict = Verdict.PASS
        outcome.step = Step.DONE
        watch.step(outcome.port, Step.DONE)
    except SkippedError as reason:
        outcome.verdict, outcome.step = Verdict.SKIP, Step.DONE
        outcome.cure = str(reason)
        watch.step(outcome.port, Step.DONE)
    except Exception as error:
        outcome.verdict = Verdict.ABORTED if leash.is_cut else judge(error)
        if isinstance(error, CitynodeError):
            outcome.error, outcome.cure = error.what, error.cure
        elif leash.is_cut:
            outcome.error, outcome.cure = f"stopped at {outcome.port}", _GO_ON
        else:
            # A fault of ours. Its text may hold anything, so only its kind is told.
            outcome.error = f"{outcome.port}: citynode itself failed ({type(error).__name__})"
            outcome.cure = "report this, with the verb and the step"
    outcome.seconds = time.monotonic() - start
    watch.ended(outcome)

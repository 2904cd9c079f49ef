"""A soak in shards, one for each cell: here, in processes, or on the workers of a Dask cluster.

What a shard is follows from plan and seed alone, and shards know nothing of each other: whoever
runs them, in whatever order, the result is the same.
"""

import contextlib
import heapq
import json
import multiprocessing
import signal
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from importlib import import_module
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from typing import Any

from citynode.errors import CitynodeError
from citynode.soak import criteria, results
from citynode.soak.plan import SoakPlan
from citynode.soak.runner import Glance
from citynode.soak.schedule import cells

_LOOK_S = 0.2

Look = Callable[[Glance], None]


@dataclass(frozen=True)
class Shard:
    """One cell of a plan; `logged` tells whether its events are wanted."""

    plan: SoakPlan
    seed: int
    cell: int
    command: str = ""
    logged: bool = False


@dataclass(frozen=True)
class Outcome:
    """The result of a shard as JSON, and its events: lines of JSON, compressed.

    `software` has a digest of what the nodes ran, by group of the plan.
    """

    run: str
    events: bytes = b""
    software: Mapping[str, str] = field(default_factory=dict)


Work = Callable[[Shard, Look], Outcome]  # at the top of a module: it goes to other processes


def shards_of(
    plan: SoakPlan, seed: int, command: str, *, only: int | None = None, logged: bool = False
) -> list[Shard]:
    """Return the shards of a plan, or the one of a cell; raises CitynodeError."""
    found = cells(plan)
    if only is not None and only not in found:
        raise CitynodeError(f"the plan has no cell {only + 1}", f"its cells are 1 to {len(found)}")
    return [Shard(plan, seed, cell, command, logged) for cell in found if only in (None, cell)]


def here(shards: Sequence[Shard], work: Work, look: Look) -> Iterator[Outcome]:
    """Run one shard after another in this process."""
    for shard in shards:
        outcome = work(shard, look)
        yield outcome
        if results.Run.from_json(outcome.run).interrupted:
            raise KeyboardInterrupt


def in_processes(
    shards: Sequence[Shard], work: Work, look: Look, processes: int
) -> Iterator[Outcome]:
    """Run shards in so many processes; what is done by a Ctrl-C still comes."""
    context = multiprocessing.get_context("spawn")
    glances: SimpleQueue[Glance] = context.SimpleQueue()
    stop = context.Event()
    pool = ProcessPoolExecutor(processes, context, _set_up, (glances, stop))
    waiting: set[Future[Outcome]] = set()

    def show() -> None:
        while not glances.empty():
            look(glances.get())

    try:
        waiting = {pool.submit(_in_process, work, shard) for shard in shards}
        while waiting:
            done, waiting = wait(waiting, _LOOK_S, FIRST_COMPLETED)
            show()
            for future in done:
                yield future.result()
    except KeyboardInterrupt:
        stop.set()
        left = {future for future in waiting if not future.cancel()}
        while left:
            done, left = wait(left, _LOOK_S, FIRST_COMPLETED)
            show()  # or who writes to a full pipe would never end
            for future in done:
                yield future.result()
        raise
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


_glances: "SimpleQueue[Glance] | None" = None
_stop: Event | None = None


def _set_up(glances: "SimpleQueue[Glance]", stop: Event) -> None:
    global _glances, _stop
    _glances, _stop = glances, stop
    # Ctrl-C goes to all processes of a terminal: the first one tells the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_process(work: Work, shard: Shard) -> Outcome:
    first = multiprocessing.parent_process()

    def look(glance: Glance) -> None:
        if _stop is not None and _stop.is_set():
            raise KeyboardInterrupt
        if first is not None and not first.is_alive():
            raise KeyboardInterrupt  # it was killed, and nobody waits for the verdict
        if _glances is not None:
            _glances.put(glance)

    return _plainly(work, shard, look)


def on_dask(shards: Sequence[Shard], work: Work, address: str) -> Iterator[Outcome]:
    """Run shards on a Dask cluster, from which nothing is heard until one is done.

    Raises CitynodeError at once (no such package, no such scheduler).
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise CitynodeError(
            "--dask needs the package distributed", "pip install 'citynode[dask]'"
        ) from None
    try:
        client = distributed.Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise CitynodeError(
            f"no Dask scheduler answers at {address}", "check --dask; it is tcp://HOST:8786"
        ) from error
    return _as_they_come(distributed, client, shards, work)


def _as_they_come(
    distributed: Any, client: Any, shards: Sequence[Shard], work: Work
) -> Iterator[Outcome]:
    with client, client.as_current():
        futures = [client.submit(_quietly, work, shard, pure=False) for shard in shards]
        try:
            for future in distributed.as_completed(futures):
                yield future.result()
        finally:
            with contextlib.suppress(Exception):
                client.cancel(futures)


def _quietly(work: Work, shard: Shard) -> Outcome:
    return _plainly(work, shard, lambda glance: None)


def _plainly(work: Work, shard: Shard, look: Look) -> Outcome:
    """Run a shard; errors come as what every process can make anew."""
    try:
        return work(shard, look)
    except CitynodeError as error:
        raise CitynodeError(error.what, error.cure, exit_code=error.exit_code) from None


def gather(
    plan: SoakPlan, outcomes: Iterator[Outcome], *, whole: bool, expected: int
) -> tuple[results.Run, list[bytes]]:
    """Put the outcomes together; return the run and the events of each shard.

    After a Ctrl-C it is what was done until then, `interrupted`; `whole` tells that these are all
    cells of the plan. Raises KeyboardInterrupt if nothing was done, CitynodeError if the workers
    have different firmware.
    """
    runs: list[results.Run] = []
    events: list[bytes] = []
    software: dict[str, str] = {}
    try:
        for outcome in outcomes:
            for group, digest in outcome.software.items():
                if software.setdefault(group, digest) != digest:
                    raise CitynodeError(
                        f"not all workers have the same firmware or profile for {group}",
                        "bring them to one version of citynode, and change no file meanwhile",
                    )
            runs.append(results.Run.from_json(outcome.run))
            events.append(outcome.events)
    except KeyboardInterrupt:
        if not runs:
            raise
    run = results.merge(runs)
    if len(runs) < expected:
        run = replace(run, interrupted=True)
    return (criteria.unseen(plan, run) if whole else run), events


class Events:
    """Collects lines of JSON, compressed."""

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(6)
        self._parts: list[bytes] = []

    def write(self, line: str) -> None:
        """Add a line."""
        self._parts.append(self._compressor.compress(line.encode() + b"\n"))

    def finish(self) -> bytes:
        """Return all lines."""
        self._parts.append(self._compressor.flush())
        return b"".join(self._parts)


def lines(events: Sequence[bytes]) -> Iterator[str]:
    """Yield the lines of several shards in the order of their times, then their cells."""
    yield from (line for _, _, line in heapq.merge(*(_timed(each) for each in events if each)))


def _timed(events: bytes) -> Iterator[tuple[float, int, str]]:
    last = (0.0, 0)
    for number, line in enumerate(zlib.decompress(events).decode().splitlines()):
        facts = json.loads(line)
        last = (max(last[0], float(facts["at"])), facts["cell"] * 1_000_000_000 + number)
        yield *last, line

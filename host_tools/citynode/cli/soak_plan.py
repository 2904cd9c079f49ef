"""`citynode soak PLAN`: what the verb does where a plan says what is to be done."""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from citynode.cli.soak_view import View, show
from citynode.cli.soak_work import run_shard, work
from citynode.errors import CitynodeError
from citynode.soak import report, shards
from citynode.soak.bench import Bench
from citynode.soak.junit import junit
from citynode.soak.listener import Address
from citynode.soak.plan import load_plan
from citynode.soak.results import Run
from citynode.virtual.world.chance import fresh_seed


@dataclass(frozen=True)
class Way:
    """How a plan is run, and where its results go."""

    seed: int | None = None
    cell: int | None = None  # from 1; None: all
    duration_s: float | None = None  # in the place of the plan's
    processes: int = 1
    dask: str | None = None
    log: Path | None = None
    junit: Path | None = None
    report: Path | None = None
    as_json: bool = False
    broker: Address | None = None  # of real nodes


def run_plan(name: str, way: Way) -> None:
    """Run a plan; exits with 0, 1 or 2. Raises CitynodeError."""
    plan = load_plan(name)
    seed = way.seed if way.seed is not None else plan.seed
    if seed is None:
        seed = fresh_seed()
    for path in (way.log, way.junit, way.report):
        _check_writable(path)
    command = f"citynode soak {shlex.quote(name)} --seed {seed}"
    if way.duration_s is not None:
        plan = plan.model_copy(update={"duration": way.duration_s})
        command += f" --duration {way.duration_s:g}s"
    only = None if way.cell is None else way.cell - 1
    parts = shards.shards_of(plan, seed, command, only=only, logged=way.log is not None)
    if plan.clock == "real" and (way.processes > 1 or way.dask is not None):
        raise CitynodeError("real nodes are where they are", "leave out --processes and --dask")
    view = View(plan, seed, quiet=way.as_json, shards=len(parts))
    outcomes = _outcomes(parts, way, view)
    with view:
        # Of a part of the plan it is no wonder if some faults did not come.
        whole = only is None and way.duration_s is None
        run, events = shards.gather(plan, outcomes, whole=whole, expected=len(parts))
    _write(run, way, events)
    if way.as_json:
        _print_json(run)
    else:
        show(run, _again(run, command, len(parts), way))
    if run.interrupted:
        raise CitynodeError("interrupted", "the verdict is on what was seen until then")
    if not run.passed:
        raise typer.Exit(1)


def _outcomes(parts: Sequence[shards.Shard], way: Way, view: View) -> Iterator[shards.Outcome]:
    if parts[0].plan.clock == "real":
        return shards.here(parts, partial(_on_bench, way.broker), view.look)
    if way.dask is not None:
        return shards.on_dask(parts, work, way.dask)
    if way.processes > 1 and len(parts) > 1:
        return shards.in_processes(parts, work, view.look, min(way.processes, len(parts)))
    return shards.here(parts, work, view.look)


def _on_bench(broker: Address | None, shard: shards.Shard, look: shards.Look) -> shards.Outcome:
    return run_shard(shard, Bench(shard.plan, broker), look)


def _again(run: Run, command: str, shown: int, way: Way) -> str:
    """Return the shortest command that shows what failed."""
    failed = {node.cell for node in run.nodes if node.wrong}
    whole = any(each.wrong for each in run.criteria)
    if way.cell is not None:
        return f"{command} --cell {way.cell}"
    if shown > 1 and len(failed) == 1 and not whole:
        return f"{command} --cell {(failed.pop() or '').removeprefix('cell-')}"
    return command


def _check_writable(path: Path | None) -> None:
    """Raise CitynodeError before the soak if what it finds could not be written behind it."""
    if path is None:
        return
    fresh = not path.exists()
    try:
        path.open("ab").close()
        if fresh:
            path.unlink()
    except OSError as error:
        raise CitynodeError(f"cannot write {path}: {error.strerror}", "give another file") from None


def _write(run: Run, way: Way, events: Sequence[bytes]) -> None:
    if way.log is not None:
        with way.log.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in shards.lines(events))
    if way.junit is not None:
        way.junit.write_text(junit(run), encoding="utf-8")
    if way.report is not None:
        way.report.write_text(report.render(run), encoding="utf-8")


def _print_json(run: Run) -> None:
    """Print a line for each node, and one for the whole."""
    for node in run.nodes:
        facts = {
            "node": node.id,
            "cell": node.cell,
            "board": node.board,
            "accepted": node.accepted,
            "received": node.received,
            "lost": node.lost,
            "repeated": node.repeated,
            "restarts": len(node.restarts),
            "joins": node.joins,
            "air_time_s": node.air_time_s,
            "energy_mah": node.energy_mah,
            "passed": not node.wrong,
            "wrong": [{"criterion": name, "what": text} for name, text in node.wrong],
        }
        print(json.dumps(facts))
    whole = {
        "plan": run.plan,
        "seed": run.seed,
        "nodes": len(run.nodes),
        "faults": len(run.faults),
        "passed": run.passed,
        "interrupted": run.interrupted,
        "wrong": [{"criterion": each.name, "what": w} for each in run.criteria for w in each.wrong],
        "command": run.command,
    }
    print(json.dumps(whole))

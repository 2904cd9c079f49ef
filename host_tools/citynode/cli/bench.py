"""`citynode bench`: the map of a bench, and many boards over it at once."""

import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from citynode.bench import job
from citynode.bench.benchmap import BenchMap, Place, Seen, stable_name
from citynode.bench.identify import compare, identify
from citynode.bench.job import Bench
from citynode.bench.outcome import Outcome, Verdict
from citynode.bench.power import cycle
from citynode.boards import load_board
from citynode.cli import bench_parts, bench_run, parts
from citynode.cli.fleet_parts import table
from citynode.errors import CitynodeError
from citynode.link import ports


def register(app: typer.Typer) -> None:
    """Add the verb with its sub-commands."""
    bench = typer.Typer(
        help="Many boards at once: a map of the bench, and boards flashed, proved and tested.",
        no_args_is_help=True,
    )
    bench.command("init")(init)
    bench.command("show")(show)
    bench.command("check")(check)
    bench.command("power")(power)
    bench.command("run")(bench_run.run)
    app.add_typer(bench, name="bench")


def init(
    bench: bench_parts.MapFile = Path("bench.yaml"),
    port: bench_parts.Ports = None,
    port_filter: bench_parts.PortFilter = None,
    board: Annotated[
        list[str] | None,
        typer.Option(
            show_default=False,
            help="Board id or TOML file for the boards of its chip that have none; repeatable.",
        ),
    ] = None,
    jobs: parts.Jobs = None,
    as_json: parts.AsJson = False,
) -> None:
    """Make the bench map, or bring it up to date: ask each board for its chip and MAC.

    What a person wrote into the map stays. Boards restart, nothing on them is written.
    """
    platforms: dict[str, str] = {load_board(name).chip: name for name in board or ()}
    if len(platforms) < len(board or ()):
        raise CitynodeError("two of the boards have the same chip", "write one into the map")
    if bench.exists():
        BenchMap.load(bench)  # before boards are restarted for a map that cannot be read
    selected = bench_parts.all_ports(port, port_filter)

    def work(each: Bench, outcome: Outcome) -> None:
        identify(each, outcome)

    with parts.Display(selected, quiet=as_json) as display:
        outcomes = job.run(selected, work, jobs=jobs, watch=display)
    seen = [
        Seen(each.mac, each.chip or "", stable_name(each.port))
        for each in outcomes
        if each.verdict is Verdict.PASS and each.mac is not None
    ]
    refuse_twins(outcomes)
    made = BenchMap.load(bench) if bench.exists() else BenchMap(bench)
    # Without ports all were looked at, those too that are gone.
    looked_at = selected if port else [*selected, *(place.serial for place in made.places)]
    changes = made.merge(seen, looked_at, platforms)
    _write(bench, made.text())
    if as_json:
        told = {"new": changes.new, "moved": changes.moved, "gone": changes.gone}
        print(json.dumps({"bench": str(bench), "boards": len(made.places), **told}))
    else:
        print(
            f"{bench}: {len(made.places)} board{'s' * (len(made.places) != 1)}, "
            f"{len(changes.new)} new, {len(changes.moved)} moved, {len(changes.gone)} gone"
        )
    bench_parts.complain(outcomes)


def refuse_twins(outcomes: Sequence[Outcome]) -> None:
    """Raise CitynodeError if one board was met at two ports."""
    met: dict[str, str] = {}
    for each in outcomes:
        if each.mac is not None and met.setdefault(each.mac, each.port) != each.port:
            raise CitynodeError(
                f"{each.port} and {met[each.mac]} are the same board {each.mac}", "give one of them"
            )


def show(bench: bench_parts.MapFile = Path("bench.yaml"), as_json: parts.AsJson = False) -> None:
    """Show the bench map; no board is asked."""
    found = BenchMap.load(bench).places
    if as_json:
        for place in found:
            print(json.dumps(place.model_dump(mode="json", exclude={"power"}) | _power(place)))
        return
    table(
        ("MAC", "platform", "chip", "connected", "port", "fixtures", "power", "notes"),
        [
            (
                place.id,
                place.platform,
                place.chip or "",
                "yes" if place.connected else "no",
                place.serial,
                ", ".join(place.fixtures),
                place.power.kind if place.power is not None else "",
                place.notes or "",
            )
            for place in found
        ],
    )
    connected = sum(place.connected for place in found)
    print(f"{len(found)} board{'s' * (len(found) != 1)}, {connected} connected")


def _power(place: Place) -> dict[str, object]:
    return {"power": place.power.kind if place.power is not None else None}


def check(
    bench: bench_parts.MapFile = Path("bench.yaml"),
    jobs: parts.Jobs = None,
    as_json: parts.AsJson = False,
) -> None:
    """Ask each connected board whether it is what the map says. Boards restart."""
    found = BenchMap.load(bench)
    for each in found.strange:
        print(f"citynode: {each} means nothing to citynode; it is kept", file=sys.stderr)
    places = {place.serial: place for place in found.places if place.connected}
    if not places:
        raise CitynodeError(f"{bench} has no connected board", "see 'citynode bench init'")

    def work(each: Bench, outcome: Outcome) -> None:
        compare(each.port, places[each.port], identify(each, outcome))

    parts.work_on(list(places), work, jobs=jobs, as_json=as_json)


def power(
    board: Annotated[list[str], typer.Argument(metavar="BOARD...", help="MACs or ports.")],
    to: Annotated[
        bench_parts.Action, typer.Option("--to", help="What to do with the supply.")
    ] = bench_parts.Action.CYCLE,
    bench: bench_parts.MapFile = Path("bench.yaml"),
) -> None:
    """Switch the supply of boards with what the bench map says under 'power'."""
    found = BenchMap.load(bench)
    chosen: list[Place] = []
    for name in board:
        mac = name.replace(":", "").replace("-", "").lower()
        place = found.of(mac) or found.at(name)
        if place is None:
            raise CitynodeError(f"{bench} has no board {name}", "see 'citynode bench show'")
        if place.power is None:
            raise CitynodeError(
                f"{bench} does not say what switches the supply of {place.id}",
                "write 'power' into the map (see docs/bench.md)",
            )
        chosen.append(place)
    for place in chosen:
        if place.power is None:
            continue
        with ports.lock(place.serial):  # nobody's board is switched off under him
            if to is bench_parts.Action.CYCLE:
                cycle(place.power)
            else:
                place.power.switch(to is bench_parts.Action.ON)
        print(f"{place.id} at {place.serial}: {to.value}")


def _write(path: Path, text: str) -> None:
    """Write the whole file or nothing, with the mode it had."""
    path = path.resolve()
    half = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        half.write_text(text, encoding="utf-8")
        if path.exists():
            half.chmod(path.stat().st_mode & 0o777)
        half.replace(path)
    except OSError as error:
        raise CitynodeError(
            f"cannot write {path}: {os.strerror(error.errno or 0)}",
            "give --bench a file that can be written",
        ) from None
    finally:
        half.unlink(missing_ok=True)

"""`citynode calibrate`: what a traffic sensor sees after mounting, and what is wrong with that."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from citynode.cli import parts, replay_plot
from citynode.errors import CitynodeError
from citynode.link.errors import LinkError
from citynode.link.ports import lock
from citynode.link.repl import Repl

_STEP_S = 5
_SETUP = "from node.hal.listen import Listener\nlistener = Listener()"
_WHO = (
    "from node.core import config\nfrom node.hal.about import read\n"
    "t = config.load(read('/config.cbor')).traffic\n"
    "print(None if t is None else (t.sensor, t.mount, t.geometry))"
)
_CAR_AM2 = 200  # of the order of a car's magnetic moment
_CLEAR = 3  # a car's field is to be that much above the threshold
_MM = 1000
_KINDS = ("bike", "car", "heavy", "unknown")
# Verdicts of node/traffic/calibrate.py: what it means, and what to do.
_CURES = {
    "too_few": "too few samples: look at the wiring, or listen longer",
    "noisy": "noisy: a loose mount, power lines near it, or water on the lens",
    "unsteady": "no distance stands out: something moves in the beam, or it ends in bushes",
    "no_far_side": "nothing is seen behind the road",
    "saturated": "at the end of the range: iron is too near",
}


@dataclass
class Heard:
    """What a board has told while it listened; times are its ticks (ms)."""

    sensor: str
    mount: str
    geometry: dict[str, float]
    points: list[tuple[int, float]] = field(default_factory=list)
    passages: list[list[int]] = field(default_factory=list)
    samples: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    results: list[list[object]] = field(default_factory=list)
    thresholds: list[int] = field(default_factory=list)

    @property
    def is_field(self) -> bool:
        """Whether it is a magnetometer."""
        return bool(self.thresholds)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("calibrate")(calibrate)


def calibrate(
    port: parts.Ports = None,
    seconds: Annotated[int, typer.Option(min=5, max=3600, help="How long to listen.")] = 60,
    plot: Annotated[
        str | None, typer.Option(metavar="terminal|FILE", help="Draw: terminal, FILE.svg or .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Listen to a mounted traffic sensor: far side, noise, what passes, and what is wrong."""
    selected = parts.choose_ports(port)
    if len(selected) != 1:
        raise CitynodeError("one sensor at a time", "name its port with -p")
    if plot is not None and plot != "terminal" and _drawer(plot) is None:
        raise CitynodeError(f"cannot draw '{plot}'", "give terminal, or a file .svg or .png")
    heard = listen(selected[0], seconds, quiet=as_json)
    wrong = findings(heard)
    values = suggested(heard)
    if as_json:
        print(json.dumps(_report(heard, wrong, values)))
    else:
        _show(heard, wrong, values)
    if plot is not None:
        draw(plot, heard)
    if wrong:
        raise typer.Exit(1)


def listen(port: str, seconds: int, *, quiet: bool = False) -> Heard:
    """Have the board at a port listen; it runs its program again when this ends.

    Raises LinkError, CitynodeError (it has no traffic sensor).
    """
    console = Console(stderr=True, quiet=quiet)
    with lock(port), Repl(port) as repl:
        repl.connect()
        try:
            who = repl.value(_WHO)
            if not isinstance(who, (list, tuple)):  # it comes as JSON
                raise CitynodeError(
                    f"the board at {port} has no traffic sensor in its configuration",
                    "provision it with a profile that has a [traffic] table",
                )
            heard = Heard(*who)
            repl.run(_SETUP)
            left = seconds
            while left > 0:
                step = min(left, _STEP_S)
                said = repl.run(f"listener.listen({1000 * step})")
                left -= step
                _add(heard, json.loads(said.strip().splitlines()[-1]))
                console.print(
                    f"{seconds - left} s: {heard.samples} samples, {len(heard.passages)} vehicles",
                    highlight=False,
                )
            repl.run("listener.stop()")
        except LinkError as error:
            if error.kind == "program":
                raise CitynodeError(
                    f"the board at {port} cannot listen: {error}",
                    "provision it again, or look at the ports in its profile",
                ) from None
            raise
        finally:
            repl.restart()
    return heard


def _add(heard: Heard, told: dict[str, Any]) -> None:
    heard.points += [(int(t), float(value)) for t, value in told["points"]]
    heard.passages += told["passages"]
    heard.samples = told["samples"]
    heard.errors = told["errors"]
    heard.results = told["results"]
    heard.thresholds = told["threshold_nt"]


# -- what it means -------------------------------------------------------------------------------


def findings(heard: Heard) -> list[str]:
    """Return what is wrong, as it is to be told; nothing where all is well."""
    wrong = [f"{kind}: {count} times" for kind, count in sorted(heard.errors.items())]
    if not heard.samples:
        return [*wrong, "the sensor says nothing: look at its supply and wiring"]
    for number, result in enumerate(heard.results, 1):
        verdict = str(result[0])
        name = f"sensor {number}: " if len(heard.results) > 1 else ""
        # Along the lane, and where there is no wall, a beam ends nowhere.
        if verdict != "ok" and not (verdict == "no_far_side" and not heard.geometry["overhead"]):
            wrong.append(name + _CURES.get(verdict, verdict))
        if heard.is_field and verdict == "ok":
            level, car = heard.thresholds[number - 1], car_nt(heard)
            if car and car < _CLEAR * level:
                wrong.append(
                    f"{name}a car makes about {car} nT here, and the threshold is {level} nT: "
                    "nearer to the lane, or farther from what disturbs"
                )
        elif heard.mount == "across" and verdict == "ok" and not heard.geometry["overhead"]:
            far, lane = _int(result[1]), int(heard.geometry["lane"])
            if lane and far < lane:
                wrong.append(
                    f"{name}the beam ends {far / _MM:.2f} m away, before the middle of the lane "
                    f"({lane / _MM:.2f} m)"
                )
    return wrong


def car_nt(heard: Heard) -> int:
    """Return the field (nT, sum of the axes) that a car makes in the lane, 0 if it is not known."""
    lane_m = heard.geometry["lane"] / _MM
    return round(150 * _CAR_AM2 / lane_m**3) if heard.is_field and lane_m else 0


def suggested(heard: Heard) -> dict[str, float]:
    """Return values for the profile's [traffic] table."""
    if heard.mount != "across" or not heard.results:
        return {}
    fars = [_int(result[1]) for result in heard.results if result[0] == "ok"]
    return {"far_m": round(min(fars) / _MM, 2)} if fars else {}


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _facts(heard: Heard) -> list[dict[str, object]]:
    keys = (
        ("verdict", "baseline_nt", "noise_nt", "period_ms")
        if heard.is_field
        else ("verdict", "far_mm", "noise_mm", "valid_pct", "period_ms")
    )
    rows = [dict(zip(keys, result, strict=True)) for result in heard.results]
    for row, level in zip(rows, heard.thresholds, strict=False):
        row["threshold_nt"] = level
    return rows


def _report(heard: Heard, wrong: Sequence[str], values: dict[str, float]) -> dict[str, object]:
    names = ("t_ms", "direction", "speed_mms", "kind", "occupied_ms")
    return {
        "sensor": heard.sensor,
        "mount": heard.mount,
        "samples": heard.samples,
        "errors": heard.errors,
        "sensors": _facts(heard),
        "car_nt": car_nt(heard) or None,
        "passages": [dict(zip(names, row, strict=True)) for row in heard.passages],
        "wrong": list(wrong),
        "profile": values,
    }


def _show(heard: Heard, wrong: Sequence[str], values: dict[str, float]) -> None:
    console = Console()

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(f"{heard.sensor} {heard.mount}".strip() + f": {heard.samples} samples")
    for number, row in enumerate(_facts(heard), 1):
        name = f"sensor {number}: " if len(heard.results) > 1 else ""
        if heard.is_field:
            base = ", ".join(f"{_int(nt) / 1000:.1f}" for nt in _list(row["baseline_nt"]))
            say(
                f"{name}baseline {base} µT, noise "
                f"{row['noise_nt']} nT, threshold {row['threshold_nt']} nT, "
                f"every {row['period_ms']} ms"
            )
        else:
            far = _int(row["far_mm"])
            side = f"far side {far / _MM:.2f} m ± {row['noise_mm']} mm" if far else "no far side"
            say(f"{name}{side}, {row['valid_pct']} % echoes, every {row['period_ms']} ms")
    if car := car_nt(heard):
        say(f"a car in the middle of the lane makes about {car} nT")
    for _, way, speed, kind, seen in heard.passages:
        say(
            f"vehicle: {_KINDS[kind]}, direction {way or 'not known'}"
            + (f", {speed * 0.0036:.0f} km/h" if speed else "")
            + f", seen for {seen / 1000:.2f} s"
        )
    for text in wrong:
        say(f"wrong: {text}")
    if not wrong:
        say("all is well")
    if values:
        say("for the profile:")
        say("[traffic]")
        for key, value in values.items():
            say(f"{key} = {value}")


# -- the picture ---------------------------------------------------------------------------------


def _drawer(plot: str) -> Callable[[replay_plot.Picture], bytes] | None:
    return {".svg": replay_plot.svg, ".png": replay_plot.png}.get(Path(plot).suffix.lower())


def draw(plot: str, heard: Heard) -> None:
    """Draw what was seen, with the vehicles marked, to the terminal or a file."""
    if not heard.points:
        raise CitynodeError("nothing was seen", "there is nothing to draw")
    start = heard.points[0][0]
    what = "field off the baseline (nT)" if heard.is_field else "as the sensor tells it (mm, mm/s)"
    points = [((t - start) / 1000, value) for t, value in heard.points]
    bands = []
    for t, way, speed, kind, seen in heard.passages:
        at = (t - start) / 1000
        text = f"{_KINDS[kind]}, direction {way}, {speed * 0.0036:.0f} km/h"
        bands.append((at - seen / 2000, at + seen / 2000, text))
    picture = replay_plot.Picture(points, bands, f"{heard.sensor}: {what}")
    if plot == "terminal":
        print(replay_plot.terminal(picture))
        return
    drawer = _drawer(plot)
    if drawer is None:
        return
    try:
        Path(plot).write_bytes(drawer(picture))
    except OSError as error:
        raise CitynodeError(
            f"cannot write {plot}: {error.strerror}", "choose another file"
        ) from error

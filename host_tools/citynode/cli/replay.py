"""`citynode replay`: the node's own detector, on MicroPython, over a recording."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from citynode import resources
from citynode.cli import replay_csv, replay_plot
from citynode.cli.replay_csv import FIELD, RANGE, SPEED, Recording
from citynode.errors import CitynodeError

# What each sensor tells, in which unit by itself, and as what its detector knows it.
_SENSORS = {
    "tf02pro": (RANGE, "cm"),
    "tfluna": (RANGE, "cm"),
    "tfmini": (RANGE, "cm"),
    "a02yyuw": (RANGE, "mm"),
    "jsnsr04t": (RANGE, "mm"),
    "qmc5883l": (FIELD, ""),
    "mmc5983": (FIELD, ""),
    "ops243": (SPEED, ""),
}
_KINDS = ("bike", "car", "heavy", "unknown")
_HEAP = "8M"
_LIMIT_S = 3600
_TAIL_MS = 100  # a recording ends with nothing to be seen, for long enough to end all that is open
_TAIL = 200


@dataclass(frozen=True)
class Seen:
    """A passage as it is told: time as in the file (s), from its start (s), and the vehicle."""

    time: float
    t_s: float
    direction: int | None
    speed_kmh: float | None
    length_m: float | None
    kind: str
    confidence: int
    occupied_s: float


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("replay")(replay)


def replay(
    file: Annotated[
        Path, typer.Argument(help="CSV: time,distance,strength · time,x,y,z · time,speed.")
    ],
    sensor: Annotated[str, typer.Option(help=f"One of {', '.join(_SENSORS)}.")],
    mount: Annotated[
        str, typer.Option(help="How a range finder looks: across, along, auto.")
    ] = "auto",
    angle: Annotated[float, typer.Option(help="Between the beam and the lane (degrees).")] = 0.0,
    lane: Annotated[
        float | None, typer.Option(help="From the sensor to the middle of its lane (m).")
    ] = None,
    lanes: Annotated[int, typer.Option(min=1, max=4, help="How many lanes there are.")] = 1,
    spacing: Annotated[
        float | None, typer.Option(help="Between two sensors along the lane (m).")
    ] = None,
    overhead: Annotated[bool, typer.Option("--overhead", help="The sensor looks down.")] = False,
    unit: Annotated[
        str | None, typer.Option(help="Of distances (mm, cm, m) or fields (nT, uT, mG, G).")
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="terminal|FILE", help="Draw: terminal, FILE.svg or .png.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Report as JSON.")] = False,
) -> None:
    """Run the node's detector over a recording and print the vehicles it sees."""
    key = sensor.lower().replace("-", "").replace("_", "")
    sort, native = _SENSORS.get(key, ("", ""))
    known = replay_csv.MM_PER if sort == RANGE else replay_csv.NT_PER
    _refuse(not sort, f"unknown sensor '{sensor}'", f"known are {', '.join(_SENSORS)}")
    _refuse(mount not in ("across", "along", "auto"), f"unknown --mount '{mount}'", "see --help")
    _refuse(not 0 <= angle < 90, "--angle must be 0 to below 90 degrees", "see docs/traffic.md")
    _refuse(
        unit is not None and unit.lower() not in known,
        f"unknown --unit '{unit}'",
        f"known are {', '.join(known)}",
    )
    recording = replay_csv.load(file, sort, native, unit.lower() if unit else None)
    pairs = sort == FIELD and len(recording.samples[0]) > 4
    _refuse(
        pairs and spacing is None,
        f"{file} has two sensors",
        "tell how far they are apart with --spacing",
    )
    way = mount if sort != RANGE or mount != "auto" else _mount_of(recording)
    words = [f"lanes={lanes}", f"angle={angle:.2f}"]
    words += [f"lane={round(lane * 1000)}"] if lane is not None else []
    words += [f"spacing={round((spacing or 0) * 1000)}"] if pairs else []
    words += ["overhead=1"] if overhead else []
    found = _detect(key, way if sort == RANGE else "", words, recording, sort)
    told = [_seen(row, recording) for row in found]
    if as_json:
        report = {
            "file": str(file),
            "sensor": key,
            "mount": way if sort == RANGE else None,
            "samples": len(recording.samples),
            "skipped": recording.skipped,
            "passages": [asdict(each) for each in told],
        }
        print(json.dumps(report))
    else:
        _show(told, recording, way if sort == RANGE else "")
    if plot is not None:
        _draw(plot, file, recording, sort, told)


def _refuse(wrong: bool, what: str, cure: str) -> None:
    if wrong:
        raise CitynodeError(what, cure)


def _mount_of(recording: Recording) -> str:
    """Tell from the readings whether the sensor looks along the lane: distances then run."""
    seen = [
        (t, mm)
        for t, mm, strength in recording.samples
        if mm > 0 and (strength == -1 or 100 <= strength < 65535)
    ]
    common = Counter(mm // 100 for _, mm in seen).most_common(1)
    if common and common[0][1] * 5 > len(recording.samples):
        wall = common[0][0] * 100 + 50
        seen = [row for row in seen if abs(row[1] - wall) > 250]
    runs = cuts = 0
    part: list[tuple[int, int]] = []
    for row in [*seen, (1 << 62, 0)]:
        if part and row[0] - part[-1][0] > 200:
            runs += _runs(part)
            cuts += not _runs(part) and len(part) > 2
            part = []
        part.append(row)
    return "along" if runs and runs * 4 >= cuts else "across"


def _runs(part: Sequence[tuple[int, int]]) -> bool:
    """Return whether the distance runs one way for 1.5 m, no slower than a walk."""
    for way in (1, -1):
        start, count = part[0], 1
        for last, row in pairwise(part):
            step = way * (row[1] - last[1])
            if -30 <= step <= 70 * max(row[0] - last[0], 8) + 100:
                count += 1
            else:
                start, count = row, 1
            moved, took = way * (row[1] - start[1]), row[0] - start[0]
            if count >= 6 and moved >= 1500 and moved >= took:
                return True
    return False


def _detect(
    sensor: str, mount: str, words: Sequence[str], recording: Recording, sort: str
) -> list[list[int]]:
    """Run the detector in an interpreter of its own; return the numbers of its passages."""
    lines = [" ".join(map(str, sample)) for sample in recording.samples]
    end = recording.samples[-1][0]
    nothing = {RANGE: " 0 0", SPEED: ""}
    if sort in nothing:
        lines += [f"{end + _TAIL_MS * (i + 1)}{nothing[sort]}" for i in range(_TAIL)]
    script = Path(__file__).with_name("replay_upy.py")
    try:
        done = subprocess.run(
            [resources.micropython(), "-X", f"heapsize={_HEAP}", script, sensor, mount, *words],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            env={**os.environ, "MICROPYPATH": f"{resources.firmware()}:.frozen"},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CitynodeError(f"the detector took more than {_LIMIT_S} s", "cut the file") from error
    rows = [line.split() for line in done.stdout.splitlines()]
    if done.returncode or not rows or rows[-1] != ["end", str(len(lines))]:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        raise CitynodeError(f"the detector failed: {last[0]}", "report this with the recording")
    return [[int(word) for word in row] for row in rows[:-1]]


def _seen(row: Sequence[int], recording: Recording) -> Seen:
    t_ms, direction, speed, length, kind, confidence, occupied = row
    return Seen(
        time=round(recording.start_s + t_ms / 1000, 3),
        t_s=t_ms / 1000,
        direction=direction or None,
        speed_kmh=round(speed * 0.0036, 1) if speed else None,
        length_m=round(length / 1000, 1) if length else None,
        kind=_KINDS[kind],
        confidence=confidence,
        occupied_s=occupied / 1000,
    )


def _show(told: Sequence[Seen], recording: Recording, mount: str) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("time", "direction", "km/h", "length", "class", "sure", "seen for"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in told:
        table.add_row(
            f"{each.t_s:.2f} s",
            str(each.direction or "–"),
            f"{each.speed_kmh:.1f}" if each.speed_kmh is not None else "–",
            f"{each.length_m:.1f} m" if each.length_m is not None else "–",
            each.kind,
            f"{each.confidence} %",
            f"{each.occupied_s:.2f} s",
        )
    console = Console()
    if not console.is_terminal:
        console.width = 100
    console.print(table)
    said = f"{len(told)} vehicles in {len(recording.samples)} samples"
    said += f", {recording.skipped} lines left out" if recording.skipped else ""
    said += f"; the sensor looks {mount} the lane" if mount else ""
    console.print(said, highlight=False)


def _draw(plot: str, file: Path, recording: Recording, sort: str, told: Sequence[Seen]) -> None:
    points = []
    base = [sorted(axis)[len(axis) // 2] for axis in zip(*recording.samples, strict=True)]
    for sample in recording.samples:
        if sort == FIELD:
            value = sum(abs(sample[i] - base[i]) for i in (1, 2, 3)) / 1000
        elif sort == SPEED:
            value = sample[1] * 0.0036
        elif sample[1] <= 0 or sample[1] >= 45000 or 0 <= sample[2] < 100 or sample[2] == 65535:
            continue
        else:
            value = sample[1] / 1000
        points.append((sample[0] / 1000, value))
    if not points:
        raise CitynodeError(f"{file} has no valid reading", "there is nothing to draw")
    what = {FIELD: "field less its median (µT)", SPEED: "speed (km/h)", RANGE: "distance (m)"}[sort]
    bands = [
        (
            each.t_s - each.occupied_s / 2,
            each.t_s + each.occupied_s / 2,
            f"{each.t_s:.2f} s: {each.kind}"
            + (f", {each.speed_kmh} km/h" if each.speed_kmh is not None else ""),
        )
        for each in told
    ]
    picture = replay_plot.Picture(points, bands, f"{file.name}: {what}")
    if plot == "terminal":
        print(replay_plot.terminal(picture))
        return
    path = Path(plot)
    draw = {".svg": replay_plot.svg, ".png": replay_plot.png}.get(path.suffix.lower())
    if draw is None:
        raise CitynodeError(f"cannot draw '{plot}'", "give terminal, or a file .svg or .png")
    try:
        path.write_bytes(draw(picture))
    except OSError as error:
        raise CitynodeError(
            f"cannot write {path}: {error.strerror}", "choose another file"
        ) from error

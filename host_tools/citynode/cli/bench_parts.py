"""What the sub-commands of `citynode bench` have in common: options, ports, complaints."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from citynode.bench.outcome import Outcome, Verdict
from citynode.errors import CitynodeError
from citynode.link import ports

MapFile = Annotated[
    Path,
    typer.Option("--bench", metavar="FILE", envvar="CITYNODE_BENCH", help="The bench map (YAML)."),
]
Ports = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--port",
        metavar="PORT",
        show_default=False,
        help="Port, glob or rfc2217:// URL; repeatable. Else ESPTOOL_PORT, or all likely boards.",
    ),
]
PortFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--port-filter",
        metavar="KEY=VALUE",
        show_default=False,
        help="Ports of this machine by name=, serial=, location= (parts of them), vid=, pid=; "
        "repeatable: all have to hold.",
    ),
]


class Action(StrEnum):
    """What to do with a supply."""

    ON = "on"
    OFF = "off"
    CYCLE = "cycle"


def all_ports(given: Sequence[str] | None, filters: Sequence[str] | None) -> list[str]:
    """Return the ports that are given and pass the filters; all likely ones if none is given.

    Raises CitynodeError if there is none.
    """
    if not given and (preset := os.environ.get("ESPTOOL_PORT")):
        given = [preset]
    chosen = ports.select(given) if given else [p.device for p in ports.list_all() if p.likely]
    if filters:
        passing = {ports.key(port.device) for port in ports.filtered(ports.list_all(), filters)}
        chosen = [port for port in chosen if ports.key(port) in passing]
    if not chosen:
        raise CitynodeError(
            "no board found", "plug one in, or name its port with -p (see 'citynode ports')"
        )
    return chosen


def complain(outcomes: Sequence[Outcome]) -> None:
    """Name on stderr each board that failed, with its cause; exits with 1 if there is one."""
    for outcome in outcomes:
        if outcome.error is not None:
            error = outcome.error
            if outcome.port not in error:
                error = f"{outcome.port}: {error}"
            print(f"citynode: {'; '.join(filter(None, (error, outcome.cure)))}", file=sys.stderr)
    if any(outcome.verdict not in (Verdict.PASS, Verdict.SKIP) for outcome in outcomes):
        raise typer.Exit(1)

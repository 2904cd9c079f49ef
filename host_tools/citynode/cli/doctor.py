"""`citynode doctor`: what this machine lacks for the work, and the cure for each."""

import io
import json
import os
import sys
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from citynode.cli import parts
from citynode.cli.soak import broker_address
from citynode.doctor import broker as brokers
from citynode.doctor import machine, software
from citynode.doctor.finding import Check, Finding, Level, examine
from citynode.soak.listener import Address

_LOOKS = {Level.OK: ("✓", "green"), Level.WARN: ("!", "yellow"), Level.FAIL: ("✗", "bold red")}


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("doctor")(doctor_command)


def doctor_command(
    broker: parts.BrokerAddress = None,
    identity_file: parts.BrokerLogin = None,
    ca: parts.BrokerCa = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per finding.")] = False,
) -> None:
    """Look for what would get in the way; each finding is a line with its cure.

    Nothing is changed, no port is opened.
    Ends with 1 if something FAILs; a WARN may be meant so.
    """

    def address() -> Address:
        return broker_address(broker or "", identity_file, ca)

    checks: dict[str, Check] = {
        "python": software.python,
        "tools": software.tools,
        "micropython": software.interpreter,
        "images": software.images,
        "permissions": machine.permissions,
        "ports": machine.ports,
        "folders": machine.folders,
        "disk": machine.disk,
        "broker": brokers.own if broker is None else lambda: brokers.given(address),
    }
    failed = False
    show = _print_json if as_json else _print_line
    for name, finding in examine(checks):
        failed |= finding.level is Level.FAIL
        show(name, finding)
    if failed:
        raise typer.Exit(1)


def _print_json(name: str, finding: Finding) -> None:
    facts = {"check": name, "level": finding.level.value, "text": finding.text}
    print(json.dumps({**facts, "cure": finding.cure or None}), flush=True)


def _print_line(name: str, finding: Finding) -> None:
    system: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    symbol, style = _LOOKS[finding.level]
    line = Text.assemble((f"{symbol} {finding.level.value:4}", style), f" {name}: {finding.text}")
    if finding.cure:
        line.append(" → ", style).append(finding.cure)
    Console(soft_wrap=True, highlight=False, color_system=system).print(line, soft_wrap=True)

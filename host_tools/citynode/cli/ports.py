"""`citynode ports`: the machine's serial ports, and behind which a board may be."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from citynode.link.ports import list_all


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("ports")(ports_command)


def ports_command(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that no ESP32 board is likely behind.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per port.")] = False,
) -> None:
    """List serial ports; no port is opened."""
    found = [port for port in list_all() if every or port.likely]
    if as_json:
        for port in found:
            print(json.dumps(asdict(port)))
        return
    if not found:
        print(
            "no board found: plug one in (a cable with data lines), see 'citynode ports --all', "
            "or start a virtual one with 'citynode virtual up --board esp32-devkit'"
        )
        return
    table = Table("port", "what", "USB", "serial number", "place", "you may use it")
    for port in found:
        table.add_row(
            *map(
                _told,  # what a device says about itself may be anything
                (port.device, port.description, port.usb, port.serial_number, port.location),
            ),
            "yes" if port.accessible else "[red]no[/] (sudo usermod -aG dialout $USER)",
        )
    Console().print(table)


def _told(text: str | None) -> str:
    return escape("".join(each for each in text or "" if each.isprintable()))

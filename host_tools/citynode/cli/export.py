"""`citynode export`: the import file of a LoRaWAN network server, with the keys of our nodes."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from citynode.errors import CitynodeError
from citynode.fleet.export import FREQUENCY_PLAN, Device, Format, Server, device, render, select
from citynode.identity import Identity, Store
from citynode.state import write_secret

FrequencyPlan = Annotated[
    str, typer.Option(metavar="ID", help="Frequency plan of The Things Stack.")
]
ApplicationId = Annotated[
    str | None, typer.Option(metavar="UUID", show_default=False, help="ChirpStack's application.")
]
DeviceProfileId = Annotated[
    str | None,
    typer.Option(metavar="UUID", show_default=False, help="ChirpStack's device profile."),
]

_NO_RADIO = "has no LoRaWAN identity: its board has no radio"
_GLOB = frozenset("*?[")
_FILE_WIDTH = 120  # columns of a table that goes to a file or to another program


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export")(export_command)


def export_command(
    form: Annotated[
        Format, typer.Option("--format", "-f", show_default=False, help="What the file is for.")
    ],
    nodes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NODE]...",
            show_default=False,
            help="Node ids or globs, MACs or DevEUIs; else all that were provisioned here.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default=False,
            help="The file, readable by you alone; - for stdout. Else citynode-….csv or .json.",
        ),
    ] = None,
    frequency_plan: FrequencyPlan = FREQUENCY_PLAN,
    application_id: ApplicationId = None,
    device_profile_id: DeviceProfileId = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per node.")] = False,
) -> None:
    """Write the import file of a network server: DevEUIs, JoinEUIs and AppKeys of our nodes.

    tts-csv and tts-json are imported by The Things Stack's console as they are. Each line of
    chirpstack holds the bodies of two API calls: "device" and "deviceKeys".
    """
    chosen = select(Store().all(), nodes or ())
    devices = {mac: device(identity) for mac, identity in chosen.items()}
    able = [each for each in devices.values() if each is not None]
    if not able:
        raise CitynodeError(
            "none of the nodes has a LoRaWAN identity",
            "provision boards that have a radio (see 'citynode boards')",
        )
    content = render(form, able, Server(frequency_plan, application_id, device_profile_id))
    target = output or Path(form.file_name)
    to_stdout = target == Path("-")
    if to_stdout:
        print(content.decode(), end="")
    else:
        _write(target, content)
    if as_json:
        _report_json(chosen, devices, None if to_stdout else target)
    else:
        _report(chosen, devices, None if to_stdout else target)
    # Whoever was asked for by name and cannot be had is a failure; whom a glob caught is not.
    named = [node for node in nodes or () if not _GLOB & set(node)]
    if named and any(devices[mac] is None for mac in select(chosen, named)):
        raise typer.Exit(1)


def _write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing; what is no plain file stays what it is."""
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise CitynodeError(f"{path} is no file", "give -o another name, or -o - for stdout")
        write_secret(path, content)
    except OSError as error:
        raise CitynodeError(
            f"cannot write {path}: {error.strerror}", "give -o a file that can be written"
        ) from None


def _report_json(
    chosen: Mapping[str, Identity], devices: Mapping[str, Device | None], target: Path | None
) -> None:
    for mac, each in devices.items():
        told: dict[str, object] = {
            "node_id": chosen[mac].node_id,
            "mac": mac,
            "exported": each is not None,
        }
        if each is not None:
            told |= {
                "dev_eui": each.dev_eui.hex(),
                "join_eui": each.join_eui.hex(),
                "file": str(target or "-"),
            }
        else:
            told["reason"] = _NO_RADIO
        print(json.dumps(told), file=sys.stderr if target is None else sys.stdout)


def _report(
    chosen: Mapping[str, Identity], devices: Mapping[str, Device | None], target: Path | None
) -> None:
    console = Console(stderr=target is None)
    if not console.is_terminal:
        console.width = _FILE_WIDTH
    table = Table("node", "DevEUI", "JoinEUI", box=None, pad_edge=False)
    for each in devices.values():
        if each is not None:
            table.add_row(each.node_id, each.dev_eui.hex(), each.join_eui.hex())
    console.print(table)
    for mac, each in devices.items():
        if each is None:
            print(f"citynode: left out: {chosen[mac].node_id} {_NO_RADIO}", file=sys.stderr)
    if target is not None:
        count = sum(each is not None for each in devices.values())
        print(f"{target}: {count} node{'s' * (count != 1)}, with their AppKeys: keep it secret")

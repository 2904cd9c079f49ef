"""`citynode command`: the signed downlink that tells a LoRaWAN node something."""

import json
import time
from base64 import b64encode
from typing import Annotated

import typer

from citynode.cli import parts
from citynode.commands import PORT, Command, payload
from citynode.errors import CitynodeError
from citynode.fleet.export import select
from citynode.identity import Store


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("command")(command_command)


def command_command(
    node: Annotated[str, typer.Argument(help="Node id, MAC or DevEUI.", show_default=False)],
    what: Annotated[Command, typer.Argument(help="What to tell it.", show_default=False)],
    seconds: Annotated[
        int | None,
        typer.Argument(min=0, show_default=False, help="Of interval; 0: what the profile says."),
    ] = None,
    as_json: parts.AsJson = False,
) -> None:
    """Print a signed command for one node, to be queued at the network server on its FPort.

    It is good once. A node takes no command that was made before one it has had.
    """
    chosen = list(select(Store().all(), [node]).values())
    if len(chosen) != 1:
        raise CitynodeError(f"{node!r} is {len(chosen)} nodes", "name one: a command is for one")
    (identity,) = chosen
    data = payload(identity, what, seconds, int(time.time()))
    told = {"node_id": identity.node_id, "f_port": PORT, "hex": data.hex()}
    told["base64"] = b64encode(data).decode()
    if as_json:
        print(json.dumps(told))
    else:
        print(f"{identity.node_id}: FPort {PORT}, hex {told['hex']}, base64 {told['base64']}")

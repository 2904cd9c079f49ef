"""`citynode provision`: identity and configuration for boards that have the firmware."""

from enum import StrEnum
from typing import Annotated

import typer

from citynode.bench.provision import provision
from citynode.cli import parts
from citynode.identity import Store


class Tool(StrEnum):
    """Whose library reaches the board."""

    MPREMOTE = "mpremote"
    AMPY = "ampy"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("provision")(provision_command)


def provision_command(
    board: parts.BoardId,
    port: parts.Ports = None,
    profile: parts.ProfileId = "climate-demo",
    identity: parts.IdentityFile = None,
    ca: parts.CaFile = None,
    transport: Annotated[Tool, typer.Option(help="Tool that reaches the board.")] = Tool.MPREMOTE,
    jobs: parts.Jobs = None,
    renew_identity: parts.Renew = False,
    as_json: parts.AsJson = False,
) -> None:
    """Give flashed boards their identity and configuration; nothing else on them is touched."""
    order = parts.make_order(board, profile, identity, ca, renew_identity)
    selected = parts.choose_ports(port)
    parts.refuse_shared(order, selected)
    store = Store()
    parts.work_on(
        selected,
        lambda bench, outcome: provision(bench, outcome, order, store, transport.value),
        jobs=jobs,
        as_json=as_json,
    )

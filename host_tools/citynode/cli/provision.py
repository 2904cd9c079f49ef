"""`citynode provision`: identity and configuration for boards that have the firmware."""

from enum import StrEnum
from typing import Annotated

import typer

from citynode.bench.job import Bench
from citynode.bench.outcome import Outcome
from citynode.bench.provision import provision
from citynode.cli import parts
from citynode.fleet.node import Stage


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
    dev_eui_block: parts.DevEuiBlock = None,
    fleet: parts.FleetFile = None,
    batch: parts.Batch = None,
    jobs: parts.Jobs = None,
    renew_identity: parts.Renew = False,
    as_json: parts.AsJson = False,
) -> None:
    """Give flashed boards their identity and configuration; nothing else on them is touched."""
    order = parts.make_order(board, profile, identity, ca, renew_identity)
    selected = parts.choose_ports(port)
    parts.refuse_shared(order, selected)
    store = parts.store_of(dev_eui_block, fleet, batch)

    def work(bench: Bench, outcome: Outcome) -> None:
        provision(bench, outcome, order, store, transport.value)

    parts.work_on(
        selected,
        parts.recorded(store, work, (Stage.IDENTITY,)),
        jobs=jobs,
        as_json=as_json,
    )

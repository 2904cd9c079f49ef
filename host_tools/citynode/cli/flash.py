"""`citynode flash`: blank boards become nodes, all ports at once."""

from pathlib import Path
from typing import Annotated

import typer

from citynode.bench.flash import Method, flash, prepare
from citynode.bench.job import Bench
from citynode.bench.outcome import Outcome
from citynode.cli import parts
from citynode.errors import CitynodeError
from citynode.fleet.node import Stage
from citynode.image import fetch
from citynode.link.bootloader import FAST


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("flash")(flash_command)


def flash_command(
    board: parts.BoardId,
    port: parts.Ports = None,
    profile: parts.ProfileId = "climate-demo",
    identity: parts.IdentityFile = None,
    ca: parts.CaFile = None,
    image: Annotated[
        Path | None,
        typer.Option(show_default=False, help="MicroPython image; else the newest in the cache."),
    ] = None,
    baud: Annotated[
        int,
        typer.Option("-b", "--baud", envvar="ESPTOOL_BAUD", min=9600, help="Falls back to 115200."),
    ] = FAST,
    before: Annotated[
        str,
        typer.Option(
            help="Way into the bootloader: default-reset, usb-reset, or no-reset for ports without "
            "modem lines (hold BOOT and press EN before; press EN again when it is starting)."
        ),
    ] = "default-reset",
    dev_eui_block: parts.DevEuiBlock = None,
    fleet: parts.FleetFile = None,
    batch: parts.Batch = None,
    jobs: parts.Jobs = None,
    renew_identity: parts.Renew = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Compare only: write nothing, keep nothing.")
    ] = False,
    as_json: parts.AsJson = False,
) -> None:
    """Write MicroPython, application and identity in one session; verify; ask the node who it is.

    Only what differs is written, so that a second run repairs and completes the first.
    """
    if before not in ("default-reset", "usb-reset", "no-reset"):
        raise CitynodeError(
            f"--before {before} is not known", "use default-reset, usb-reset or no-reset"
        )
    order = parts.make_order(board, profile, identity, ca, renew_identity)
    store, method = parts.store_of(dev_eui_block, fleet, batch), Method(baud, before, dry_run)
    kit = prepare(
        order, parts.read_image(image if image is not None else _cached(order.board.micropython))
    )
    selected = parts.choose_ports(port)
    parts.refuse_shared(order, selected)

    def work(bench: Bench, outcome: Outcome) -> None:
        flash(bench, outcome, kit, store, method)

    stages = (Stage.FLASH, Stage.BOOT, Stage.IDENTITY)
    parts.work_on(
        selected,
        work if dry_run else parts.recorded(store, work, stages),
        jobs=jobs,
        as_json=as_json,
        dry_run=dry_run,
    )


def _cached(build: str) -> Path:
    return fetch.find(build).path

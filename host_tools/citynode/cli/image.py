"""`citynode image`: what goes on a board, as files; no port is touched."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from citynode import identity, resources, state
from citynode.bench.contents import Order
from citynode.boards import load_board
from citynode.cli import parts
from citynode.errors import CitynodeError
from citynode.image import fetch, plan, show
from citynode.image.nvs import Kind, Value
from citynode.image.plan import Row

_MIB = 1 << 20

Board = Annotated[str, typer.Option(help="Board id (see `citynode boards`), or a TOML file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Report as JSON.")]


def register(app: typer.Typer) -> None:
    """Add the verb with its sub-commands."""
    image = typer.Typer(
        help="Images: fetch MicroPython, build what goes on a board, look into one.",
        no_args_is_help=True,
    )
    image.command("build")(build)
    image.command("fetch")(fetch_image)
    image.command("show")(show_image)
    app.add_typer(image, name="image")


def build(
    board: Board,
    profile: Annotated[str, typer.Option(help="Profile id, or a TOML file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Image file to write.")],
    identity_file: Annotated[
        Path | None,
        typer.Option(
            "--identity",
            show_default=False,
            help="File with the node's identity (mode 600). Without it the image has none, and "
            "whoever writes it erases that of the board.",
        ),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(show_default=False, help="MicroPython image; else the newest in the cache."),
    ] = None,
    ca: parts.CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Build one image of MicroPython, the node's files and its identity, and print the map."""
    order = parts.make_order(board, profile, identity_file, ca, False)
    spec = order.board
    raw = parts.read_image(image if image is not None else fetch.find(spec.micropython).path)
    version = plan.take_apart(raw, spec.chip).micropython.version
    made = plan.make(
        raw,
        spec.chip,
        spec.flash_mib * _MIB,
        nvs_values=None if identity_file is None else _nvs(identity_file, order),
        files=plan.node_files(resources.firmware(), version, spec.chip, order.settings),
    )
    _write(output, made.merged())
    base = made.regions[0].offset
    if as_json:
        rows = [_row(row) for row in made.rows()]
        print(
            json.dumps(
                {
                    "image": str(output),
                    "chip": spec.chip,
                    "offset": base,
                    "micropython": version,
                    "partitions": rows,
                }
            )
        )
        return
    _print_rows(f"{spec.name}, MicroPython {version}", made.rows())
    print(f"{output} goes to {base:#x}: esptool write-flash {base:#x} {output}")
    if identity_file is None:
        print("It has no identity: 'citynode provision' gives the board one after that.")


def fetch_image(
    version: Annotated[str, typer.Option(help="MicroPython version, as v1.25.0.")],
    board: Annotated[str | None, typer.Option(help="Board id: takes the build for it.")] = None,
    build_name: Annotated[
        str | None, typer.Option("--build", help="Name of the build, as ESP32_GENERIC_C3.")
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="Day in the file's name (YYYYMMDD), for other versions.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="SHA-256 that the image has to have (hex).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Load a MicroPython image from micropython.org into the cache."""
    if (board is None) == (build_name is None):
        raise CitynodeError("give one of --board and --build", "see `citynode boards`")
    name = build_name or load_board(board or "").micropython
    got = fetch.fetch(fetch.url_of(name, version, date), sha256)
    if as_json:
        print(json.dumps({"image": str(got.path), "sha256": got.sha256}))
    else:
        print(f"{got.path}\nSHA-256 {got.sha256}{'' if sha256 else ' (pin it with --sha256)'}")


def show_image(
    image: Annotated[Path, typer.Argument(help="Image file, or a copy of a whole flash.")],
    as_json: AsJson = False,
) -> None:
    """Show what is in an image: versions, partitions, files, names in NVS; never a value of NVS."""
    seen = show.look(parts.read_image(image))
    if as_json:
        print(
            json.dumps(
                {
                    "image": str(image),
                    "chip": seen.chip,
                    "offset": seen.base,
                    "micropython": seen.version,
                    "built": seen.built,
                    "machine": seen.machine,
                    "flash_size": seen.flash_size,
                    "partitions": [_row(row) for row in seen.rows],
                    "nvs": seen.nvs,
                    "files": seen.files,
                }
            )
        )
        return
    title = f"{seen.machine or seen.chip}, MicroPython {seen.version} of {seen.built}"
    _print_rows(title, seen.rows)
    for namespace, keys in seen.nvs.items():
        print(f"NVS {namespace}: {', '.join(f'{key} ({kind})' for key, kind in keys.items())}")
    for name, size in seen.files.items():
        print(f"{size:>9} {name}")


def _nvs(path: Path, order: Order) -> dict[str, dict[str, tuple[Kind, Value]]]:
    if "node_id" not in order.given:
        raise CitynodeError(f"{path} has no node_id", 'add node_id = "…" to it')
    return {identity.NAMESPACE: identity.Identity(**order.given).nvs()}  # type: ignore[arg-type]


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "offset": row.offset,
        "size": row.size,
        "used": row.used,
        "free": row.free,
    }


def _print_rows(title: str, rows: list[Row]) -> None:
    table = Table(title=title, title_justify="left")
    table.add_column("partition")
    for name in ("offset", "size", "used", "free"):
        table.add_column(name, justify="right")
    for row in rows:
        sizes = ("" if each is None else f"{each:,}" for each in (row.size, row.used, row.free))
        table.add_row(row.name, f"{row.offset:#x}", *sizes)
    Console().print(table)


def _write(path: Path, data: bytes) -> None:
    """Write the image: it may hold an identity, so nobody else can read it."""
    try:
        state.write_secret(path, data)
    except OSError as error:
        raise CitynodeError(
            f"cannot write {path}: {os.strerror(error.errno or 0)}", "choose another --output"
        ) from error

"""`citynode virtual image`: a stand-in where no genuine MicroPython image can be had."""

from pathlib import Path
from typing import Annotated

import typer

from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS

_MIB = 1 << 20


def image_command(
    board: Annotated[str, typer.Option(help="Board id (see `citynode boards`).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File to write.")],
    version: Annotated[
        str, typer.Option(help="MicroPython version that it says it is.")
    ] = standin.VERSION,
    seed: Annotated[int, typer.Option(help="Decides the noise in place of the code.")] = 0,
) -> None:
    """Build an image with the structure and size of MicroPython's, for virtual boards only."""
    spec = load_board(board)
    # The makers' builds are for 4 MiB, whatever the board has; from 1.26 on they find out.
    flash_size = min(spec.flash_mib, 4) * _MIB
    image = standin.build(
        CHIPS[spec.chip], flash_size=flash_size, version=version, machine=None, seed=seed
    )
    try:
        output.write_bytes(image)
    except OSError as error:
        raise CitynodeError(
            f"cannot write {output}: {error.strerror}", "choose another --output"
        ) from error
    print(f"{output}: stand-in for MicroPython {version} on {spec.chip}, {len(image)} bytes")

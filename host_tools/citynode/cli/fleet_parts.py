"""What the sub-commands of `citynode fleet` have in common: options, tables, warnings."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from citynode.errors import CitynodeError
from citynode.fleet.inventory import Fleet
from citynode.fleet.node import Node, Stage
from citynode.fleet.query import Filter
from citynode.state import state_dir, write_secret

_MANY = 10  # lines of one kind that a person reads

FleetFile = Annotated[
    Path | None,
    typer.Option(
        "--fleet",
        metavar="FILE",
        envvar="CITYNODE_FLEET",
        show_default=False,
        help="The fleet's file; else fleet.db in citynode's own folder.",
    ),
]
Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NODE]...", show_default=False, help="Node ids or globs, MACs or DevEUIs."
    ),
]
Batch = Annotated[str | None, typer.Option(show_default=False, help="Nodes of this batch.")]
Site = Annotated[str | None, typer.Option(show_default=False, help="Nodes of this site.")]
StageIs = Annotated[
    str | None,
    typer.Option(
        "--stage",
        metavar="STAGE[=RESULT]",
        show_default=False,
        help="Nodes whose stage (flash, boot, identity, self-test, label) passed, or ended as "
        "RESULT: FAIL, ERROR, TIMEOUT, ABORTED; 'missing' for not passed yet.",
    ),
]
StatusIs = Annotated[
    str | None,
    typer.Option(
        "--status", show_default=False, help="planned, open, failed, ready or retired nodes."
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="KEY=VALUE",
        show_default=False,
        help="Nodes with this value in a column, also one that came with an import; repeatable.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Report as JSON.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")]


def path_of(given: Path | None) -> Path:
    """Return the fleet's file."""
    return given if given is not None else state_dir() / "fleet.db"


def open_fleet(given: Path | None) -> Fleet:
    """Open the fleet; raises CitynodeError."""
    return Fleet(path_of(given))


def confirm(question: str, yes: bool) -> None:
    """Ask, on a terminal; raises CitynodeError where nobody can answer."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CitynodeError(f"{question} Nobody is there to say so", "give --yes")
    typer.confirm(question, abort=True)


def write(path: Path, content: bytes) -> None:
    """Write the whole file or nothing, readable by us alone; raises CitynodeError."""
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise CitynodeError(f"{path} is no file", "give -o another name")
        write_secret(path, content)
    except OSError as error:
        raise CitynodeError(
            f"cannot write {path}: {error.strerror}", "give -o a file that can be written"
        ) from None


def warn_of(names: Sequence[str], why: str) -> None:
    """Name on stderr who is left out; the first of many."""
    for name in names[:_MANY]:
        print(f"citynode: left out: {shown(name)} {why}", file=sys.stderr)
    if len(names) > _MANY:
        print(f"citynode: left out: {len(names) - _MANY} more, as they", file=sys.stderr)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns; as fast for a hundred thousand rows as for ten."""
    cells = [tuple(shown(cell) for cell in row) for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sys.stdout.writelines("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in cells)


def stages_of(node: Node) -> str:
    """Tell in a few words how far a node is: what passed, and what did not."""
    passed = [each.value for each in Stage if _outcome(node, each) == "PASS"]
    failed = [
        f"{each.value} {outcome}"
        for each in Stage
        if (outcome := _outcome(node, each)) not in (None, "PASS")
    ]
    return ", ".join([*passed, *failed])


def _outcome(node: Node, stage: Stage) -> str | None:
    step = node.stages.get(stage)
    return step.outcome if step is not None else None


def shown(text: str) -> str:
    """Return a text that cannot move the cursor."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def wanted(
    names: Sequence[str] | None,
    batch: str | None,
    site: str | None,
    stage: str | None,
    status: str | None,
    where: Sequence[str] | None,
) -> Filter:
    """Return which nodes are meant."""
    return Filter(tuple(names or ()), batch, site, stage, status, tuple(where or ()))

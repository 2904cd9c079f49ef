"""Ask a board who it is, and hold the answer against what it should be."""

import ast
import json

from citynode import resources
from citynode.bench.contents import Order
from citynode.bench.job import Bench
from citynode.bench.outcome import BoardError, Step
from citynode.errors import CitynodeError
from citynode.link.repl import Repl, Transport

_REPORT = "from node.hal.about import report\nprint(report())"


def firmware_version() -> str:
    """Return the version of the firmware that comes with citynode."""
    path = resources.firmware() / "node" / "__init__.py"
    try:
        for line in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "VERSION":
                return str(ast.literal_eval(line.value))
    except (OSError, SyntaxError, ValueError):
        pass
    raise CitynodeError(f"{path} names no version", "install citynode again")


def ask(repl: Repl) -> dict[str, object]:
    """Return the report of a node whose REPL is open; raises LinkError, BoardError."""
    lines = repl.run(_REPORT).strip().splitlines()
    try:
        found = json.loads(lines[-1])
    except (IndexError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise BoardError(f"{repl.port} reports nothing that makes sense", "flash the board")
    return found


def differences(
    found: dict[str, object], order: Order, node_id: str, mac: str
) -> list[tuple[str, object, object]]:
    """Return (what, found, expected) where a report is not as it should be."""
    expected: dict[str, object] = {
        "version": firmware_version(),
        "node_id": node_id,
        "slot": "a",
        "board": order.board.id,
        "mac": mac,
        "config_crc": order.config_crc,
    }
    return [(key, found.get(key), want) for key, want in expected.items() if found.get(key) != want]


def read_back(
    bench: Bench, order: Order, node_id: str, mac: str, transport: Transport = "mpremote"
) -> str:
    """Wait until the board has started, check its report, let it run; return its version.

    Raises LinkError, or BoardError that names the first thing that is wrong.
    """
    with Repl(bench.port, transport, bench.leash) as repl:
        repl.connect()
        bench.step(Step.READ_BACK)
        found = ask(repl)
        wrong = differences(found, order, node_id, mac)
        repl.restart()
    if wrong:
        key, got, want = wrong[0]
        raise BoardError(
            f"{bench.port} was written, but reports {key} {got} instead of {want}",
            "run this again; if it stays so, the flash chip is worn or the board is another",
        )
    return str(found["version"])

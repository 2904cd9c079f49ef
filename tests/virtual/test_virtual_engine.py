"""The engine of virtual time: in which order it calls, and that nothing asks another clock."""

import ast
from pathlib import Path

import citynode.virtual
from citynode.virtual.virtualtime import VirtualEngine

NS = 1_000_000_000
DAY = 86_400 * NS


def test_calls_come_in_order_of_time_then_of_request():
    engine = VirtualEngine(wall_start_ns=5)
    seen = []

    def note(what):
        seen.append((engine.clock.now_ns(), what))

    engine.call_at(3 * DAY, note, "late")
    engine.call_own_at(NS, note, "own")
    engine.call_at(NS, note, "shared")
    engine.call_at(NS, note, "never").cancel()
    engine.call_later(0.5, engine.call_at, NS, note, "last")
    engine.run(until=2 * NS)
    assert seen == [(NS, "own"), (NS, "shared"), (NS, "last")]
    assert (engine.clock.now_ns(), engine.clock.unix_ns()) == (2 * NS, 2 * NS + 5)
    assert engine.next_ns() == 3 * DAY
    assert not engine.reach(3 * DAY)
    engine.run(until=lambda: len(seen) == 4)
    assert seen[3] == (3 * DAY, "late")
    engine.close()


# Who reads the machine's time or chance; of `random` others have the class, which is seeded.
ALLOWED = {"world/clock.py": {"time"}, "world/chance.py": {"secrets"}}


def reads(tree):
    """Return the sources of time and chance that a module asks."""
    names = (node.names for node in ast.walk(tree) if isinstance(node, ast.Import))
    imported = {alias.name for each in names for alias in each}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "secrets", "random"):
            yield node.module
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner, name = node.value.id, node.attr
            if owner in imported & {"time", "secrets"} or (owner == "random" and name != "Random"):
                yield owner
            elif (owner, name) == ("os", "urandom") or (
                owner in ("datetime", "date") and name in ("now", "today", "utcnow")
            ):
                yield name


def test_one_place_reads_the_machines_clock_and_one_its_chance():
    home = Path(citynode.virtual.__file__).parent
    modules = [path for path in home.rglob("*.py") if "upy" not in path.parts]
    assert len(modules) > 80
    for path in modules:
        read = set(reads(ast.parse(path.read_text(encoding="utf-8"))))
        assert read == ALLOWED.get(str(path.relative_to(home)), set()), path

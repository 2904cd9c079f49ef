"""What the firmware's sensor drivers say of themselves, read from their source without running it.

A driver (`firmware/node/sensors/<chip>.py`) has a class `DRIVER` with `FIELDS` and `BUS`; its
constructor's arguments behind `clock` are the options that a profile may set. So a new driver
needs no second list on the host.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from citynode import resources
from citynode.errors import CitynodeError

I2C, UART, ONEWIRE, PULSES, ADC, PIN = "i2c", "uart", "onewire", "pulses", "adc", "pin"
# Given by the wiring, though it stands among the options.
_WIRED = frozenset(("switch",))


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver: its chip, what it is connected by, the schema's fields that it measures.

    `options` are names and default values (None: not a plain value); `warm_up_ms` is how long the
    sensor is awake before it is read; `has_switch` tells that its supply may be switched.
    """

    chip: str
    bus: str
    fields: tuple[str, ...]
    options: Mapping[str, object]
    warm_up_ms: int = 0
    has_switch: bool = False


def folder() -> Path:
    """Return where the drivers are."""
    return resources.firmware() / "node" / "sensors"


def chips() -> list[str]:
    """Return the names of the drivers that measure fields of a record, in alphabetical order."""
    return sorted(path.stem for path in folder().glob("*.py") if _read(path) is not None)


def driver(chip: str) -> Driver:
    """Return a chip's driver; raises CitynodeError where the firmware has none."""
    path = folder() / f"{chip}.py"
    found = _read(path) if path.is_file() else None
    if found is None:
        raise CitynodeError(
            f"no driver for the sensor {chip!r}", f"the firmware has {', '.join(chips())}"
        )
    return found


@cache
def _read(path: Path) -> Driver | None:
    """Return what a module says, None if it has no driver of this kind."""
    made = _made_of(path)
    if made is None:
        return None
    values, arguments = made
    fields, bus = values.get("FIELDS"), values.get("BUS")
    if not isinstance(fields, tuple) or not isinstance(bus, str):
        return None
    warm_up = values.get("WARM_UP_MS", 0)
    return Driver(
        path.stem,
        bus,
        tuple(str(field) for field in fields),
        {name: value for name, value in arguments.items() if name not in _WIRED},
        warm_up if isinstance(warm_up, int) else 0,
        has_switch=bool(_WIRED & set(arguments)),
    )


def _made_of(
    path: Path, wanted: str | None = None
) -> tuple[dict[str, object], dict[str, object]] | None:
    """Return the constants and the options of a class, `DRIVER` if None, its bases' first."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    constants = _constants(tree.body, {})
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    imported = {
        alias.asname or alias.name: node.module.rpartition(".")[2]
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("node.sensors.")
        for alias in node.names
        if node.module
    }
    target = constants.get("DRIVER")
    name = wanted or (target.id if isinstance(target, ast.Name) else "")

    def collect(name: str) -> tuple[dict[str, object], dict[str, object]] | None:
        if name not in classes:
            module = imported.get(name)
            return None if module is None else _made_of(path.with_name(f"{module}.py"), name)
        values: dict[str, object] = {}
        arguments: dict[str, object] = {}
        for base in classes[name].bases:
            if isinstance(base, ast.Name) and (of_base := collect(base.id)) is not None:
                values |= of_base[0]
                arguments = of_base[1]
        body = classes[name].body
        values |= {
            key: _plain(value, constants) for key, value in _constants(body, constants).items()
        }
        for node in body:
            if isinstance(node, ast.FunctionDef) and node.name == "__init__":
                arguments = _options(node.args, constants)
        return values, arguments

    return collect(name)


def _constants(body: list[ast.stmt], known: Mapping[str, object]) -> dict[str, object]:
    """Return the names that are set at one level: to values, or to expressions as they stand."""
    found: dict[str, object] = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = node.value
    return found


def _plain(value: object, constants: Mapping[str, object]) -> object:
    """Return the value of an expression: a literal, `const(…)`, a name or a sum of them."""
    if isinstance(value, ast.Call) and value.args:
        return _plain(value.args[0], constants)
    if isinstance(value, ast.Name):
        there = constants.get(value.id)
        return None if there is None or there is value else _plain(there, constants)
    if isinstance(value, ast.expr):
        try:
            return ast.literal_eval(value)
        except ValueError:
            return None
    return value


def _options(arguments: ast.arguments, constants: Mapping[str, object]) -> dict[str, object]:
    """Return the arguments that have a default."""
    names = [each.arg for each in arguments.args]
    defaults = arguments.defaults
    return {
        name: _plain(value, constants)
        for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=True)
    }

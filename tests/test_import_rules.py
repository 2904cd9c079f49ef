"""Who may import whom: the rooms of the house and the doors between them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NODE = ROOT / "firmware" / "node"
HOST = ROOT / "host_tools" / "citynode"

# What MicroPython brings itself and every module of the firmware may use.
PURE = {
    "array", "asyncio", "binascii", "collections", "errno", "gc", "hashlib", "io", "json", "math",
    "micropython", "os", "random", "re", "select", "socket", "ssl", "struct", "sys", "time",
}  # fmt: skip
HARDWARE = {"machine", "network", "esp32", "esp", "ntptime"}
SENSOR_LIKE = ("sensors", "traffic", "lorawan", "radio")


def imports(path, base):
    """Return the names that a module imports, ours as `node.x.y` or `citynode.x.y`."""
    package = ".".join([base.name, *path.relative_to(base).parts[:-1]])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = package.split(".")
            home = home[: len(home) - node.level + 1] if node.level else []
            module = ".".join([*home, *([node.module] if node.module else [])])
            yield module
            if not node.module or module in (base.name, package):
                yield from (f"{module}.{alias.name}" for alias in node.names)


def firmware_modules(*rooms):
    return [path for room in rooms for path in sorted((NODE / room).rglob("*.py"))]


def room_of(name):
    parts = name.split(".")
    return parts[1] if parts[0] == "node" and len(parts) > 1 else None


def shown(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", firmware_modules("wire"), ids=shown)
def test_wire_imports_nothing_but_struct_and_binascii(path):
    for name in imports(path, NODE):
        assert room_of(name) in ("wire", None)
        assert name.split(".")[0] in ("node", "struct", "binascii", "micropython"), name


@pytest.mark.parametrize("path", firmware_modules(*SENSOR_LIKE, "net"), ids=shown)
def test_drivers_and_detectors_know_only_wire_and_micropython(path):
    own = path.relative_to(NODE).parts[0]
    for name in imports(path, NODE):
        assert name.split(".")[0] in PURE | {"node"}, name
        assert room_of(name) in (None, "wire", own), name


@pytest.mark.parametrize("path", firmware_modules("core"), ids=shown)
def test_core_knows_no_hardware(path):
    for name in imports(path, NODE):
        assert name.split(".")[0] in PURE | {"node"}, name
        assert room_of(name) in (None, "wire", "core", "net", *SENSOR_LIKE), name


def test_only_hal_and_the_entry_files_touch_the_hardware():
    for path in sorted((ROOT / "firmware").rglob("*.py")):
        if path.is_relative_to(NODE / "hal") or path.parent == ROOT / "firmware":
            continue
        assert not HARDWARE & {name.split(".")[0] for name in imports(path, NODE)}, path


def host_modules(*rooms):
    return [path for room in rooms for path in sorted((HOST / room).rglob("*.py"))]


def test_image_and_wire_know_no_ports():
    for path in host_modules("image"):
        for name in imports(path, HOST):
            assert name.split(".")[0] not in ("serial", "esptool", "mpremote", "ampy"), path
            assert not name.startswith(("citynode.link", "citynode.bench", "citynode.virtual")), (
                path
            )


def test_the_virtual_board_is_known_to_cli_hil_and_itself_alone():
    for path in sorted(HOST.rglob("*.py")):
        room = path.relative_to(HOST).parts[0]
        if room in ("cli", "hil", "virtual", "wire"):
            continue
        for name in imports(path, HOST):
            assert not name.startswith("citynode.virtual"), f"{path}: {name}"


def test_the_air_and_its_network_know_no_boards_and_no_firmware():
    """The network under test is an implementation of its own."""
    for path in host_modules("virtual/air"):
        for name in imports(path, HOST):
            assert room_of(name) is None, f"{path}: {name}"
            inside = name.removeprefix("citynode.virtual.")
            assert inside.split(".")[0] not in ("soc", "chips", "upy", "rack"), f"{path}: {name}"


def test_only_cli_prints():
    for path in sorted(HOST.rglob("*.py")):
        room = path.relative_to(HOST).parts[0]
        if room in ("cli", "wire") or "upy" in path.parts:
            continue
        calls = (
            node.func.id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        )
        assert "print" not in calls, path


def test_the_virtual_board_asks_nobody_else_for_time_and_chance():
    """The clock and the seed are handed out in `virtual/world/{clock,chance}.py` alone."""
    allowed = {HOST / "virtual" / "world" / "clock.py", HOST / "virtual" / "world" / "chance.py"}
    forbidden = {
        ("time", "time"), ("time", "monotonic"), ("time", "time_ns"), ("time", "monotonic_ns"),
        ("os", "urandom"), ("random", "random"), ("random", "randrange"), ("random", "choice"),
        ("random", "randbytes"), ("random", "seed"), ("secrets", "token_bytes"),
        ("datetime", "now"), ("time", "sleep"),
    }  # fmt: skip
    for path in host_modules("virtual"):
        if path in allowed or "upy" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in forbidden, f"{path}:{node.lineno}"


def test_no_assert_on_input():
    for path in (*sorted(HOST.rglob("*.py")), *firmware_modules(".")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Assert), f"{path}:{node.lineno}"

"""How fast virtual time is: node-days per CPU-minute, hardware calls per second."""

import ctypes
import os
from collections import Counter
from contextlib import suppress

import cbor2
import pytest
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import load_profile
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID

BOARD = "esp32-devkit"
NS = 1_000_000_000
DAY = 86_400 * NS
PIN_READS = 10_000
PR_SET_CHILD_SUBREAPER = 36

pytestmark = pytest.mark.slow


def flash(folder, count, files=None, **config):
    """Write flashes with the climate node (its configuration changed), or with these files."""
    board = load_board(BOARD)
    chip = CHIPS[board.chip]
    made = standin.build(chip)
    if files is None:
        kit = prepare(Order(board, load_profile("climate-demo"), {}), made)
        changed = cbor2.loads(kit.files[CONFIG]) | {"interval_s": 300, "health_s": 3600} | config
        files = {**kit.files, CONFIG: cbor2.dumps(changed, canonical=True)}
    size = board.flash_mib << 20
    for number in range(count):
        identity = Identity(f"n{number}", wifi_ssid=BENCH_SSID, wifi_psk=BENCH_PASSWORD)
        nvs = {NAMESPACE: identity.nvs()}
        data = planning.make(made, board.chip, size, nvs_values=nvs, files=files).merged()
        home = folder / f"{BOARD}-{number}"
        home.mkdir()
        (home / "flash.bin").write_bytes(
            (b"\xff" * chip.bootloader_offset + data).ljust(size, b"\xff")
        )


def measure(folder, count, until):
    """Run boards; return the CPU time of host and interpreters (s) and the boards' calls."""
    # A program whose mother is killed with it comes to us: else its time would not be seen.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = os.times()
    rack = Rack(BOARD, count, state_dir=folder, virtual_time=True)
    try:
        rack.open()
        rack.engine.run(until=until(rack))
        calls = sum(app.calls for app in rack.apps)
    finally:
        rack.close()
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = os.times()
    return after[0] + after[1] - before[0] - before[1], sum(after[2:4]) - sum(before[2:4]), calls


@pytest.mark.parametrize(
    ("name", "count", "days", "config"),
    [
        ("awake", 1, 0.5, {}),
        ("awake, four at once", 4, 0.1, {}),
        ("awake, twenty at once", 20, 0.007, {}),
        ("deep sleep", 1, 0.05, {"sleep": "deep"}),
    ],
)
def test_node_days_per_cpu_minute(tmp_path, name, count, days, config):
    flash(tmp_path, count, **config)
    arrived = Counter()

    def until(rack):
        rack.world.broker.on_publish = lambda client, *_: arrived.update([client])
        return round(days * DAY)

    host_s, upy_s, calls = measure(tmp_path, count, until)
    samples = count * days * 288
    print(
        f"\n{name}: {60 * count * days / (host_s + upy_s):.1f} node-days per CPU-minute;"
        f" of a sample {1000 * host_s / samples:.1f} ms host,"
        f" {1000 * upy_s / samples:.1f} ms interpreter, {calls / samples:.0f} calls"
    )
    assert calls > samples
    # Each sample, and what a node says when it starts.
    assert len(arrived) == count
    assert min(arrived.values()) >= samples // count


def test_hardware_calls_per_second(tmp_path):
    program = (
        "from machine import Pin\npin = Pin(4, Pin.IN)\n"
        f"for _ in range({PIN_READS}):\n    pin.value()\nprint('read')\n"
    )
    flash(tmp_path, 1, {"/main.py": program.encode()})
    host_s, upy_s, calls = measure(
        tmp_path, 1, lambda rack: lambda: rack.events.lines[-1].endswith("out read")
    )
    print(f"\n{calls / (host_s + upy_s):.0f} hardware calls per CPU-second")
    assert calls >= PIN_READS

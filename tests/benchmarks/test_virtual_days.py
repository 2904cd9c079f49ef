"""How fast virtual time is: node-days per CPU-minute, hardware calls per second, memory per node.

With CITYNODE_BENCHMARK=full for longer, and for a thousand nodes too. Starting them, and their
first ten minutes, count apart: a soak lasts days.
"""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

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

FULL = os.environ.get("CITYNODE_BENCHMARK") == "full"
BOARD = "esp32-devkit"
NS = 1_000_000_000
DAY = 86_400 * NS
SETTLED = 600 * NS
PIN_READS = 10_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600 if FULL else 120)]


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


def processes(file):
    """Return what a file of /proc has of this process, and of all that came from it, by id."""
    stats = _read("stat")
    parents = {pid: int(text.rpartition(")")[2].split()[1]) for pid, text in stats.items()}
    found, new = set(), {os.getpid()}
    while new:
        found |= new
        new = {pid for pid, parent in parents.items() if parent in found} - found
    told = stats if file == "stat" else _read(file)
    return {pid: told[pid] for pid in found if pid in told}


def _read(file):
    found = {}
    for path in Path("/proc").glob(f"[0-9]*/{file}"):
        with suppress(OSError):  # it has just ended, or is another user's
            found[int(path.parent.name)] = path.read_text()
    return found


def cpu_s():
    """Return the CPU time of this process, and of those that came from it, dead ones too."""
    ours, theirs = 0, 0
    for pid, text in processes("stat").items():
        fields = text.rpartition(")")[2].split()
        own, waited_for = (sum(map(int, fields[at : at + 2])) for at in (11, 13))
        if pid == os.getpid():
            ours, theirs = ours + own, theirs + waited_for
        else:
            theirs += own + waited_for
    tick = os.sysconf("SC_CLK_TCK")
    return ours / tick, theirs / tick


def memory():
    """Return the bytes of all processes, what they share counted once, without pages of files."""
    told = processes("smaps_rollup").values()
    return sum(int(text.split("\nPss_Anon:")[1].split()[0]) for text in told if text) << 10


def spent(since):
    return [now - before for now, before in zip(cpu_s(), since, strict=True)]


@pytest.mark.parametrize(
    ("name", "count", "days", "config"),
    [
        ("awake", 1, 5 if FULL else 0.5, {}),
        ("awake", 20, 0.25 if FULL else 0.007, {}),
        ("deep sleep", 1, 1 if FULL else 0.05, {"sleep": "deep"}),
        ("deep sleep", 20, 0.1 if FULL else 0.007, {"sleep": "deep"}),
    ]
    + [("awake", 1000, 0.02, {}), ("deep sleep", 1000, 0.02, {"sleep": "deep"})] * FULL,
)
def test_node_days_per_cpu_minute(tmp_path, name, count, days, config):
    flash(tmp_path, count, **config)
    arrived = Counter()
    empty, begin = memory(), cpu_s()
    rack = Rack(BOARD, count, state_dir=tmp_path, virtual_time=True)
    try:
        rack.open()
        rack.engine.run(until=SETTLED)
        rack.world.broker.on_publish = lambda client, *_: arrived.update([client])
        start_s = sum(spent(begin))
        begin, calls = cpu_s(), sum(app.calls for app in rack.apps)
        rack.engine.run(until=SETTLED + round(days * DAY))
        host_s, upy_s = spent(begin)
        calls = sum(app.calls for app in rack.apps) - calls
        taken = memory() - empty
    finally:
        rack.close()
    samples = count * days * 288
    print(
        f"\n{count} {name}: {60 * count * days / (host_s + upy_s):.1f} node-days per CPU-minute;"
        f" of a sample {1000 * host_s / samples:.1f} ms host,"
        f" {1000 * upy_s / samples:.1f} ms interpreter, {calls / samples:.0f} calls;"
        f" {start_s / count:.2f} s to start a node, {taken / count / 2**20:.2f} MiB"
    )
    assert calls > samples
    assert len(arrived) == count
    assert min(arrived.values()) >= int(days * 288)
    assert count == 1 or taken / count < 4 << 20


def test_hardware_calls_per_second(tmp_path):
    program = (
        "from machine import Pin\npin = Pin(4, Pin.IN)\n"
        f"for _ in range({PIN_READS}):\n    pin.value()\nprint('read')\n"
    )
    flash(tmp_path, 1, {"/main.py": program.encode()})
    begin = cpu_s()
    rack = Rack(BOARD, 1, state_dir=tmp_path, virtual_time=True)
    try:
        rack.open()
        rack.engine.run(until=lambda: rack.events.lines[-1].endswith("out read"))
        calls, took_s = rack.apps[0].calls, sum(spent(begin))
    finally:
        rack.close()
    print(f"\n{calls / took_s:.0f} hardware calls per CPU-second")
    assert calls >= PIN_READS

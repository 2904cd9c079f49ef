"""What a LoRaWAN node in virtual time costs: figures, no limits of time.

CPU time is that of the test and of all interpreters. `REAL_NODES` boards with the whole firmware
join after a black-out; the suite has two hundred of the same MAC without boards
(tests/lorawan_runs/test_black_out.py). CITYNODE_BENCHMARK=full has more of all.
"""

import contextlib
import json
import os
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

sys.path.append(str(Path(__file__).parents[1] / "lorawan_runs"))

from citynode.virtual.rack import Rack
from run_site import DAY, HOUR, NS, SX1262, SX1276, Site, airtime_ns, write_flash

FULL = os.environ.get("CITYNODE_BENCHMARK") == "full"
REAL_NODES = 20 if FULL else 8
UPLINKS = 2000 if FULL else 500
HOURS = {"none": 24, "deep": 6} if FULL else {"none": 6, "deep": 2}

pytestmark = pytest.mark.slow


class Cost:
    """The CPU time (s) of host and interpreters since it was made; to be asked before they end."""

    def __init__(self):
        self._before = self._now()

    @staticmethod
    def _now():
        own = os.times()
        host_s, upy_s = own.user + own.system, own.children_user + own.children_system
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended, and is in `own`
                upy_s += sum(child.cpu_times()[:4])
        return host_s, upy_s

    def taken(self):
        return [now - before for now, before in zip(self._now(), self._before, strict=True)]


@pytest.mark.parametrize(("kind", "sleep"), [(SX1276, "none"), (SX1262, "none"), (SX1262, "deep")])
def test_node_days_per_cpu_minute(tmp_path, kind, sleep):
    hours = HOURS[sleep]
    with Site(tmp_path, kind, sleep=sleep) as site:
        site.run_to(HOUR)  # joined, and started
        cost, calls, uplinks = Cost(), site.rack.apps[0].calls, len(site.uplinks)
        site.run_to((1 + hours) * HOUR)
        host_s, upy_s = cost.taken()
        calls, uplinks = site.rack.apps[0].calls - calls, len(site.uplinks) - uplinks
    cpu_s = host_s + upy_s
    print(
        f"\n{kind}, sleep {sleep}: {60 * hours / 24 / cpu_s:.1f} node-days per CPU-minute; of an"
        f" uplink {1000 * host_s / uplinks:.1f} ms host, {1000 * upy_s / uplinks:.1f} ms"
        f" interpreter, {calls / uplinks:.0f} hardware calls; {calls / cpu_s:.0f} calls per"
        " CPU-second"
    )
    assert uplinks >= 12 * hours - 1


def test_an_uplink_on_the_interpreter(tmp_path):
    program = Path(__file__).with_name("lorawan_uplinks.py").read_bytes()
    files = {"/main.py": program, "/count": str(UPLINKS).encode()}
    write_flash(tmp_path, SX1262, files=files)
    rack = Rack(SX1262, state_dir=tmp_path, virtual_time=True)
    rack.open()
    try:
        rack.engine.run(until=lambda: " out start" in rack.events.lines[-1])
        cost = Cost()
        rack.engine.run(until=lambda: " out end" in rack.events.lines[-1])
        _, upy_s = cost.taken()
        told = json.loads(rack.events.lines[-1].partition(" out end ")[2])
    finally:
        rack.close()
    print(
        f"\nan uplink of {told['payload']} bytes with two empty windows, without the radio:"
        f" {1e6 * upy_s / UPLINKS:.0f} us on the interpreter,"
        f" {told['allocated'] / UPLINKS:.0f} bytes allocated"
    )
    assert told["sent"] == UPLINKS


def test_real_boards_join_after_a_black_out(tmp_path):
    with Site(tmp_path, SX1276, REAL_NODES, sleep="none") as site:
        cost = Cost()
        devices = site.devices
        site.engine.run(until=lambda: all(d.session or d.joining for d in devices))
        joined_ns = site.engine.clock.now_ns()
        site.run_to(HOUR)
        host_s, upy_s = cost.taken()
        lost = Counter(e.reason for e in site.airtime.missed if e.receiver == site.gateway.name)
        spent = [airtime_ns(frames) for frames in site.airtime.frames.values()]
        for name in site.airtime.frames:
            site.airtime.keeps_duty_cycle(name)
    print(
        f"\n{REAL_NODES} boards had joined after {joined_ns / NS:.0f} s; an hour took"
        f" {host_s + upy_s:.1f} s of CPU time; not heard: {dict(lost)}"
    )
    assert len(spent) == REAL_NODES
    assert max(spent) < 36 * NS
    assert site.joins == REAL_NODES
    assert joined_ns < DAY

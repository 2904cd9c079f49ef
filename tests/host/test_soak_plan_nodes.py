"""`citynode soak PLAN` with the firmware on virtual boards: verdicts, workers, planted bugs."""

import hashlib
import json
import shutil
from xml.etree import ElementTree

import pytest
from citynode import resources
from citynode.cli.soak_work import work
from citynode.soak import shards
from citynode.soak.plan import load_plan
from workbench import citynode

pytestmark = pytest.mark.slow

HEAD = """
description = "for a test"
duration = "{duration}"
grace = "2h"
gateways = {gateways}
{firmware}
"""
NODE = """
[[nodes]]
name = "{name}"
board = "{board}"
profile = "{profile}"
interval = "5m"
health = "10m"
"""
# 1-Wire, I2C and a serial port.
PROFILE = """
description = "for a test"
site = "x"
interval_s = 300
health_s = 3600
[[sensors]]
chip = "ds18b20"
pin = "d1"
[[sensors]]
chip = "scd41"
address = 0x62
[[sensors]]
chip = "pms5003"
uart = 1
[uplink]
kind = "wifi"
host = "mqtt.example.org"
"""
STREET = NODE.format(name="street", board="lilygo-t3-v1.6.1", profile="climate-lora-mains")
WIFI = NODE.format(name="wifi", board="esp32-devkit", profile="climate-street")


def write(folder, *parts, duration="1h", gateways=1, firmware=""):
    path = folder / "plan.toml"
    head = HEAD.format(duration=duration, gateways=gateways, firmware=firmware)
    path.write_text(head + "".join(parts))
    return path


def fault(kind, at, **more):
    rows = {"kind": kind, "at": at, **more}
    return "\n[[faults]]\n" + "".join(f'{key} = "{value}"\n' for key, value in rows.items())


def run(*arguments):
    """Return the exit code, the rows of the nodes by id, and the whole's."""
    done = citynode("soak", *arguments, "--json")
    *nodes, whole = (json.loads(line) for line in done.out.splitlines())
    return done.code, {row["node"]: row for row in nodes}, whole


# Changes of one line, and what is to come of them: (file, line, its place's, plan, criterion).
RELEASED_UNHEARD = (
    "core/delivery.py",
    "        if heard:\n            self._proof",
    "        if True:\n            self._proof",
    (STREET, fault("gateway", "10m", way="away", **{"for": "25m"})),
    "lost",
)
RELEASED_UNACKNOWLEDGED = (
    "core/uplink.py",
    "flying.append([packet_id,",
    "flying.append([0,",
    # Sent into a connection that is dead already; what TCP still has is gone with the power.
    (WIFI, fault("broker", "14.9m", way="silent", **{"for": "5m"}), fault("power", "16m")),
    "lost",
)
LEAK = (
    "core/record.py",
    'self._log.info("frame", hexlify(data).decode())',
    'self._log.info("frame", hexlify(data).decode()); '
    'self.kept = (getattr(self, "kept", None), bytes(50))',
    (STREET,),
    "heap",
)


@pytest.mark.parametrize("bug", [RELEASED_UNHEARD, RELEASED_UNACKNOWLEDGED, LEAK])
def test_a_planted_bug_is_caught(tmp_path, state, bug):
    file, line, planted, parts, criterion = bug
    shutil.copytree(resources.firmware(), tmp_path / "fw")
    source = tmp_path / "fw" / "node" / file
    text = source.read_text()
    assert text.count(line) == 1
    source.write_text(text.replace(line, planted))
    duration = "3h" if criterion == "heap" else "1h"
    path = write(tmp_path, *parts, duration=duration, firmware='firmware = "fw"')
    code, nodes, _ = run(path, "--seed", 3)
    assert code == 1
    ((name, row),) = nodes.items()
    assert [each["criterion"] for each in row["wrong"]] == [criterion], name


def test_the_plan_smoke_passes_and_shows_all_faults(tmp_path, state):
    report, log, junit = (tmp_path / name for name in ("report.html", "log", "junit.xml"))
    files = ("--log", log, "--report", report, "--junit", junit)
    code, nodes, whole = run("smoke", "--processes", 2, *files)
    assert (code, whole["passed"], whole["wrong"]) == (0, True, [])
    for row in nodes.values():
        assert (row["lost"], row["wrong"]) == (0, [])
        assert row["received"] >= row["accepted"] > 10
    struck = {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "fault":
            struck.setdefault(event["fault"], set()).add(event["node"])
    plan = load_plan("smoke")
    assert set(struck) == {each.kind for each in plan.faults}
    assert struck["brownout"] == struck["power"] == set(nodes)
    page = report.read_text()
    assert all(name in page for name in (*nodes, *struck))
    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    assert len(suite.findall("testcase")) > len(nodes) * 8


def test_sensors_on_all_kinds_of_wires_fail_and_come_back(tmp_path, state):
    faults = (
        fault("sensor", "11m", way="unplugged", **{"for": "9m"}),
        fault("sensor", "31m", way="garbled", **{"for": "9m"}),
    )
    profile = tmp_path / "station.toml"
    profile.write_text(PROFILE)
    station = NODE.format(name="station", board="esp32-devkit", profile=profile)
    log = tmp_path / "log"
    path = write(tmp_path, station, *faults, duration="46m")
    code, nodes, _ = run(path, "--log", log, "--seed", 3)
    assert (code, nodes["station-1"]["wrong"]) == (0, [])
    events = [json.loads(line) for line in log.read_text().splitlines()]
    failed = {
        round(event["t"] % 3600 / 60): set(event["faults"])
        for event in events
        if event["event"] == "received" and event["record"] == "climate"
    }
    # Of the wrong bits the serial port's may be none in a frame.
    assert failed[15] >= {"temperature_c", "co2_ppm", "pm25_ugm3"}
    assert failed[35] >= {"temperature_c", "co2_ppm"}
    assert not any(failed[minute] for minute in (5, 10, 25, 30, 45))


def test_what_nodes_draw(tmp_path, state):
    asleep = NODE.format(name="park", board="xiao-esp32c3", profile="climate-battery")
    path = write(tmp_path, STREET, WIFI, asleep, "\n[pass]\nenergy = 1200\n")
    _, nodes, _ = run(path, "--seed", 3)
    street, wifi, park = (nodes[name]["energy_mah"] for name in ("street-1", "wifi-1", "park-1"))
    # In an hour, of provisioning/currents.toml: 40 mA and a little for the radio; 60, and more
    # while it joins; twelve times a few seconds of 100 mA and less.
    assert 40.0 < street < 41.0
    assert 60.0 < wifi < 61.0
    assert 0.5 < park < 4.0
    wrong = {name: [each["criterion"] for each in row["wrong"]] for name, row in nodes.items()}
    assert wrong == {"street-1": [], "wifi-1": ["energy"], "park-1": []}


def test_the_same_seed_is_the_same_verdict_whoever_runs_it(tmp_path, state):
    distributed = pytest.importorskip("distributed")
    faults = (
        fault("gateway", "8m", way="away", **{"for": "10m"}),
        "\n[[faults]]\nkind = 'brownout'\nevery = '10m'\n",
    )
    nodes = STREET.replace("[[nodes]]", "[[nodes]]\ncount = 2")
    path = write(tmp_path, nodes, *faults, duration="30m", gateways=2)
    plan = load_plan(str(path))
    parts = shards.shards_of(plan, 11, "again", logged=True)

    def gathered(outcomes):
        run, events = shards.gather(plan, outcomes, whole=True, expected=len(parts))
        lines = [json.loads(line) for line in shards.lines(events)]
        # Digests, as to show a difference of all of it takes minutes.
        cells = {line["cell"]: hashlib.sha256() for line in lines}
        for line in lines:
            cells[line["cell"]].update(repr(line).encode())
        told = {cell: digest.hexdigest() for cell, digest in cells.items()}
        return told, len(lines), hashlib.sha256(repr(run).encode()).hexdigest()

    glances = []
    alone = gathered(shards.here(parts, work, glances.append))
    assert {each.cell for each in glances} == {0, 1}
    assert alone[1] > 40
    glances.clear()
    assert gathered(shards.in_processes(parts[::-1], work, glances.append, 2)) == alone
    assert {each.cell for each in glances} == {0, 1}
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        outcomes = shards.on_dask(parts, work, cluster.scheduler_address)
        assert gathered(outcomes) == alone
    one = shards.shards_of(plan, 11, "again", only=1, logged=True)
    assert gathered(shards.here(one, work, glances.append))[0] == {2: alone[0][2]}

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

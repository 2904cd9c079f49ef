"""Many identities in a fleet, and many kills; figures are printed, not judged.

In the suite 4,000 and 20. CITYNODE_BENCHMARK=full has 100,000 and 200, for minutes:

    CITYNODE_BENCHMARK=full pytest tests/benchmarks/test_fleet_size.py -s -n 0
"""

import csv
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.query import Filter

FULL = os.environ.get("CITYNODE_BENCHMARK") == "full"
COUNT, KILLS = (100_000, 200) if FULL else (4_000, 20)
BATCH = COUNT // 100
RIG = Path(__file__).parents[1] / "host" / "fleet_rig.py"
SERVER = (
    "--application-id", "17c82e96-be03-4f38-aef3-f83d48582d97",
    "--device-profile-id", "14855bf7-d10d-4aee-b618-ebfcb64dc7ad",
)  # fmt: skip

pytestmark = pytest.mark.slow


@pytest.fixture
def city(tmp_path, monkeypatch):
    """A folder with the CSV of a large city, and an empty fleet."""
    folder = tmp_path
    monkeypatch.setenv("CITYNODE_STATE", str(folder / "state"))
    monkeypatch.setenv("CITYNODE_FLEET", str(folder / "fleet.db"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(
        ("node_id", "mac", "dev_eui", "app_key", "batch", "site", "lat", "lon", "Mast", "Owner")
    )
    for number in range(COUNT):
        rows.writerow(
            (
                f"node-{number:06}", f"240a{number:08x}", f"70b3d57e{number:08x}",
                f"{number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % (1 << 128):032x}",
                f"b{number // BATCH}", f"street {number % 997}", f"{51 + number / COUNT:.5f}",
                f"{7 + number / COUNT:.5f}", f"M {number}", "Tiefbau" if number % 2 else "Grün",
            )
        )  # fmt: skip
    (folder / "city.csv").write_text(file.getvalue(), encoding="utf-8")
    (folder / "city.csv").chmod(0o600)
    Fleet.init(folder / "fleet.db", Place.FILE)
    return folder


def timed(folder, *arguments):
    """Run the command as a user does; print what it took, return what it wrote."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "citynode", "fleet", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    print(f"\n{seconds:6.2f} s  fleet {' '.join(arguments)[:60]}", end="")
    return done.stdout


def test_many_identities(city):
    folder = city
    assert json.loads(timed(city, "import", "city.csv", "--json"))["added"] == COUNT
    print(f"\n{(folder / 'fleet.db').stat().st_size / COUNT:6.0f} bytes a node", end="")
    assert timed(city, "list").endswith(f"{COUNT} nodes, 100 shown (--limit 0 for all)\n")
    for options, count in (
        (("--batch", "b7"), BATCH),
        (("--site", "street 7", "--batch", "b0"), 1),
        (("--where", "Mast=M 1777"), 1),
        (("--stage", "label=missing", "--status", "planned", "--batch", "b99"), BATCH),
        (("node-0012*",), 100),
        (("70b3d57e00000001",), 1),
    ):
        assert len(timed(city, "list", "--json", *options).splitlines()) == count
    assert timed(city, "show", f"node-{COUNT - 1:06}").startswith("node_id ")
    assert len(timed(city, "list", "--json").splitlines()) == COUNT
    assert len(timed(city, "list", "--limit", "0").splitlines()) == COUNT + 2
    for form, lines in (
        ("csv", COUNT + 1),
        ("tts-csv", COUNT + 1),
        ("tts-json", COUNT),
        ("chirpstack", COUNT),
        ("gis-csv", COUNT + 1),
        ("geojson", COUNT + 2),
    ):
        server = SERVER if form == "chirpstack" else ()
        timed(city, "export", "-f", form, "-o", "out", *server)
        content = (folder / "out").read_text(encoding="utf-8")
        assert len(content.splitlines()) == lines
    timed(city, "export", "--with-keys", "-o", "whole.csv")
    told = json.loads(timed(city, "import", "whole.csv", "--update", "--json"))
    assert (told["same"], told["added"], told["faults"]) == (COUNT, 0, [])
    timed(city, "new-key")
    timed(city, "backup", "copy.db")
    timed(city, "labels", "-f", "L7651", "--batch", "b7")
    with Fleet(folder / "fleet.db") as fleet:
        found = fleet.identities()
        assert len({each.app_key for each in found.values()}) == COUNT
        assert len({each.dev_eui for each in found.values()}) == COUNT
        assert fleet.count(Filter(stage="label")) == BATCH
    print()


def test_many_kills(tmp_path):
    start = time.monotonic()
    environ = {
        **os.environ,
        "CITYNODE_STATE": str(tmp_path / "state"),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    done = subprocess.run(
        [sys.executable, RIG, tmp_path, "kill", str(KILLS), "2"],
        env=environ, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(f"\n{time.monotonic() - start:6.2f} s  {told}")
    assert told["kills"] == KILLS

"""A fleet for the tests: its nodes, and ways to look at it."""

import contextlib
import sqlite3

from citynode.boards import load_board
from citynode.fleet.inventory import Fleet
from citynode.fleet.keys import Place
from citynode.fleet.node import Entry, Result, Stage
from citynode.fleet.query import Filter
from workbench import citynode

MAC, OTHER = "240ac4000004", "240ac4000008"
RADIO, WIFI = load_board("lilygo-t3-v1.6.1"), load_board("esp32-devkit")
KEYS = [f"5ec2e7{number:026x}" for number in range(1, 9)]


def make(path):
    """Make a fleet of four nodes, one of them with everything, and return its path."""
    Fleet.init(path, Place.FILE, now=lambda: 1.8e9, who="anna")
    with Fleet(path, now=lambda: 1.8e9, who="anna") as fleet:
        fleet.add(
            [
                Entry("kerb-1", MAC, "70b3d57ed0000001", "70b3d57ed0ffffff", "lilygo-t3-s3", "b1",
                      "Ring/Ost", 51.48, 7.21, notes="high",
                      extra={"Mast": "A 17", "Owner": "Grün"},
                      secrets={"app_key": KEYS[0], "command_key": KEYS[3],
                               "wifi_psk": "Kanarie-psk-7f3a9"}),
                Entry("kerb-2", OTHER, "70b3d57ed0000002", batch="b1", site="Ring/West",
                      secrets={"app_key": KEYS[1]}),
                Entry("pond", "240ac400000c", batch="b2", extra={"Mast": "B 1"}),
                Entry("spare", dev_eui="70b3d57ed0000004", secrets={"app_key": KEYS[2]}),
            ]
        )  # fmt: skip
        kerb, other = fleet.nodes(Filter(batch="b1"))
        for stage in Stage:
            fleet.stage(kerb, stage, Result.PASS)
        fleet.stage(other, Stage.FLASH, Result.PASS)
        fleet.stage(other, Stage.BOOT, Result.TIMEOUT, "silent")
    return path


def listed(*options):
    done = citynode("fleet", "list", "--json", *options)
    assert (done.code, done.err) == (0, "")
    return [row["node_id"] for row in done.rows]


def table(path, sql, *values):
    """Look at the file as anybody with SQLite can."""
    with contextlib.closing(sqlite3.connect(path)) as file:
        rows = file.execute(sql, values).fetchall()
        file.commit()
        return rows

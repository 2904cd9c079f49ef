"""A traffic node on virtual boards beside a virtual road, in virtual time."""

import re

import pytest
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.frames import decode
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.nodefiles import config_cbor
from citynode.profiles import load_profile
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID
from citynode.wire.schema import EVENT, HEALTH, SENSOR_FAULT, TRAFFIC

NS = 1_000_000_000
MINUTE = 60 * NS
RUSH = 1767279600 * NS  # 2026-01-01, 15:00 UTC
KMH = 3.6
PROFILE = """
description = "x"
site = "s"
interval_s = {interval}
health_s = {health}
ntp = "ntp.bench"
[traffic]
{table}
[uplink]
kind = "wifi"
host = "broker.bench"
tls = false
"""
KINDS = ("bikes", "cars", "heavy")


_files = {}  # by the id of the chip


def compiled(spec, profile, made):
    """Return the firmware for a chip, which takes a while to compile."""
    if spec.chip not in _files:
        _files[spec.chip] = prepare(Order(spec, profile, {}), made).files
    return _files[spec.chip]


class Node:
    """A board with a traffic profile, and what it has told."""

    def __init__(self, folder, board, table, *, interval=60, health=600, seed=5):
        path = folder / "traffic.toml"
        path.write_text(PROFILE.format(table=table, interval=interval, health=health))
        profile = load_profile(str(path))
        spec = load_board(board)
        made = standin.build(CHIPS[spec.chip])
        files = {**compiled(spec, profile, made), CONFIG: config_cbor(spec, profile)}
        identity = Identity("n1", wifi_ssid=BENCH_SSID, wifi_psk=BENCH_PASSWORD)
        plan = planning.make(
            made,
            spec.chip,
            spec.flash_mib << 20,
            nvs_values={NAMESPACE: identity.nvs()},
            files=files,
        )
        image = folder / "image.bin"
        image.write_bytes(plan.merged())
        self.rack = Rack(
            board, image=image, seed=seed, virtual_time=True, date_ns=RUSH, profile=profile
        )
        self.name = f"{board}-0"

    def __enter__(self):
        self.rack.open()
        return self

    def __exit__(self, *_):
        self.rack.close()

    def run(self, until_ns):
        self.rack.engine.run(until=until_ns)

    def records(self, kind=TRAFFIC):
        frames = (re.search(r" frame: ([0-9a-f]+)$", line) for line in self.rack.events.lines)
        told = [each for found in frames if found for each in decode(bytes.fromhex(found[1]))]
        return [each for each in told if each.kind == kind]

    def said(self, text):
        return [line for line in self.rack.events.lines if text in line]

    def vehicles(self, from_ns, to_ns, lane=0):
        street = self.rack.world.streets[self.name]
        return street.vehicles(from_ns / NS, to_ns / NS, lane)


def counted(record, way=1):
    return sum(record.values[f"{kind}_{way}"] for kind in KINDS)


# Where the nearest lane passes first, and what of it is not seen by the sensor.
SENSORS = {
    "magnetometers": ('sensor = "mmc5983"\nlane_m = 1.75\nspacing_m = 2.0', 1, True),
    "radar": ('sensor = "ops243"\nangle_deg = 15\nlane_m = 3', 3, True),
    "ultrasonic": ('sensor = "a02yyuw"\nmount = "across"\nlane_m = 2.75', 3, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SENSORS)
def test_what_a_node_counts_is_what_has_passed(tmp_path, name):
    table, minutes, has_speed = SENSORS[name]
    with Node(tmp_path, "esp32-devkit", table) as node:
        node.run(minutes * MINUTE + NS)
        records = node.records()
        assert len(records) == minutes
        assert {record.values["interval_s"] for record in records} == {60}
        assert all(not record.faults for record in records)
        passed = node.vehicles(0, minutes * MINUTE)
        unseen = ("bike",) if name == "magnetometers" else ()
        passed = [each for each in passed if each.kind not in unseen]
        told = sum(map(counted, records))
        # At the ends one may be here or there.
        assert abs(told - len(passed)) <= 1 + (name == "radar")
        assert len(passed) > 8
        assert sum(counted(record, 2) for record in records) == 0
        if has_speed:
            speed = sum(r.values["speed_1_kmh"] * counted(r) for r in records) / told
            true = sum(each.speed_ms for each in passed) / len(passed) * KMH
            assert speed == pytest.approx(true, rel=0.05)
        assert not node.said("Traceback")
        assert not node.said("no progress")


@pytest.mark.slow
def test_a_sensor_that_is_cut_off_is_told_and_comes_back(tmp_path):
    with Node(tmp_path, "esp32-devkit", SENSORS["ultrasonic"][0]) as node:
        chip = node.rack.world.streets[node.name].sensors[0]
        node.run(70 * NS)
        chip.unplug()
        node.run(200 * NS)
        chip.power_up()
        node.run(5 * MINUTE + NS)
        statuses = [bool(record.status & SENSOR_FAULT) for record in node.records()]
        assert statuses == [False, True, True, True, False]
        assert {"cars_1", "occupancy_pct"} <= set(node.records()[2].faults)
        codes = [record.values["code"] for record in node.records(EVENT)]
        assert [code for code in codes if code.startswith("fault")] == ["fault_on", "fault_off"]


LOOP = 'sensor = "loop"\npin = "d1"'
MINUTES = 8


@pytest.mark.slow
@pytest.mark.parametrize(
    "board",
    ["esp32-devkit", "heltec-lora32-v3", "lilygo-t3-s3", "lilygo-t3-v1.6.1", "xiao-esp32c3"],
)
def test_a_node_of_each_board_counts_without_a_leak(tmp_path, board):
    """A part of the day that was run by hand; see docs/traffic.md."""
    with Node(tmp_path, board, LOOP, interval=120, health=240) as node:
        node.run(MINUTES * MINUTE + NS)
        records = node.records()
        assert len(records) == MINUTES // 2
        free = [record.values["heap_free_b"] for record in node.records(HEALTH)]
        assert len(free) == MINUTES // 4
        assert max(free) - min(free) < 2048
        passed = node.vehicles(0, MINUTES * MINUTE)
        assert abs(sum(map(counted, records)) - len(passed)) <= 2
        assert len(passed) > 20
        assert not node.said("Traceback")

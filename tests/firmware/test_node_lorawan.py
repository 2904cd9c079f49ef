"""The whole firmware with LoRaWAN on virtual boards of both radio chips, in virtual time."""

from dataclasses import replace
from functools import cache
from itertools import pairwise

import cbor2
import pytest
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.commands import Command, payload
from citynode.frames import decode
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import load_profile
from citynode.virtual.air import Gateway
from citynode.virtual.air.network import Network
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.wire.schema import CLIMATE, EVENT, HEALTH

NS = 10**9
MINUTE = 60 * NS
HOUR = 60 * MINUTE
BOARDS = ("lilygo-t3-v1.6.1", "lilygo-t3-s3")  # SX1276, SX1262
IDENTITY = Identity(
    "n1",
    dev_eui=bytes.fromhex("70b3d57ed0001000"),
    join_eui=bytes(8),
    app_key=bytes.fromhex("b6b53f4a168a7a88bdf7ea135ce9cfca"),
    command_key=bytes(range(16)),
)


@cache
def made(kind):
    """Return a board and its firmware, compiled once."""
    board = load_board(kind)
    image = standin.build(CHIPS[board.chip])
    return board, prepare(Order(board, load_profile("climate-lora"), {}), image)


class Site:
    """A board with the firmware, its gateway and its network; `run` lets time go by."""

    def __init__(self, folder, kind, change=lambda config: None, identity=IDENTITY):
        board, kit = made(kind)
        config = cbor2.loads(kit.files[CONFIG])
        config["interval_s"] = 300
        config["sensors"] = [{"chip": "bme280", "address": 0x76, "settle_ms": 0, "retries": 2}]
        change(config)
        plan = planning.make(
            kit.image,
            board.chip,
            board.flash_mib << 20,
            nvs_values={NAMESPACE: identity.nvs()},
            files={**kit.files, CONFIG: cbor2.dumps(config, canonical=True)},
        )
        path = folder / "image.bin"
        path.write_bytes(plan.merged())
        self.rack = Rack(kind, image=path, seed=7, state_dir=folder / "rack", virtual_time=True)
        self.gateway = Gateway(self.rack.air, "gateway-1")
        self.network = Network(self.rack.engine)
        self.network.attach(self.gateway)
        self.device = self.network.register(
            IDENTITY.dev_eui, IDENTITY.join_eui, IDENTITY.app_key, name="n1"
        )
        self.joins = 0
        self.uplinks = []
        self.faults = []
        self.network.observe(self._observe)
        self.device.on_uplink = self.uplinks.append

    def _observe(self, event):
        self.joins += event.kind == "join"
        if event.kind == "log":
            self.faults.append(event.body["code"])

    def __enter__(self):
        self.rack.open()
        return self

    def __exit__(self, *_):
        self.rack.close()

    @property
    def engine(self):
        return self.rack.engine

    def run(self, ns):
        self.engine.run(until=self.engine.clock.now_ns() + ns)

    def command(self, command, seconds=None):
        unix_s = self.engine.clock.unix_ns() // NS
        self.device.enqueue(payload(IDENTITY, command, seconds, unix_s), f_port=10)

    def records(self, kind):
        """Return the records that arrived, each once, by their numbers."""
        found = {}
        for uplink in self.uplinks:
            if uplink.f_port == 1:
                found.update({r.seq: r for r in decode(uplink.payload)})
        return [found[seq] for seq in sorted(found) if found[seq].kind == kind]

    def said(self, text):
        """Return the lines of the board's log that have this in them."""
        return [line for line in self.rack.events.lines if " out " in line and text in line]


def steps(records):
    return [b.t - a.t for a, b in pairwise(record for record in records if record.t is not None)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOARDS)
def test_joins_sends_obeys_and_sleeps(tmp_path, kind):
    with Site(tmp_path, kind) as site:
        site.run(22 * MINUTE)
        assert set(steps(site.records(CLIMATE))) == {300}
        assert len(site.records(HEALTH)) == 1
        site.command(Command.INTERVAL, 600)
        site.run(31 * MINUTE)
        assert steps(site.records(CLIMATE))[-2:] == [600] * 2
        site.command(Command.RESTART)
        site.run(11 * MINUTE)
        site.command(Command.HEALTH)
        site.device.enqueue(b"not a command", f_port=10)
        site.run(31 * MINUTE)
        assert steps(site.records(CLIMATE))[-4:] == [600] * 4  # the interval, too, outlives it
        health = site.records(HEALTH)
        assert len(health) == 2  # that of the start, and the one asked for
        assert (health[0].values["restarts"], health[-1].values["restarts"]) == (1, 2)
        assert health[-1].values["spool_records"] < 8
        assert health[-1].values["rssi_dbm"] < -80
        restarts = [r for r in site.records(EVENT) if r.values["code"] == "restart"]
        assert len(restarts) == 2
        # All that in one session, and no counter is missing or comes twice.
        assert site.joins == 1
        assert site.faults == []
        assert [up.f_cnt for up in site.uplinks] == list(range(len(site.uplinks)))
        sleeps = [row for row in site.rack.events.lines if row.split(" ")[2] == "sleep"]
        assert len(sleeps) > 9


def test_power_cuts_anywhere_cost_no_record_and_no_join(tmp_path):
    with Site(tmp_path, BOARDS[1], lambda config: config.update(sleep="none")) as site:
        board = site.rack.boards[0]
        # In the join's windows, in an uplink, in between.
        for after_s in (3.2, 340.0, 700.13, 1201.3):
            site.run(round(after_s * NS))
            board.power_off()
            site.run(20 * NS)
            board.power_on()
        site.run(HOUR)
        assert site.joins <= 2  # the first one had its answer while the power was off
        assert site.faults == []
        counters = [up.f_cnt for up in site.uplinks]
        assert counters == sorted(set(counters))
        kinds = (CLIMATE, HEALTH, EVENT)
        numbers = sorted(record.seq for kind in kinds for record in site.records(kind))
        assert numbers == list(range(len(numbers)))
        assert len(site.records(CLIMATE)) > 16


def test_without_identity_it_keeps_its_records(tmp_path):
    bare = replace(IDENTITY, app_key=None)
    with Site(tmp_path, BOARDS[0], lambda config: config.update(sleep="none"), bare) as site:
        site.run(20 * MINUTE)
        assert site.said("no DevEUI or AppKey")
        assert len(site.said(" frame: ")) >= 5
        assert site.joins == 0
        assert not site.said("Traceback")

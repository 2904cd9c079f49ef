"""The climate node as it is flashed, on the network inside the engine: hours with every outage."""

from collections import Counter
from functools import partial
from itertools import pairwise

import cbor2
import pytest
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.frames import decode
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import load_profile
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID
from citynode.wire.schema import CLIMATE

BOARD = "esp32-devkit"
NS = 1_000_000_000
MINUTE = 60 * NS
INTERVAL_S = 300


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """Return an image of the node's demo profile, at intervals of five minutes."""
    board = load_board(BOARD)
    made = standin.build(CHIPS[board.chip])
    kit = prepare(Order(board, load_profile("climate-demo"), {}), made)
    config = cbor2.loads(kit.files[CONFIG]) | {"interval_s": INTERVAL_S, "health_s": 3600}
    files = {**kit.files, CONFIG: cbor2.dumps(config, canonical=True)}
    nvs = {
        NAMESPACE: Identity(
            "n1", wifi_ssid=BENCH_SSID, wifi_psk=BENCH_PASSWORD, mqtt_user="n1", mqtt_pass="secret"
        ).nvs()
    }
    plan = planning.make(made, board.chip, board.flash_mib << 20, nvs_values=nvs, files=files)
    path = tmp_path_factory.mktemp("climate") / "image.bin"
    path.write_bytes(plan.merged())
    return path


class Run:
    """A node's hours: `records` as they were accepted, `arrivals` (time, record) at the broker."""

    def __init__(self, image, minutes, faults, seed=11):
        self.arrivals = []
        self.statuses = []
        rack = Rack(BOARD, image=image, seed=seed, virtual_time=True)
        try:
            rack.open()
            broker = rack.world.broker
            broker.users = {"n1": "secret"}
            broker.on_publish = self._published
            for minute, fn in faults(rack):
                rack.engine.call_at(round(minute * MINUTE), fn)
            rack.engine.run(until=minutes * MINUTE)
            self.log = list(rack.events.lines)
        finally:
            rack.close()
        frames = [line.split(" frame: ")[1] for line in self.log if " frame: " in line]
        self.records = [record for frame in frames for record in decode(bytes.fromhex(frame))]

    def _published(self, client, topic, payload, at_ns):
        assert client == "n1"
        if topic == "citynode/n1/up":
            self.arrivals += [(at_ns, record) for record in decode(payload)]
        else:
            assert topic == "citynode/n1/status"
            self.statuses.append(payload)

    def copies(self):
        """Return how often each sequence number has arrived."""
        return Counter(record.seq for _, record in self.arrivals)


def test_the_node_joins_sets_its_clock_and_reports(image):
    run = Run(image, 64, lambda rack: [])
    assert [record.seq for _, record in run.arrivals] == [record.seq for record in run.records]
    climate = [(at, record) for at, record in run.arrivals if record.kind == CLIMATE]
    assert len(climate) == 12
    for number, (at_ns, record) in enumerate(climate, start=1):
        # Within a few packets of the sample, stamped with the world's date.
        assert 0 <= at_ns - number * INTERVAL_S * NS < NS
        assert 0 <= record.t - 1_767_225_600 - number * INTERVAL_S <= 1
    assert run.statuses == [b"online"]
    assert sum(" tcp " in line and line.endswith(" open") for line in run.log) == 1


def outages(rack):
    """Yield (minute, what happens): each thing the node reaches goes away and comes back."""
    world, board = rack.world, rack.boards[0]
    broker, net, point = world.broker, world.inner, world.wifi.access_points[0]
    for first, last, thing, name, bad, good in (
        (62, 74, broker.host, "silent", True, False),
        (82, 94, broker, "deaf", True, False),
        (102, 108, broker, "mute", True, False),
        (112, 122, broker, "wrong_ids", True, False),
        (126, 134, broker, "ack_delay_ns", 15 * NS, 0),
        (140, 152, net, "loss", 0.3, 0.0),
        (156, 164, net, "portal", True, False),
        (168, 178, net, "names_silent", True, False),
        (0.005, 20, world.ntp, "silent", True, False),
    ):
        yield first, partial(setattr, thing, name, bad)
        yield last, partial(setattr, thing, name, good)
    yield 22, partial(world.wifi.change, point, on=False)
    yield 34, partial(world.wifi.change, point, on=True)
    yield 42, broker.stop
    yield 54, broker.start
    yield 57, partial(broker.say, "n1", b"\0garbage")
    yield 58, partial(broker.drop, "n1", reset=False)
    yield 180.5, board.power_off
    yield 181, board.power_on


@pytest.mark.slow
def test_nothing_is_lost_in_any_outage_and_each_run_is_the_same(image):
    run, again = (Run(image, 190, outages) for _ in range(2))
    assert run.log == again.log
    copies = run.copies()
    assert sorted(copies) == [record.seq for record in run.records]
    assert len(copies) > 38
    # Second copies are of what was on its way when acknowledgements failed, no others.
    spans = [(62, 78), (82, 102), (102, 112), (112, 127), (126, 136), (140, 156)]
    for at_ns, record in run.arrivals:
        if copies[record.seq] > 1:
            assert any(first <= at_ns / MINUTE <= last for first, last in spans), record
    assert any(count > 1 for count in copies.values())
    in_order = [record.seq for _, record in run.arrivals]
    assert all(b - a <= 1 for a, b in pairwise(in_order))

"""The whole firmware on a virtual board, as `hal.compose` joins it to the hardware."""

import re
import time
from itertools import pairwise

import cbor2
import pytest
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.frames import decode
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.link.serialio import open_port
from citynode.profiles import load_profile
from citynode.soak.broker import BenchBroker
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID
from citynode.wire.schema import CLIMATE, EVENT

BOARD = "esp32-devkit"

LIMIT_S = 60

pytestmark = [
    pytest.mark.filterwarnings("ignore:setDaemon:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:setName:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def kit():
    board = load_board(BOARD)
    return prepare(Order(board, load_profile("climate-demo"), {}), standin.build(CHIPS[board.chip]))


def lines(folder, kit, config, broker_port, until):
    """Run a board with this configuration (None: without one) until its log is long enough.

    Returns the lines since a reset.
    """
    files = dict(kit.files)
    del files[CONFIG]
    if config is not None:
        files[CONFIG] = config
    identity = Identity("n1", wifi_ssid=BENCH_SSID, wifi_psk=BENCH_PASSWORD)
    board = kit.order.board
    plan = planning.make(
        kit.image,
        board.chip,
        board.flash_mib << 20,
        nvs_values={NAMESPACE: identity.nvs()},
        files=files,
    )
    image = folder / "image.bin"
    image.write_bytes(plan.merged())
    networks = {"broker.bench": ("127.0.0.1", broker_port)}
    with Rack(BOARD, image=image, state_dir=folder / "rack", networks=networks) as rack:
        url = rack.call(lambda: rack.boards[0].rfc2217_url)
        with open_port(url, 115200, 0.2) as port:
            # What it said before someone listened is said again.
            port.dtr, port.rts = False, True
            port.rts = False
            seen = b""
            deadline = time.monotonic() + LIMIT_S
            while not until(said := after_reset(seen)):
                assert time.monotonic() < deadline, seen.decode(errors="replace")
                seen += port.read(4096)
    return said


def after_reset(seen):
    """Return the lines since the last reset that was not the node's own."""
    _, _, text = seen.decode(errors="replace").rpartition("POWERON_RESET")
    return text.splitlines()


def frames(said):
    """Return the records in the lines of a log."""
    found = (re.search(r" frame: ([0-9a-f]+)$", line) for line in said)
    return [record for each in found if each for record in decode(bytes.fromhex(each[1]))]


def samples(said):
    return [r.t for r in frames(said) if r.kind == CLIMATE and r.t is not None]


def faults(said):
    return [line.partition("bad or missing ")[2] for line in said if "bad or missing" in line]


def changed(kit, change):
    config = cbor2.loads(kit.files[CONFIG])
    change(config)
    return cbor2.dumps(config, canonical=True)


def impossible(config):
    """Set what only the hardware can find wrong: pins this chip lacks, a sensor nobody knows."""
    config["board"]["i2c"]["scl"] = 47
    config["board"]["battery"] = {"pin": 13 + 17, "ratio": 2.0}
    config["sensors"].append({"chip": "nosuch", "address": 0x10, "settle_ms": 0, "retries": 0})


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda kit: kit.files[CONFIG], set()),
        (lambda kit: None, {"config", "interval_s", "sensors", "uplink.host"}),
        (lambda kit: b"\xff\x00 rubbish", {"config", "board.id"}),
        (
            lambda kit: changed(kit, impossible),
            {"board.i2c", "board.battery", "sensors[1].chip"},
        ),
    ],
    ids=["good", "none", "rubbish", "impossible"],
)
def test_a_bad_configuration_is_named_and_no_boot_loop(tmp_path, kit, make, named):
    said = lines(tmp_path, kit, make(kit), 1, lambda said: any("wifi: " in line for line in said))
    assert sum("app: citynode " in line for line in said) == 1
    assert not any("Traceback" in line for line in said)
    assert named <= set(faults(said))
    assert bool(faults(said)) == bool(named)
    codes = [record.values["code"] for record in frames(said) if record.kind == EVENT]
    assert codes[0] == "restart"
    assert codes.count("config_fault") == bool(named)


@pytest.mark.slow
def test_a_node_that_sleeps_deeply_samples_at_every_interval(tmp_path, kit):
    def sleepy(config):
        config.update(sleep="deep", interval_s=4, health_s=3600)

    with BenchBroker() as broker:
        said = lines(
            tmp_path, kit, changed(kit, sleepy), broker.port, lambda said: len(samples(said)) > 3
        )
    assert {b - a for a, b in pairwise(samples(said))} == {4}
    assert sum("DEEPSLEEP_RESET" in line for line in said) >= 2

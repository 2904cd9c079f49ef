"""The self-test on virtual boards, good ones and bad ones."""

import contextlib
import functools
import threading
from types import SimpleNamespace

import cbor2
import pytest
from citynode.bench import job, selftest
from citynode.bench.contents import Order
from citynode.bench.flash import prepare
from citynode.bench.outcome import Unwatched, Verdict
from citynode.bench.selftest import Choice, Peer
from citynode.boards import load_board
from citynode.errors import CitynodeError
from citynode.identity import NAMESPACE, Identity
from citynode.image import littlefs
from citynode.image import plan as planning
from citynode.nodefiles import config_cbor
from citynode.profiles import load_profile
from citynode.virtual.soc.board import State
from citynode.virtual.soc.peripherals.analog import Adc
from citynode.virtual.soc.peripherals.i2c import I2C
from citynode.virtual.soc.peripherals.radio import Radio
from citynode.virtual.world.weather import Conditions, Weather
from littlefs import LittleFS, LittleFSError, UserContext
from workbench import FILES, PASSWORD, SSID, SerialLog, Workbench, citynode

KINDS = ("lilygo-t3-v1.6.1", "heltec-lora32-v3")
BOARDS = ("t3", "bad_t3", "mad", "heltec", "wifi")
FILES_SIZE = 2 << 20
GEOMETRY = {"block_size": 4096, "read_size": 32, "prog_size": 32, "cache_size": 128}
pytestmark = pytest.mark.slow  # a board that hangs takes ten seconds

AIR = Conditions(21.5, 47.0, 100_250.0)
ALL_OF_A_LORAWAN_NODE = {
    "identity", "config", "flash", "files.room", "files.kept", "heap", "rtc", "battery",
    "sensor0.bme280.temperature_c", "sensor0.bme280.humidity_pct", "sensor0.bme280.pressure_pa",
    "sensor1.sht4x.temperature_c", "sensor1.sht4x.humidity_pct", "wifi.networks",
}  # fmt: skip
IDENTITY = Identity(
    "n1",
    wifi_ssid=SSID,
    wifi_psk=PASSWORD,
    dev_eui=bytes(range(8)),
    join_eui=bytes(8),
    app_key=bytes(16),
)
# In the place of the firmware's: what no board should do.
MADNESS = {
    "/a/node/hal/selftest.py": b"""
import json, sys, machine
def names():
    print(json.dumps({"items": ["babble", "hang", "fine"], "by_choice": []}))
def main(items, wants, within_ms):
    machine.WDT(timeout=600000)
    if items == ["babble"]:
        print('I (123) wifi: {"item": 3}\\n{{{{\\n\\x00\\x1b[2J{"more')
    elif items == ["hang"]:
        while True:
            pass
    else:
        sys.stdout.write('W (4) x: {"item": "fine", "verdict": "PASS", "value": 1}\\n')
"""
}


@pytest.fixture(scope="module")
def flash_of(images):
    """Return a function that gives the flash of a provisioned node."""

    @functools.cache
    def kit(kind):
        order = Order(load_board(kind), load_profile("climate-demo"), {})
        return prepare(order, images(kind).read_bytes())

    def flash(kind, profile, files=None, without="/none", sensors=(), full=False):
        board, node = kit(kind).order.board, kit(kind).files
        config = cbor2.loads(config_cbor(board, load_profile(profile)))
        config["sensors"] += sensors
        made = planning.make(
            kit(kind).image,
            board.chip,
            board.flash_mib << 20,
            nvs_values={NAMESPACE: IDENTITY.nvs()},
            files={name: node[name] for name in node if name != without}
            | {"/config.cbor": cbor2.dumps(config, canonical=True)}
            | (files or {}),
        )
        data = b"\xff" * made.regions[0].offset + made.merged()
        return filled(data) if full else data

    return flash


def filled(flash):
    """Return a flash whose file system has no block left."""
    context = UserContext(FILES_SIZE)
    context.buffer[: len(flash) - FILES] = flash[FILES:]
    fs = LittleFS(context=context, block_count=FILES_SIZE // 4096, **GEOMETRY)
    for size in (1 << 16, 1 << 12):
        with contextlib.suppress(LittleFSError):
            for number in range(FILES_SIZE // size):
                with fs.open(f"/full-{size}-{number}", "wb") as file:
                    file.write(bytes(size))
    fs.unmount()
    return flash[:FILES] + bytes(context.buffer)


def part(board, kind):
    return next(each for each in board._parts.peripherals if isinstance(each, kind))


SHT4X = {"chip": "sht4x", "address": 0x44, "settle_ms": 0, "retries": 0}


@pytest.fixture(scope="module")
def bench(flash_of):
    with Workbench(KINDS, 3, pty=True, seed=3, weather=Weather.constant(AIR)) as running:
        lora = {"profile": "climate-lora-mains", "sensors": [SHT4X]}
        wifi = {"profile": "climate-demo"}
        mad = {"files": MADNESS, "without": "/a/node/hal/selftest.mpy"}
        options = (lora, {**lora, "full": True}, {**wifi, **mad}, lora, wifi)
        running.call(running.boards.pop().power_off)  # one more than is needed
        for board, name, each in zip(running.boards, BOARDS, options, strict=True):
            setattr(running, name, board)
            running.restore(board, flash_of(board.id.rpartition("-")[0], **each))
        running.call(break_board, running.bad_t3)
        for board in running.boards:
            running.wait(board, State.RUNNING)
        yield running


def break_board(board):
    (bus,) = part(board, I2C).buses
    # No BME280, and where the SHT4x is looked for, a chip that knows no CRC.
    bus.devices = {0x44: bus.devices[0x76]}
    part(board, Radio).chip.faults.add("dead")
    part(board, Adc).connect(35, lambda: 0.0)


@pytest.fixture(scope="module")
def tested(bench):
    """What all boards made of it, at the same time: `items` and `outcomes` by board."""
    found = {}
    is_free = threading.Event()
    peer = Peer(bench.t3.rfc2217_url, -150)

    def work(each, outcome):
        board = by_port[each.port]
        choice = Choice(skip=("rtc", "wifi")) if board is bench.bad_t3 else Choice()
        found[board] = selftest.run(each, outcome, choice=choice)
        if board is bench.heltec:
            assert is_free.wait(60)
            found[peer] = selftest.run(each, choice=Choice(only=("config",)), peer=peer)

    def ended(outcome):
        if outcome.port == peer.port:
            is_free.set()

    watch = Unwatched()
    watch.ended = ended
    by_port = {board.rfc2217_url: board for board in bench.boards}
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(SerialLog(board.pty_path)) for board in bench.boards]
        ends = job.run(list(by_port), work, watch=watch)
        # Whatever came of it, they run their nodes again.
        for log in logs:
            log.wait("app: citynode", log.data.rfind(b"soft reboot"))
    assert [(end.verdict, end.error) for end in ends] == [(Verdict.PASS, None)] * len(ends)
    return SimpleNamespace(
        items=found, peer=found.pop(peer), outcomes={by_port[end.port]: end for end in ends}
    )


def by_name(items):
    names = [item.name for item in items]
    assert len(names) == len({*names})
    return dict(zip(names, items, strict=True))


def verdicts(items):
    return {item.name: item.verdict.value for item in items}


@pytest.mark.parametrize("which", ["t3", "heltec"])
def test_a_good_board_passes_all(bench, tested, which):
    board = getattr(bench, which)
    items = by_name(tested.items[board])
    radio = {"t3": "radio.version", "heltec": "radio.sync_word"}[which]
    assert {*items} == ALL_OF_A_LORAWAN_NODE | {radio, "radio.tx"}
    assert {item.name: item for item in items.values() if item.verdict is not Verdict.PASS} == {}
    assert items["flash"].value == items["flash"].low == board.flash.size
    assert items[radio].value == {"t3": 0x12, "heltec": 0x1424}[which]
    assert items["radio.tx"].value >= items["radio.tx"].low > 30
    assert abs(items["sensor0.bme280.temperature_c"].value - AIR.temperature_c) < 1
    assert abs(items["battery"].value - 3.95) < 0.05
    outcome = tested.outcomes[board]
    assert (outcome.mac, outcome.node_id) == (board.mac.hex(), "n1")


def test_a_wifi_node_looks_for_its_own_network_and_tells_no_name(bench, tested):
    items = by_name(tested.items[bench.wifi])
    assert items["wifi.own"].verdict is Verdict.PASS
    assert -75 < items["wifi.own"].value < -40
    assert items["radio"].verdict is Verdict.SKIP
    assert SSID not in repr(tested.items)


def test_what_is_broken_is_named_with_its_value(bench, tested):
    items = by_name(tested.items[bench.bad_t3])
    wrong = {name: item for name, item in items.items() if item.verdict is not Verdict.PASS}
    assert {
        name: (item.verdict.value, item.value, item.detail) for name, item in wrong.items()
    } == {
        "files.room": ("FAIL", wrong["files.room"].value, wrong["files.room"].detail),
        "files.kept": ("FAIL", 0, "no space"),
        "battery": ("FAIL", 0.0, ""),
        "sensor0.bme280": ("FAIL", None, "no answer"),
        "sensor1.sht4x": ("FAIL", None, "SensorError: crc"),
        "radio.version": ("FAIL", 0, "0x0"),
    }
    assert wrong["files.room"].value < wrong["files.room"].low
    assert (wrong["battery"].low, wrong["radio.version"].low) == (3.0, 0x12)
    with pytest.raises(CitynodeError, match=r"FAIL for files.room is .*, and 5 more"):
        selftest.refuse("here", list(items.values()))


def test_two_radios_hear_each_other(tested):
    _, heard, hears = tested.peer
    assert (heard.name, hears.name) == ("peer.heard", "peer.hears")
    assert heard.verdict is hears.verdict is Verdict.PASS
    assert -150 == heard.low < heard.value < -20
    assert -150 == hears.low < hears.value < -20
    assert heard.detail.startswith("SNR ")


def test_a_board_that_goes_mad_is_bounded_and_what_still_works_is_tested(bench, tested):
    found = verdicts(tested.items[bench.mad])
    assert found == {"babble": "ERROR", "hang": "TIMEOUT", "fine": "PASS"}


def test_nothing_is_left_on_the_board(bench, tested):
    files = littlefs.read(bench.bytes(bench.t3)[FILES : FILES + FILES_SIZE])
    found = {"/" + name.split("/")[1] for name in files}
    # The node has its session in /lora as soon as it has tried to join.
    assert found | {"/lora"} == {"/boot.py", "/main.py", "/config.cbor", "/spool", "/lora", "/a"}


def test_the_verb(bench, tested, state):
    port = bench.bad_t3.rfc2217_url
    alone = citynode("selftest", "-p", port, "--peer", port)
    assert (alone.code, alone.complaint.split(";")[0]) == (2, f"{port} cannot be its own peer")
    done = citynode("selftest", "-p", port, "--only", "battery", "--only", "config", "--json")
    assert done.code == 1
    row = done.row
    assert (row["verdict"], row["mac"], row["node_id"]) == ("FAIL", bench.bad_t3.mac.hex(), "n1")
    config, battery = row["items"]
    assert (config["item"], config["verdict"]) == ("config", "PASS")
    assert battery == {
        "item": "battery",
        "verdict": "FAIL",
        "value": 0,
        "unit": "V",
        "low": 3,
        "high": 4.38,
        "detail": "",
    }
    assert done.complaint.startswith(
        f"{port}: the self-test has FAIL for battery is 0 V (has to be 3 … 4.38); see "
    )

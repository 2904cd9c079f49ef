"""The firmware in virtual time: a day of two climate nodes, and LoRa windows to the microsecond."""

import cbor2
import pytest
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.frames import decode
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import load_profile
from citynode.resources import firmware
from citynode.virtual.air import Gateway
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID
from citynode.wire.schema import CLIMATE

BOARD = "esp32-devkit"
US, MS, NS = 1_000, 1_000_000, 1_000_000_000
DAY, HOUR = 86_400 * NS, 3_600 * NS
INTERVAL = 300 * NS


def write(folder, board, made, files, nvs=None):
    spec = load_board(board)
    plan = planning.make(made, spec.chip, spec.flash_mib << 20, nvs_values=nvs or {}, files=files)
    path = folder / "image.bin"
    path.write_bytes(plan.merged())
    return path


@pytest.fixture(scope="module")
def climate(tmp_path_factory):
    """Return an image with the climate node as it is flashed, at intervals of five minutes."""
    board = load_board(BOARD)
    made = standin.build(CHIPS[board.chip])
    kit = prepare(Order(board, load_profile("climate-demo"), {}), made)
    config = cbor2.loads(kit.files[CONFIG])
    config["interval_s"], config["health_s"] = INTERVAL // NS, 86_400
    files = {**kit.files, CONFIG: cbor2.dumps(config, canonical=True)}
    identity = Identity("n1", wifi_ssid=BENCH_SSID, wifi_psk=BENCH_PASSWORD)
    folder = tmp_path_factory.mktemp("climate")
    return write(folder, BOARD, made, files, {NAMESPACE: identity.nvs()})


def run(image, seed, until, log=None):
    rack = Rack(BOARD, 2, image=image, seed=seed, virtual_time=True, event_log=log)
    try:
        rack.open()
        rack.world.broker.stop()  # both have one identity: it would send one away for the other
        rack.engine.run(until=until)
        return list(rack.events.lines)
    finally:
        rack.close()


@pytest.mark.slow
def test_a_day_of_two_climate_nodes_is_the_same_each_time(climate, tmp_path):
    first, second = tmp_path / "first.log", tmp_path / "the second run.log"
    run(climate, 11, DAY + NS, first)
    run(climate, 11, DAY + NS, second)
    assert first.read_bytes() == second.read_bytes()

    samples = {}
    for line in first.read_text().splitlines():
        at, who, kind, *detail = line.split(" ", 3)
        _, mark, frame = "".join(detail).partition(" frame: ")
        if kind == "out" and mark:
            (record,) = decode(bytes.fromhex(frame))
            if record.kind == CLIMATE:
                samples.setdefault(who, []).append((int(at), record))
    assert set(samples) == {f"{BOARD}-0", f"{BOARD}-1"}
    for taken in samples.values():
        assert len(taken) == 288
        assert [record.seq for _, record in taken] == sorted({record.seq for _, record in taken})
        for number, (at, record) in enumerate(taken):
            # What the conversion takes, after the instant.
            assert 0 <= at - (number + 1) * INTERVAL <= 100 * MS
            assert not record.faults
    temperatures = [
        [record.values["temperature_c"] for _, record in taken] for taken in samples.values()
    ]
    assert temperatures[0] != temperatures[1]  # the same air, other sensors


def test_another_seed_is_another_run(climate):
    logs = [run(climate, seed, HOUR) for seed in (11, 12)]
    assert all(len(log) > 40 for log in logs)
    assert logs[0] != logs[1]


# -- radio ---------------------------------------------------------------------------------------

RADIOS = {
    "lilygo-t3-v1.6.1": (
        "from node.radio.sx127x import SX127x\nradio = SX127x(spi, cs, reset, clock)"
    ),
    "lilygo-t3-s3": (
        "from node.radio.sx126x import SX126x\n"
        "radio = SX126x(spi, cs, reset, Pin({busy}, Pin.IN), clock, {tcxo_mv}, {switch})"
    ),
}
WINDOWS = """
import asyncio, sys, time
sys.path.append('/fw')
from machine import Pin, SPI
class clock:
    ticks_us, ticks_add, ticks_diff = time.ticks_us, time.ticks_add, time.ticks_diff
    wait_us, wait_ms, sleep_ms = time.sleep_us, time.sleep_ms, asyncio.sleep_ms
spi = SPI(1, baudrate=8000000, sck=Pin({sck}), mosi=Pin({mosi}), miso=Pin({miso}))
cs, reset = Pin({cs}, Pin.OUT, value=1), Pin({reset}, Pin.OUT, value=1)
{make}
async def main():
    radio.start()
    for late_us in {lates}:
        end = await radio.transmit(b'uplink', 868100000, 7, 125, 14)
        at = time.ticks_add(end, 1000000 + late_us)
        got = await radio.receive(at, 868100000, 7, 125, 6)
        print('window', late_us, end, got and bytes(got[0]))
        radio.sleep()
        await asyncio.sleep(600)
asyncio.run(main())
"""
SYMBOL_US = 1024  # at SF7; a receiver needs five of a preamble of eight
LATES = {0: True, 2 * SYMBOL_US: True, int(3.5 * SYMBOL_US): False, -7 * SYMBOL_US: False}


@pytest.mark.parametrize("board", RADIOS)
def test_a_window_opens_at_its_microsecond(tmp_path, board):
    spec = load_board(board)
    pins = spec.radio
    wiring = {name: getattr(pins, name) for name in ("sck", "mosi", "miso", "cs", "reset")}
    make = RADIOS[board].format(
        busy=pins.busy, tcxo_mv=round((pins.tcxo_v or 0) * 1000), switch=pins.dio2_switch
    )
    program = WINDOWS.format(make=make, lates=tuple(LATES), **wiring)
    node = firmware() / "node"
    parts = (node / "__init__.py", *(node / "radio").glob("*.py"), *(node / "wire").glob("*.py"))
    files = {f"/fw/{each.relative_to(firmware())}": each.read_bytes() for each in parts}
    files["/main.py"] = program.encode()
    image = write(tmp_path, board, standin.build(CHIPS[spec.chip]), files)
    rack = Rack(board, image=image, seed=3, virtual_time=True)
    gateway = Gateway(rack.air)
    sent = []
    gateway.on_uplink = lambda uplink: sent.append((uplink, gateway.answer(uplink, b"downlink")))
    try:
        rack.open()
        rack.engine.run(until=2500 * NS)
        lines = [line.split(" ", 3)[3] for line in rack.events.lines if " out window" in line]
    finally:
        rack.close()
    assert len(lines) == len(LATES) == len(sent)
    for line, (late_us, heard), (uplink, downlink) in zip(lines, LATES.items(), sent, strict=True):
        _, late, end, got = line.split(" ", 3)
        assert (int(late), got) == (late_us, "b'downlink'" if heard else "None")
        # The board knows the end of its own frame to what a look at the radio takes.
        assert 0 <= (int(end) - uplink.end_ns // US) & 0x3FFFFFFF <= 100
        assert downlink.start_ns == uplink.end_ns + NS

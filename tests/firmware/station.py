"""A whole node in virtual time: a board with the sensors of a profile, flashed and provisioned."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import cbor2
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.frames import Record, decode
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import load_profile
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.world import World
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID

HOUR_NS = 3_600_000_000_000
# What a profile says of its city's broker is the bench's here.
_BENCH = {"host": "broker.bench", "port": 1883, "tls": False}
_FRAME = "frame: "


@dataclass
class Run:
    """What a node said, records and the log's other lines, and the world that it was in."""

    records: list[Record]
    lines: list[str]
    world: World
    start_s: float  # the date at which the engine's clock was 0

    def ns(self, unix_s):
        """Return a date as a time of the engine's clock."""
        return round((unix_s - self.start_s) * 1e9)


def run(board, profile, hours, *, seed=1, weather=None, changed=None, at_start=lambda rack: None):
    """Run a node of a profile (id, TOML file, or the Profile) for some virtual hours.

    `changed(config)` may change its configuration, `at_start(rack)` plan what is to happen.
    """
    spec = load_board(board)
    given = load_profile(str(profile)) if isinstance(profile, (str, Path)) else profile
    made = standin.build(CHIPS[spec.chip])
    kit = prepare(Order(spec, given, {}), made)
    config = cbor2.loads(kit.files[CONFIG])
    if config["uplink"]["kind"] == "wifi":
        config["uplink"] |= _BENCH
        config["ntp"] = "ntp.bench"
    if changed is not None:
        changed(config)
    identity = Identity("n1", wifi_ssid=BENCH_SSID, wifi_psk=BENCH_PASSWORD)
    files = {**kit.files, CONFIG: cbor2.dumps(config, canonical=True)}
    plan = planning.make(
        made,
        spec.chip,
        spec.flash_mib << 20,
        nvs_values={NAMESPACE: identity.nvs()},
        files=files,
    )
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.bin"
        image.write_bytes(plan.merged())
        rack = Rack(
            board, image=image, seed=seed, weather=weather, virtual_time=True, profile=given
        )
        try:
            rack.open()
            world, clock = rack.world, rack.engine.clock
            start_s = (clock.unix_ns() - clock.now_ns()) / 1e9
            at_start(rack)
            rack.engine.run(until=round(hours * HOUR_NS))
            lines = [line.partition(f"{rack.boards[0].id} ")[2] for line in rack.events.lines]
        finally:
            rack.close()
    frames = [line.split(_FRAME)[1] for line in lines if _FRAME in line]
    records = [record for frame in frames for record in decode(bytes.fromhex(frame.strip()))]
    return Run(records, [line for line in lines if _FRAME not in line], world, start_s)

"""Boards with the whole firmware in virtual time, their network, and the air's account of them."""

from bisect import bisect_left
from collections import defaultdict
from functools import cache
from itertools import accumulate

import cbor2
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.commands import payload
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.profiles import load_profile
from citynode.virtual.air import Gateway
from citynode.virtual.air.network import Network
from citynode.virtual.rack import Rack, write_image
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.soc.flash import NorFlash

MS = 10**6
NS = 10**9
MINUTE = 60 * NS
HOUR = 60 * MINUTE
DAY = 24 * HOUR
SX1276, SX1262 = "lilygo-t3-v1.6.1", "lilygo-t3-s3"

# What the law allows in the band of 863 to 870 MHz: from Hz, to Hz, share of each hour (ERC/REC
# 70-03, annex 1).
SUB_BANDS = (
    (863_000_000, 865_000_000, 0.001),
    (865_000_000, 868_000_000, 0.01),
    (868_000_000, 868_600_000, 0.01),
    (868_700_000, 869_200_000, 0.001),
    (869_400_000, 869_650_000, 0.1),
    (869_700_000, 870_000_000, 0.01),
)
HALF_WIDTH_HZ = 62_500


class AirTime:
    """What nodes have sent: `frames` by their names, in order, as the air has them.

    Downlinks are left out: gateways are called "gateway…".
    """

    def __init__(self, air):
        self.frames = defaultdict(list)
        self.missed = []
        air.observe(self._note)

    def _note(self, event):
        if event.frame.sender.startswith("gateway"):
            return
        if event.kind == "sent":
            self.frames[event.frame.sender].append(event.frame)
        elif event.kind == "missed":
            self.missed.append(event)

    def keeps_duty_cycle(self, name):
        """Assert that no hour of a sub-band has more than the law allows; return what each had."""
        used = []
        count = 0
        for low, high, share in SUB_BANDS:
            inside = [
                frame
                for frame in self.frames[name]
                if low + HALF_WIDTH_HZ <= frame.modulation.freq_hz <= high - HALF_WIDTH_HZ
            ]
            assert most(inside, HOUR) <= share * HOUR, (name, low)
            used.append(airtime_ns(inside))
            count += len(inside)
        assert count == len(self.frames[name])  # none in a gap between them
        return used


def airtime_ns(frames, start_ns=0, end_ns=1 << 62):
    """Return the air time of frames between two times."""
    return sum(max(0, min(f.end_ns, end_ns) - max(f.start_ns, start_ns)) for f in frames)


def most(frames, length_ns):
    """Return the most air time that any stretch of time of a length has, wherever it begins.

    Frames are in order and do not overlap. Of all stretches one that begins or ends with a frame
    has the most.
    """
    starts = [frame.start_ns for frame in frames]
    before = [0, *accumulate(frame.end_ns - frame.start_ns for frame in frames)]

    def until(ns):
        """Return the air time up to a time."""
        at = bisect_left(starts, ns)
        beyond = frames[at - 1].end_ns - ns if at else 0
        return before[at] - max(0, beyond)

    edges = [f.start_ns for f in frames] + [f.end_ns - length_ns for f in frames]
    return max((until(edge + length_ns) - until(edge) for edge in edges), default=0)


@cache
def _made(kind):
    """Return a board and its firmware, compiled once."""
    board = load_board(kind)
    image = standin.build(CHIPS[board.chip])
    return board, prepare(Order(board, load_profile("climate-lora"), {}), image)


def identity(number=0):
    """Return who the board of a number is."""
    return Identity(
        f"n{number}",
        dev_eui=(0x70B3D57ED0001000 + number).to_bytes(8, "big"),
        join_eui=bytes(8),
        app_key=bytes.fromhex("b6b53f4a168a7a88bdf7ea135ce9") + number.to_bytes(2, "big"),
        command_key=bytes(range(16)),
    )


def write_flash(folder, kind, number=0, files=None, uplink=None, **config):
    """Write the flash of a board as `citynode flash` does, with changes of its configuration.

    `files` take the place of others in it.
    """
    board, kit = _made(kind)
    changed = cbor2.loads(kit.files[CONFIG])
    changed["sensors"] = [{"chip": "bme280", "address": 0x76, "settle_ms": 0, "retries": 2}]
    changed["uplink"].update(uplink or {})
    changed.update({"interval_s": 300, "sleep": "none", **config})
    plan = planning.make(
        kit.image,
        board.chip,
        board.flash_mib << 20,
        nvs_values={NAMESPACE: identity(number).nvs()},
        files={**kit.files, CONFIG: cbor2.dumps(changed, canonical=True), **(files or {})},
    )
    home = folder / f"{kind}-{number}"
    home.mkdir(parents=True)
    image = home / "image.bin"
    image.write_bytes(plan.merged())
    flash = NorFlash(home / "flash.bin", board.flash_mib << 20)
    write_image(flash, CHIPS[board.chip], image)
    flash.close()
    image.unlink()


class Site:
    """Boards of a kind with the firmware, a gateway and a network; `with` switches them on.

    `uplinks` are those that the network took from the first board's node, `joins` counts those
    that it accepted, `faults` are the codes of what it complained about.
    """

    def __init__(self, folder, kind, count=1, *, profile=None, seed=7, **change):
        for number in range(count):
            write_flash(folder, kind, number, **change)
        self.name = f"{kind}-0"
        self.rack = Rack(kind, count, seed=seed, state_dir=folder, virtual_time=True)
        self.airtime = AirTime(self.rack.air)
        self.gateway = Gateway(self.rack.air, "gateway-1")
        self.network = Network(self.rack.engine)
        self.network.attach(self.gateway)
        self.devices = [
            self.network.register(
                who.dev_eui, who.join_eui, who.app_key, name=who.node_id, profile=profile
            )
            for who in map(identity, range(count))
        ]
        self.device = self.devices[0]
        self.uplinks = []
        self.device.on_uplink = self.uplinks.append
        self.joins = 0
        self.faults = []
        self.network.observe(self._note)

    def _note(self, event):
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

    @property
    def board(self):
        return self.rack.boards[0]

    @property
    def frames(self):
        """What the first board has sent."""
        return self.airtime.frames[self.name]

    def run_to(self, ns):
        """Let time go on to a time."""
        self.engine.run(until=round(ns))

    def command(self, command, seconds=None):
        """Send the first board's node a command with what the network answers next."""
        unix_s = self.engine.clock.unix_ns() // NS
        self.device.enqueue(payload(identity(), command, seconds, unix_s), f_port=10)

    def cut(self, at_ns, off_ns=2 * NS):
        """Have the first board lose its power at a time, for a while."""
        self.engine.call_at(round(at_ns), self.board.power_off)
        self.engine.call_at(round(at_ns + off_ns), self.board.power_on)

    def said(self, text):
        """Return the lines of the boards' logs that have this in them."""
        return [line for line in self.rack.events.lines if " out " in line and text in line]

"""One cell of a virtual city for a soak: its boards in virtual time, and who hears them."""

import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from citynode import energy
from citynode.identity import Identity
from citynode.soak.plan import SoakPlan
from citynode.soak.schedule import Due, Member, cell_seed, members, stream
from citynode.soak.site import Ear, Station
from citynode.virtual.air import Gateway
from citynode.virtual.air.network import Network
from citynode.virtual.air.network.device import Received
from citynode.virtual.air.network.events import Event as NetworkEvent
from citynode.virtual.air.stations import Event as AirEvent
from citynode.virtual.engine import Engine
from citynode.virtual.rack import Rack
from citynode.virtual.site import flashing
from citynode.virtual.site.console import Console
from citynode.virtual.site.meter import Meter
from citynode.virtual.site.sensors import Sensors
from citynode.virtual.site.strikes import IN_WRITES, KINDS, ON_CELLS, ON_NODES, Cell, Place, Undo
from citynode.virtual.site.wear import Wear
from citynode.virtual.soc.app import MicroPythonApp
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.flash import NorFlash
from citynode.virtual.soc.lockstep import LockstepApp
from citynode.virtual.soc.peripherals import Peripheral
from citynode.virtual.soc.peripherals.i2c import I2C
from citynode.virtual.soc.peripherals.onewire import OneWire
from citynode.virtual.soc.peripherals.radio import Radio
from citynode.virtual.soc.peripherals.serial import Uart
from citynode.virtual.soc.peripherals.wlan import Wlan
from citynode.virtual.world import World
from citynode.virtual.world.clock import NS, VIRTUAL_START_NS
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID

_RECORDS_PORT = 1  # docs/lorawan.md
_GATEWAY = "gateway"
_JOIN_EUI = bytes(8)
_DEV_EUIS = 0x70B3D57ED0000000


class _Rack(Rack):
    """A rack with a board for each node: its kind, and its profile's sensors.

    `hardware` has what is on their pins, `consoles` what hears their ports from the start.
    """

    def __init__(
        self, kits: Sequence[flashing.Kit], folder: Path, seed: int, starts_ns: Sequence[int]
    ) -> None:
        log = Path(os.devnull)  # what happens is heard as it happens
        kinds = [each.board.id for each in kits]
        super().__init__(kinds, seed=seed, state_dir=folder, virtual_time=True, event_log=log)
        self.hardware: list[Sequence[Peripheral]] = []
        self.consoles: list[Console] = []
        self._kits = kits
        self._starts_ns = starts_ns
        self._names: Counter[str] = Counter()

    def _add(
        self, kind: str, number: int, index: int, folder: Path, world: World, interpreter: Path
    ) -> None:
        number = self._names[kind]
        self._names[kind] += 1
        self._profile = self._kits[index].profile
        super()._add(kind, number, index, folder, world, interpreter)
        self.boards[-1].log = self.consoles[index]

    def _switch_on(self) -> None:
        for board, start_ns in zip(self.boards, self._starts_ns, strict=True):
            if start_ns:
                self.engine.call_at(start_ns, board.power_on)
            else:
                board.power_on()

    def _app(
        self,
        identity: str,
        flash: NorFlash,
        chip: Chip,
        interpreter: Path,
        peripherals: Sequence[Peripheral],
    ) -> MicroPythonApp:
        self.hardware.append(peripherals)
        return super()._app(identity, flash, chip, interpreter, peripherals)


@dataclass
class _Node:
    member: Member
    kit: flashing.Kit
    identity: Identity
    station: Station
    board_id: str


class City:
    """One cell of a plan as a `Site` of `citynode.soak`.

    The same plan, seed and cell give the same run. Nodes with LoRaWAN have one gateway and a bench
    network server, those with WiFi an access point, an MQTT broker and a time server.
    """

    delivers = True
    kinds = KINDS
    started_s = VIRTUAL_START_NS / NS

    def __init__(self, plan: SoakPlan, seed: int, cell: int) -> None:
        self._plan = plan
        self._seed = seed
        self._cell = cell
        self._nodes = [self._node(member) for member in members(plan) if member.cell == cell]
        numbers: Counter[str] = Counter()
        for node in self._nodes:
            kind = node.kit.board.id
            node.board_id = f"{kind}-{numbers[kind]}"
            numbers[kind] += 1
        self.stations = [node.station for node in self._nodes]
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._rack: _Rack | None = None
        self._meters: dict[str, Meter] = {}

    def _node(self, member: Member) -> _Node:
        group = self._plan.nodes[member.group]
        firmware = None if self._plan.firmware is None else Path(self._plan.firmware)
        made = flashing.kit(group.board, group.profile, firmware, group.interval, group.health)
        keys = stream(self._seed, f"keys {member.id}")
        identity = Identity(member.id, wifi_ssid=BENCH_SSID, wifi_psk=BENCH_PASSWORD)
        if made.lorawan:
            identity = Identity(
                member.id,
                dev_eui=(_DEV_EUIS + member.number).to_bytes(8),
                join_eui=_JOIN_EUI,
                app_key=keys.randbytes(16),
                command_key=keys.randbytes(16),
            )
        interval_s = group.interval or float(made.profile.interval_s)
        station = Station(member.id, made.board.id, made.profile.id, interval_s)
        return _Node(member, made, identity, station, "")

    @property
    def software(self) -> dict[str, str]:
        """A digest of what the nodes of each group run."""
        groups = {self._plan.nodes[node.member.group].name: node.kit for node in self._nodes}
        return {name: made.digest for name, made in groups.items()}

    # -- a Site ---------------------------------------------------------------------------------

    def open(self, ear: Ear, faults: Sequence[Due]) -> None:
        """Make and start the boards; raises CitynodeError."""
        self._temporary = tempfile.TemporaryDirectory(prefix="citynode-soak-")
        folder = Path(self._temporary.name)
        for node in self._nodes:
            flashing.write(folder / node.board_id, node.kit, node.identity)
        rack = self._rack = _Rack(
            [node.kit for node in self._nodes],
            folder,
            cell_seed(self._seed, self._cell),
            [self._start_ns(node) for node in self._nodes],
        )
        engine = rack.engine
        rack.consoles = [Console(engine.clock, ear, node.station.id) for node in self._nodes]
        gateway, network = self._lorawan(rack, ear)
        rack.open()
        rack.world.broker.on_publish = lambda client, topic, payload, at_ns: ear.message(
            topic, payload, at_ns / NS
        )
        self._meters = {
            node.station.id: _meter(rack, number, node) for number, node in enumerate(self._nodes)
        }
        cell = Cell(rack.air, gateway, network, rack.world)
        places = {
            node.station.id: self._place(rack, number, node)
            for number, node in enumerate(self._nodes)
        }
        for due in faults:
            at_ns = round(due.at_s * NS)
            if due.node is None:
                strike = partial(ON_CELLS[due.kind], cell, due)
            elif due.kind == IN_WRITES:
                engine.call_at(at_ns, _cut_in_write, engine, places[due.node], due, ear)
                continue
            else:
                strike = partial(ON_NODES[due.kind], places[due.node], due)
            engine.call_at(at_ns, _strike, engine, strike, due, ear)

    def _start_ns(self, node: _Node) -> int:
        rng = stream(self._seed, f"start {node.station.id}")
        return round(rng.uniform(0, self._plan.spread) * NS)

    def _place(self, rack: _Rack, number: int, node: _Node) -> Place:
        app = rack.apps[number]
        hardware = rack.hardware[number]
        buses = [bus for each in hardware if isinstance(each, I2C) for bus in each.buses]
        lines = [line for each in hardware if isinstance(each, Uart) for line in each.lines]
        wires = [wire for each in hardware if isinstance(each, OneWire) for wire in each.buses]
        if not isinstance(app, LockstepApp):
            raise TypeError("not in virtual time")
        return Place(
            rack.boards[number],
            app,
            buses,
            Sensors(buses, lines, wires),
            rack.consoles[number],
            Wear(rack.boards[number].flash),
            rack.air,
        )

    def _lorawan(self, rack: _Rack, ear: Ear) -> tuple[Gateway, Network]:
        """Make the gateway and the network, which knows the nodes; tell what they hear."""
        clock = rack.engine.clock
        gateway = Gateway(rack.air, _GATEWAY)
        network = Network(rack.engine)
        network.attach(gateway)
        names = {node.board_id: node.station.id for node in self._nodes}

        def hear(node: str, uplink: Received) -> None:
            now_s = clock.now_ns() / NS
            best = uplink.copies[0]
            ear.link(node, best.rssi_dbm, best.snr_db, now_s)
            if uplink.f_port == _RECORDS_PORT:
                ear.message(f"citynode/{node}/up", uplink.payload, now_s)

        def on_network(event: NetworkEvent) -> None:
            if event.kind == "join":
                ear.joined(event.device.name, clock.now_ns() / NS)

        def on_air(event: AirEvent) -> None:
            name = names.get(event.frame.sender)
            if name is not None and event.kind == "sent":
                frame = event.frame
                ear.on_air(name, (frame.end_ns - frame.start_ns) / NS, event.at_ns / NS)

        for node in self._nodes:
            who = node.identity
            if who.dev_eui is not None and who.join_eui is not None and who.app_key is not None:
                device = network.register(who.dev_eui, who.join_eui, who.app_key, name=who.node_id)
                device.on_uplink = partial(hear, node.station.id)
        network.observe(on_network)
        rack.air.observe(on_air)
        if self._plan.radius_m is not None:
            rack.air.links.place(_GATEWAY, 0.0, 0.0)
            for node in self._nodes:
                rng = stream(self._seed, f"place {node.station.id}")
                angle, far = rng.uniform(0, math.tau), self._plan.radius_m * math.sqrt(rng.random())
                at = far * math.cos(angle), far * math.sin(angle)
                rack.air.links.place(node.board_id, *at)
        return gateway, network

    def run(self, until_s: float) -> None:
        """Let time go on."""
        if self._rack is not None:
            self._rack.engine.run(until=round(until_s * NS))

    def erases(self, node: str) -> Mapping[int, int]:
        """Return how often each sector was erased."""
        if self._rack is None:
            return {}
        number = next(i for i, each in enumerate(self._nodes) if each.station.id == node)
        counts = self._rack.boards[number].flash.erase_counts
        return {sector: count for sector, count in enumerate(counts) if count}

    def energy_mah(self, node: str) -> float | None:
        """Return what a node has drawn."""
        meter = self._meters.get(node)
        return None if meter is None else meter.mah

    def close(self) -> None:
        """End all boards."""
        if self._rack is not None:
            self._rack.close()
            self._rack = None
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None


def _meter(rack: _Rack, number: int, node: _Node) -> Meter:
    hardware = rack.hardware[number]
    (wlan,) = (each for each in hardware if isinstance(each, Wlan))
    radios = [each.chip for each in hardware if isinstance(each, Radio)]
    draw = energy.draw(node.kit.board, node.kit.profile)
    clock = rack.engine.clock
    return Meter(clock, rack.boards[number], wlan, radios[0] if radios else None, draw)


def _strike(engine: Engine, strike: Callable[[], Undo], due: Due, ear: Ear, did: str = "") -> None:
    ear.began(due, engine.clock.now_ns() / NS, did)
    undo = strike()

    def end() -> None:
        undo()
        ear.ended(due, engine.clock.now_ns() / NS)

    engine.call_later(due.for_s, end)


def _cut_in_write(engine: Engine, place: Place, due: Due, ear: Ear) -> None:
    """Cut the supply in the middle of one of the next writes; from then on it lasts as long."""

    def on_cut(what: str) -> None:
        # The program is still waiting for the flash: it is stopped when that has answered.
        engine.call_at(engine.clock.now_ns(), cut, what)

    def cut(what: str) -> None:
        _strike(engine, partial(ON_NODES["power"], place, due), due, ear, what)

    place.wear.cut_in_write(due.seed, on_cut)

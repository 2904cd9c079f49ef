"""The bench of real boards: ports of a bench map, or those that labgrid hands out."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from citynode import identity, nodefiles
from citynode.bench.benchmap import UNKNOWN, BenchMap
from citynode.boards import Board
from citynode.errors import CitynodeError
from citynode.hil.lab import Switch
from citynode.hil.setup import Broker, Setup
from citynode.hil.slots import CUTS, Slot
from citynode.identity import Identity, Store
from citynode.image import fetch
from citynode.link import ports
from citynode.soak.listener import Address
from citynode.tomlfile import load

_BUSY_S = 10.0  # for a run that is about to end
_NOBODY = "broker.invalid"  # where nodes send to on a bench without a broker (RFC 6761)


class RealLab:
    """Boards at ports, with the networks of a set-up file; `power` switches boards by slot name.

    Raises CitynodeError if the set-up is wrong.
    """

    shared = True

    def __init__(
        self, slots: Sequence[Slot], power: Mapping[str, Switch], setup: Path | None
    ) -> None:
        self._setup = Setup() if setup is None else load(setup, Setup)
        self._folder = Path() if setup is None else setup.parent
        self._power = power
        self._cleanup = contextlib.ExitStack()
        named = self._setup.identity
        self.given = identity.settings(None if named is None else self._folder / named)
        self.ntp = self._setup.ntp
        self.broker: Address | None = None
        self.ca: bytes | None = None
        self.uplink: Mapping[str, object] = {"host": _NOBODY, "tls": False}
        if self._setup.broker is not None:
            self._use(self._setup.broker)
        cuts = {
            "wifi": self._setup.wifi,
            "broker": self._setup.broker,
            "lorawan": self._setup.lorawan,
        }
        self._switches = {
            name: switch
            for name, cut in cuts.items()
            if cut is not None and (switch := cut.switch) is not None
        }
        networks = ("wifi",) * (self.broker is not None)
        networks += ("lorawan",) * (self._setup.lorawan is not None)
        self.slots = [
            replace(slot, networks=networks, cuts=tuple(self._switches_of(slot))) for slot in slots
        ]

    def open(self, slot: Slot) -> "RealSite":
        """Take a board: no other run of citynode gets its port until `close`."""
        if slot.serial is None:
            raise CitynodeError(f"{slot.name} has no port", "write its serial into the bench map")
        self._cleanup.enter_context(ports.lock(slot.serial, within_s=_BUSY_S))
        ports.check(slot.serial)
        return RealSite(slot.serial, self._switches_of(slot), self._image)

    def close(self) -> None:
        """Let go of all ports."""
        self._cleanup.close()

    def _switches_of(self, slot: Slot) -> dict[str, Switch]:
        found = {**self._switches, "power": self._power.get(slot.name)}
        return {name: switch for name in CUTS if (switch := found.get(name)) is not None}

    def _use(self, broker: Broker) -> None:
        ca = None if broker.ca is None else self._folder / broker.ca
        port = broker.port or (1883 if ca is None else 8883)
        user, password = self.given.get("mqtt_user"), self.given.get("mqtt_pass")
        self.broker = Address(
            broker.host,
            port,
            user if isinstance(user, str) else None,
            password if isinstance(password, str) else None,
            ca,
        )
        host = broker.node_host or broker.host
        self.uplink = {"host": host, "port": port, "tls": ca is not None}
        self.ca = None if ca is None else nodefiles.ca_der(ca)

    def _image(self, board: Board) -> bytes:
        named = self._setup.images.get(board.chip)
        path = fetch.find(board.micropython).path if named is None else self._folder / named
        try:
            return path.read_bytes()
        except OSError as error:
            raise CitynodeError(
                f"cannot read {path}: {error.strerror}", "correct 'images' of the bench's set-up"
            ) from None


@dataclass(frozen=True)
class RealSite:
    """A board at a port; its identity is kept with all others of this user."""

    port: str
    switches: Mapping[str, Switch]
    find_image: Callable[[Board], bytes]
    store: Store = field(default_factory=Store)

    def image(self, board: Board) -> bytes:
        """Return the MicroPython of the set-up."""
        return self.find_image(board)

    def welcome(self, identity: Identity) -> None:
        """Do nothing: who runs the network server has registered the board."""


def of_map(path: Path) -> tuple[list[Slot], dict[str, Switch]]:
    """Return the connected boards of a bench map and their switches; raises CitynodeError."""
    slots: list[Slot] = []
    power: dict[str, Switch] = {}
    for place in BenchMap.load(path).places:
        if not place.connected or place.platform == UNKNOWN:
            continue
        slots.append(
            Slot(place.id, place.platform, place.serial, place.id, place.fixtures, baud=place.baud)
        )
        if place.power is not None:
            power[place.id] = place.power
    return slots, power

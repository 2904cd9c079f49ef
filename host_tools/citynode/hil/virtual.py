"""The bench without hardware: virtual boards that are made when a test first wants them."""

import contextlib
import gc
import tempfile
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from citynode.boards import Board, board_ids, load_board
from citynode.hil.lab import Switch
from citynode.hil.relay import Relay
from citynode.hil.slots import Slot
from citynode.identity import Identity, Store
from citynode.soak.broker import BenchBroker
from citynode.soak.listener import Address
from citynode.virtual.air import Gateway
from citynode.virtual.air.network import Network
from citynode.virtual.air.network.mqtt import Publisher
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS
from citynode.virtual.world.wifi import BENCH_PASSWORD, BENCH_SSID

_MIB = 1 << 20
_HOST = "broker.bench"
_FIXTURES = ("bme280", "sht4x")  # what hangs on every virtual board
_LORAWAN = "lorawan"
_LONG_S = 1e9


class VirtualLab:
    """Virtual boards of these kinds, all kinds if none is named.

    A board with a radio is there twice: once in reach of an access point, once of a LoRaWAN gateway
    (whose time is exact on a busy machine, and leaves no room for sockets).
    """

    shared = False  # each board has a world of its own
    ntp = "ntp.bench"
    ca: bytes | None = None

    def __init__(self, kinds: Sequence[str] = ()) -> None:
        self.slots = slots(kinds)
        self.given: Mapping[str, str | bytes] = {
            "wifi_ssid": BENCH_SSID,
            "wifi_psk": BENCH_PASSWORD,
        }
        self.uplink: Mapping[str, object] = {"host": _HOST, "tls": False}
        self._cleanup = contextlib.ExitStack()
        with self._cleanup:
            self._folder = Path(
                self._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="citynode-hil-"))
            )
            self._broker = self._cleanup.enter_context(BenchBroker())
            self._cleanup = self._cleanup.pop_all()
        self.broker = Address("127.0.0.1", self._broker.port)

    def open(self, slot: Slot) -> "VirtualSite":
        """Make a board and switch it on."""
        site = VirtualSite(slot, self._broker.port, self._folder / slot.name)
        self._cleanup.callback(site.close)
        return site

    def close(self) -> None:
        """End all boards and the broker."""
        self._cleanup.close()
        with warnings.catch_warnings():
            # amqtt leaves writers behind, whose loop is closed by the time they are found.
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def slots(kinds: Sequence[str]) -> list[Slot]:
    """Return what a bench of virtual boards has; raises CitynodeError for an unknown kind."""
    found = []
    for kind in kinds or board_ids():
        cuts = ("power", "wifi", "broker")
        found.append(Slot(kind, kind, fixtures=_FIXTURES, networks=("wifi",), cuts=cuts))
        if load_board(kind).radio is not None:
            found.append(
                Slot(
                    f"{kind}-{_LORAWAN}",
                    kind,
                    fixtures=_FIXTURES,
                    networks=(_LORAWAN,),
                    cuts=("power", _LORAWAN),
                )
            )
    return found


def _seed(slot: Slot) -> int:
    """Return what gives a board a MAC of its own, the same in each run."""
    return zlib.crc32(slot.name.encode())


class _Call:
    """A switch that is a function of whether it is on."""

    def __init__(self, call: Callable[[bool], object]) -> None:
        self._call = call

    def switch(self, on: bool) -> None:
        """Switch it."""
        self._call(on)


class VirtualSite:
    """One virtual board with an access point, or a LoRaWAN gateway, of its own."""

    def __init__(self, slot: Slot, broker_port: int, folder: Path) -> None:
        folder.mkdir()
        self.store = Store(folder / "nodes")
        self.switches: dict[str, Switch] = {}
        self._cleanup = contextlib.ExitStack()
        with self._cleanup:
            image = folder / "micropython.bin"
            image.write_bytes(self.image(load_board(slot.board)))
            self._network: Network | None = None
            self._rack = (
                self._mast(slot, broker_port, folder, image)
                if _LORAWAN in slot.networks
                else self._station(slot, broker_port, folder, image)
            )
            board = self._rack.boards[0]
            self.port = board.rfc2217_url
            self.switches["power"] = self._switch(
                lambda on: board.power_on() if on else board.power_off()
            )
            self._cleanup = self._cleanup.pop_all()

    def image(self, board: Board) -> bytes:
        """Return a stand-in for the makers' build."""
        # Theirs are for 4 MiB, whatever the board has.
        return standin.build(CHIPS[board.chip], flash_size=min(board.flash_mib, 4) * _MIB)

    def welcome(self, identity: Identity) -> None:
        """Register the node with the LoRaWAN network."""
        network, keys = self._network, (identity.dev_eui, identity.join_eui, identity.app_key)
        dev_eui, join_eui, app_key = keys
        if network is not None and dev_eui and join_eui and app_key:
            with contextlib.suppress(ValueError):  # it is registered
                self._rack.call(
                    lambda: network.register(dev_eui, join_eui, app_key, name=identity.node_id)
                )

    def close(self) -> None:
        """End the board and what is around it."""
        self._cleanup.close()

    def _station(self, slot: Slot, broker_port: int, folder: Path, image: Path) -> Rack:
        relay = Relay("127.0.0.1", broker_port)
        self._cleanup.callback(relay.close)
        networks = {_HOST: ("127.0.0.1", relay.port)}
        rack = self._cleanup.enter_context(
            Rack(
                slot.board,
                seed=_seed(slot),
                networks=networks,
                image=image,
                state_dir=folder / "rack",
            )
        )
        wifi = rack.world.wifi
        point = wifi.access_points[0]
        self.switches["wifi"] = self._switch(lambda on: wifi.change(point, on=on))
        self.switches["broker"] = relay
        return rack

    def _mast(self, slot: Slot, broker_port: int, folder: Path, image: Path) -> Rack:
        rack = self._cleanup.enter_context(
            Rack(slot.board, seed=_seed(slot), follow=True, image=image, state_dir=folder / "rack")
        )
        network = self._network = rack.call(lambda: Network(rack.engine))
        publisher = Publisher(rack.engine, network, "127.0.0.1", broker_port)
        publisher.open()
        self._cleanup.callback(publisher.close)
        rack.call(lambda: network.attach(Gateway(rack.air)))
        self.switches[_LORAWAN] = self._switch(lambda on: network.black_out(0.0 if on else _LONG_S))
        return rack

    def _switch(self, change: Callable[[bool], object]) -> Switch:
        return _Call(lambda on: self._rack.call(lambda: change(on)))

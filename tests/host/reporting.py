"""Nodes that report: virtual boards with citynode's own firmware, and the broker they report to."""

import contextlib
from pathlib import Path

from citynode.bench.contents import Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.identity import NAMESPACE, Store
from citynode.image import plan
from citynode.profiles import load_profile
from citynode.soak.broker import BenchBroker
from citynode.soak.listener import Address, Listener
from citynode.virtual.rack import Rack
from workbench import wait_for

MIB = 1 << 20
PROFILE = """
description = "Climate node that samples every second"
site = "test"
interval_s = 1
health_s = 3600
ntp = "ntp.bench"
spool_kib = 32
[[sensors]]
chip = "bme280"
address = 0x76
[uplink]
kind = "wifi"
host = "broker.bench"
tls = false
"""
WIFI = {"wifi_ssid": "citynode-bench", "wifi_psk": "bochum-bench"}


class Nodes:
    """Boards that were flashed in an instant, without a bootloader, and run; all methods block."""

    def __init__(self, kinds, images, folder):
        self._kinds = kinds
        self._images = images
        self._folder = Path(folder)
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        with self._stack:
            self.broker = self._stack.enter_context(BenchBroker())
            networks = {"broker.bench": ("127.0.0.1", self.broker.port)}
            rack = Rack(self._kinds, seed=5, networks=networks)
            self._stack.enter_context(rack)
            self.call = rack.call
            self.boards = self.call(lambda: list(rack.boards))
            self.names = [
                self._flash(board, kind)
                for board, kind in zip(self.boards, self._kinds, strict=True)
            ]
            # Equal boards that start at once would send equal bytes.
            self.power_cycle(0)
            self._until_heard()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _flash(self, board, kind):
        profile = self._folder / "often.toml"
        profile.write_text(PROFILE)
        spec = load_board(kind)
        order = Order(spec, load_profile(str(profile)), WIFI)
        kit = prepare(order, self._images(kind).read_bytes())
        identity = order.identity(Store(self._folder / "nodes"), board.mac.hex())
        made = plan.make(
            kit.image,
            spec.chip,
            spec.flash_mib * MIB,
            nvs_values={NAMESPACE: identity.nvs()},
            files=kit.files,
        )

        def write():
            board.power_off()
            for region in made.regions:
                board.flash.erase(region.offset, -(-len(region.data) // 4096) * 4096)
                board.flash.program(region.offset, region.data)
            board.power_on()

        self.call(write)
        return identity.node_id

    def _until_heard(self):
        heard = set()
        where = Address("127.0.0.1", self.broker.port)
        with Listener(where, lambda topic, _: heard.add(topic.split("/")[1])):
            wait_for(lambda: heard == set(self.names), 20, lambda: f"only {heard} report")

    def power_cycle(self, number):
        board = self.boards[number]
        self.call(board.power_off)
        self.call(board.power_on)
        wait_for(lambda: board.state.value == "running")

    def watch_lines(self, board, seen):
        """Note in `seen` each (DTR, RTS) that the board's port is given from now on."""
        before = board.set_lines

        def set_lines(*, dtr, rts):
            seen.append((dtr, rts))
            before(dtr=dtr, rts=rts)

        board.set_lines = set_lines

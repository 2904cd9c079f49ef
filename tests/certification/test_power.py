"""Power cuts at flash operations of joins, uplinks and downlinks: nothing is used twice, nothing
is wedged."""

from contextlib import suppress

import pytest
from citynode.phy.message import Data, JoinRequest, parse
from citynode.virtual.air import Gateway
from citynode.virtual.air.network import Network
from citynode.virtual.rack import Rack
from laboratory import BOARDS, IDENTITY, KEY, NS, PORT, flash_image

CUTS = 20
LIFE_NS = 600 * NS
COMPLAINTS = {"OTAA", "UPLINK_F_CNT_RESET", "UPLINK_MIC", "UPLINK_F_CNT_RETRANSMISSION"}


class PowerCutError(Exception):
    """The supply fails before an operation of the flash."""


class Life:
    """A node that is told to join anew whenever it has started, with the network around it."""

    def __init__(self, folder, kind):
        image = flash_image(folder, kind)
        self.rack = Rack(kind, image=image, seed=3, state_dir=folder / "rack", virtual_time=True)
        network = Network(self.rack.engine, duty_cycle=False)
        network.attach(Gateway(self.rack.air, "gateway"))
        self.device = network.register(IDENTITY.dev_eui, IDENTITY.join_eui, KEY)
        self.device.on_uplink = self._heard
        network.observe(self._told)
        self.rack.air.observe(self._sent)
        self.frames = []  # of the node, as they were on the air
        self.uplinks = 0  # since the start
        self.joins = 0
        self.complaints = []

    def _told(self, event):
        self.joins += event.kind == "join"
        if event.kind == "log":
            self.complaints.append(event.body["code"])

    def _sent(self, event):
        if event.kind == "sent" and event.frame.sender == self.rack.boards[0].id:
            self.frames.append(event.frame.payload)

    def _heard(self, uplink):
        self.uplinks += 1
        if self.uplinks == 1:
            self.device.enqueue(b"\x02", PORT)
        elif self.uplinks == 3:
            self.device.command("LinkADRReq", data_rate=4, tx_power=1, ch_mask=0xFF, nb_trans=1)
            self.device.command("RXTimingSetupReq", delay_s=2)
            self.device.enqueue(b"\x08\x01", PORT, confirmed=True)

    def live(self, operations):
        """Switch the board on, and off before that operation of its flash; return their number."""
        board = self.rack.boards[0]
        count = 0

        def hook(operation, address, length):
            nonlocal count
            if operation != "read":
                count += 1
                if count == operations:
                    raise PowerCutError

        self.uplinks = 0
        self.device.queue.clear()
        self.device.requests.clear()
        board.flash.hook = hook
        board.power_on()
        engine = self.rack.engine
        with suppress(PowerCutError):
            engine.run(until=engine.clock.now_ns() + LIFE_NS)
        board.flash.hook = None
        board.power_off()
        return count


@pytest.mark.slow
@pytest.mark.parametrize("kind", BOARDS.values(), ids=BOARDS)
def test_cuts_at_operations_of_the_flash(tmp_path, kind):
    life = Life(tmp_path, kind)
    life.rack.open()
    try:
        board = life.rack.boards[0]
        board.power_off()
        whole = life.live(0)
        assert life.joins == 2
        assert life.uplinks >= 4
        for number in range(CUTS):
            count = life.live(1 + number * whole // CUTS)
            assert count == 1 + number * whole // CUTS
        life.joins = 0
        life.live(0)
        assert life.joins > 0
        assert life.uplinks >= 4
        said = [row for row in life.rack.events.lines if "Traceback" in row]
    finally:
        life.rack.close()
    assert said == []
    assert not COMPLAINTS & set(life.complaints)
    messages = [parse(frame) for frame in life.frames]
    nonces = [each.dev_nonce for each in messages if isinstance(each, JoinRequest)]
    assert nonces == sorted(set(nonces))
    counters = [(each.dev_addr, each.f_cnt) for each in messages if isinstance(each, Data)]
    assert len(counters) == len(set(counters)) > CUTS

"""A test laboratory for one board: its node is the device under test, the lab its whole network.

It speaks through a gateway of the air, with the cryptography of `citynode.phy`, and knows of the
firmware only what is on the air. The node is kept busy by the certification protocol (TS009).
"""

from dataclasses import dataclass, field
from functools import cache

import cbor2
from citynode.bench.contents import CONFIG, Order
from citynode.bench.flash import prepare
from citynode.boards import load_board
from citynode.identity import NAMESPACE, Identity
from citynode.image import plan as planning
from citynode.phy import crypto
from citynode.phy.message import Data, JoinRequest, MType, parse
from citynode.profiles import load_profile
from citynode.virtual.air import Gateway
from citynode.virtual.air.network import frames
from citynode.virtual.air.network.commands import write as request
from citynode.virtual.air.network.region import (
    JOIN_CHANNELS_HZ,
    MORE_CHANNELS_HZ,
    RATES,
    RX2_HZ,
    data_rate,
)
from citynode.virtual.rack import Rack
from citynode.virtual.soc import standin
from citynode.virtual.soc.chip import CHIPS

NS = 10**9
BOARDS = {"sx1276": "lilygo-t3-v1.6.1", "sx1262": "lilygo-t3-s3"}
PORT = 224
CHANNELS_HZ = (*JOIN_CHANNELS_HZ, *MORE_CHANNELS_HZ)
IDENTITY = Identity(
    "dut",
    dev_eui=bytes.fromhex("70b3d57ed0001000"),
    join_eui=bytes.fromhex("70b3d57ed0000001"),
    app_key=bytes.fromhex("b6b53f4a168a7a88bdf7ea135ce9cfca"),
    command_key=bytes(range(16)),
)
_START_S = 1_400_000_000
KEY = IDENTITY.app_key
DEV_STATUS = request("DevStatusReq")


@cache
def _kit(kind):
    board = load_board(kind)
    image = standin.build(CHIPS[board.chip])
    return board, prepare(Order(board, load_profile("climate-lora-mains"), {}), image)


def flash_image(folder, kind):
    """Write the image of a board's flash: the firmware, an identity, no sensors."""
    board, kit = _kit(kind)
    config = cbor2.loads(kit.files[CONFIG])
    config.update(sensors=[], health_s=604800)
    config["uplink"].update(airtime_s_per_day=864, confirmed_every=0, certification=True)
    plan = planning.make(
        kit.image,
        board.chip,
        board.flash_mib << 20,
        nvs_values={NAMESPACE: IDENTITY.nvs()},
        files={**kit.files, CONFIG: cbor2.dumps(config, canonical=True)},
    )
    path = folder / "image.bin"
    path.write_bytes(plan.merged())
    return path


@dataclass(frozen=True)
class Up:
    """A data uplink, decrypted; `commands` are the bytes of FOpts or of port 0."""

    phy: bytes
    f_cnt: int
    port: int | None
    payload: bytes
    commands: bytes
    flags: tuple
    confirmed: bool
    rate: int
    freq_hz: int
    power_dbm: float
    start_ns: int
    end_ns: int


@dataclass
class Link:
    """What holds since a join; tests that change it with commands change it here."""

    dev_addr: int
    nwk: bytes
    app: bytes
    delay_s: int = 1
    offset: int = 0
    rx2_rate: int = 0
    rx2_hz: int = RX2_HZ
    rx1_hz: dict = field(default_factory=dict)
    f_cnt_down: int = 0

    def downlink(self, f_cnt, **content):
        """Return a PHYPayload; fields are those of `frames.Content`."""
        return frames.data_down(
            self.dev_addr, self.nwk, self.app, frames.Content(f_cnt=f_cnt, **content)
        )


class Lab:
    """The board of a kind with its laboratory; a context in which the board is on.

    `last` is the frame that was heard last: what is sent, answers it.
    """

    def __init__(self, folder, kind):
        image = flash_image(folder, kind)
        self.rack = Rack(kind, image=image, seed=11, state_dir=folder / "rack", virtual_time=True)
        self.gateway = Gateway(self.rack.air, "laboratory")
        self.link = None
        self.last = None
        self.join_nonce = 0
        self.calm = False  # nothing was changed since the join

    def __enter__(self):
        self.rack.open()
        return self

    def __exit__(self, *_):
        self.rack.close()

    @property
    def engine(self):
        return self.rack.engine

    def said(self, text):
        """Return the lines of the node's log with this in them."""
        return [row for row in self.rack.events.lines if " out " in row and text in row]

    def restarts(self):
        """Return the times at which the node has restarted by itself."""
        rows = [row.split(" ") for row in self.rack.events.lines]
        return [int(row[0]) for row in rows if row[2:] == ["reset", "sw"]]

    # -- the air --------------------------------------------------------------------------------

    def hear(self, timeout_s=900.0):
        """Wait for the next frame and return a JoinRequest or an Up; their MICs are right."""
        self.last = self.gateway.next_uplink(timeout_s)
        phy = self.last.payload
        message = parse(phy)
        if isinstance(message, JoinRequest):
            assert phy[-4:] == crypto.join_mic(KEY, phy[:-4])
            return message
        assert isinstance(message, Data)
        link = self.link
        assert message.dev_addr == link.dev_addr
        frame = True, link.dev_addr, message.f_cnt
        assert phy[-4:] == crypto.data_mic(link.nwk, *frame, phy[:-4])
        payload = crypto.crypt(link.app if message.f_port else link.nwk, *frame, message.payload)
        assert not (message.f_port == 0 and message.f_opts)
        return Up(
            phy,
            message.f_cnt,
            message.f_port,
            payload,
            payload if message.f_port == 0 else message.f_opts,
            message.flags,
            message.mtype is MType.CONFIRMED_UP,
            data_rate(self.last.sf, self.last.bw_hz),
            round(self.last.freq_hz, -3),  # what a synthesizer can do is not exactly the channel
            self.last.frame.power_dbm,
            self.last.start_ns,
            self.last.end_ns,
        )

    def send(self, phy, window=1, *, delay_s=None, late_ms=0, rate=None, freq_hz=None, **other):
        """Send a frame into a window behind the last uplink; what is given differs from it."""
        link, last = self.link, self.last
        if window == 1:
            ours = link.rx1_hz.get(round(last.freq_hz, -3), last.freq_hz)
            fits = max(0, data_rate(last.sf, last.bw_hz) - link.offset)
        else:
            ours, fits = link.rx2_hz, link.rx2_rate
        sf, bw_hz = RATES[fits if rate is None else rate]
        delay_s = (link.delay_s if delay_s is None else delay_s) + window - 1
        fields = {"freq_hz": freq_hz or ours, "sf": sf, "bw_hz": bw_hz, **other}
        at_ns = last.end_ns + round(delay_s * NS + late_ms * NS / 1000)
        return self.gateway.send(phy, at_ns=at_ns, **fields)

    # -- the session ----------------------------------------------------------------------------

    def accept(self, join, *, join_nonce=None, window=1, spoil=False, **fields):
        """Answer a join-request; `fields` are those of `frames.join_accept`, `delay_s` too."""
        self.join_nonce += 1
        nonce = self.join_nonce if join_nonce is None else join_nonce
        granted = {
            "dev_addr": 0x01000000 + self.join_nonce,
            "rx1_dr_offset": 0,
            "rx2_data_rate": 0,
            "delay_s": 1,
            "channels_hz": MORE_CHANNELS_HZ,
            **fields,
        }
        phy = frames.join_accept(KEY, join_nonce=nonce, net_id=0, **granted)
        keys = crypto.session_keys(KEY, nonce, 0, join.dev_nonce)
        self.link = Link(granted["dev_addr"], *keys)
        self.send(frames.spoil_mic(phy) if spoil else phy, window, delay_s=5)
        self.link.delay_s = max(1, granted["delay_s"] & 0x0F)
        self.link.offset = granted["rx1_dr_offset"]
        self.link.rx2_rate = granted["rx2_data_rate"]

    def rejoin(self, **fields):
        """Have the node join anew (DutJoinReq); return its first uplink."""
        self.accept(self.ask_join(), **fields)
        return self.hear()

    def ask_join(self):
        """Have the node join anew, and return its request."""
        self.calm = False
        found = self.ask(PORT, b"\x02")
        if not isinstance(found, JoinRequest):
            found = self.hear()  # an answer was still due
        assert isinstance(found, JoinRequest)
        return found

    def answer(
        self, port=None, payload=b"", options=b"", *, f_cnt=None, window=1, spoil=False, **other
    ):
        """Send a downlink; `other` are flags of `frames.Content`, or fields of `send`."""
        link = self.link
        flags = {
            name: other.pop(name) for name in ("confirmed", "ack", "f_pending") if name in other
        }
        if f_cnt is None:
            f_cnt = link.f_cnt_down
        link.f_cnt_down = max(link.f_cnt_down, f_cnt + 1)
        phy = link.downlink(f_cnt, f_port=port, payload=payload, f_opts=options, **flags)
        self.send(frames.spoil_mic(phy) if spoil else phy, window, **other)

    def ask(self, *args, **kwargs):
        """Send a downlink as `answer` does; return the next frame of the node."""
        self.answer(*args, **kwargs)
        return self.hear()

    def takes(self, **kwargs):
        """Tell whether the node has taken a downlink: it asks for the status."""
        return self.ask(options=DEV_STATUS, **kwargs).commands[:1] == DEV_STATUS

    @staticmethod
    def time(up):
        """Return the answer to a DeviceTimeReq that came with an uplink."""
        seconds, rest = divmod(up.end_ns, NS)
        return request("DeviceTimeAns", gps_s=_START_S + seconds, fraction_s=rest * 256 // NS / 256)

    # -- the node -------------------------------------------------------------------------------

    def settle(self, up):
        """From a start's first uplink on: take all that the node has to say, set its clock.

        From then on it sends each 5 s, without regard of the region's duty cycle.
        """
        wishes = [bytes.fromhex(wish) for wish in ("0500", "0601")]
        while wishes or up.port is not None or up.commands:
            options = self.time(up) if b"\x0d" in up.commands else b""
            up = self.ask(PORT, wishes.pop() if wishes else b"\x00\x00", options)
        return self

"""A device as the network knows it: who it is, its session, and what waits to be sent to it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from citynode.phy.mac import MacCommand
from citynode.virtual.air.network import commands, region
from citynode.virtual.air.network.adr import SAMPLES
from citynode.virtual.air.network.gateways import Heard

_KEPT = 1000


@dataclass(frozen=True)
class Profile:
    """How a device is to be served.

    `channels_hz` are sent in the CFList of the join-accept; `adr` is whether the network adapts the
    rate of a device that asks for it, up to `max_rate`, with `nb_trans` transmissions.
    """

    rx1_delay_s: int = 1
    rx1_dr_offset: int = 0
    rx2_rate: int = region.RX2_RATE
    channels_hz: tuple[int, ...] = region.MORE_CHANNELS_HZ
    adr: bool = True
    max_rate: int = 5
    nb_trans: int = 1


@dataclass(frozen=True)
class Queued:
    """An application's downlink."""

    id: str
    payload: bytes
    f_port: int
    confirmed: bool


@dataclass(frozen=True)
class Crafted:
    """A downlink by hand, for what a network does not do by itself.

    None means as it would be otherwise. `raw` is sent as it is and uses no frame counter; `window`
    is 1 or 2; `f_cnt` does not move the counter unless it is the next one.
    """

    f_port: int | None = None
    payload: bytes = b""
    f_opts: bytes = b""
    confirmed: bool = False
    ack: bool | None = None
    f_pending: bool | None = None
    f_cnt: int | None = None
    wrong_mic: bool = False
    window: int | None = None
    raw: bytes | None = None


@dataclass(frozen=True)
class Received:
    """An uplink that was accepted, once for all the gateways that heard it; `copies` best first."""

    f_cnt: int
    f_port: int | None
    payload: bytes
    confirmed: bool
    adr: bool
    adr_ack_req: bool
    ack: bool
    commands: tuple[MacCommand, ...]
    rate: int
    copies: tuple[Heard, ...]


@dataclass
class Session:
    """What holds from a join on. `f_cnt_up` is the last one heard, `f_cnt_down` the next to use.

    The reception parameters are those that the device has confirmed, `max_rate` and `max_power`
    (an index) what it has not refused. `asked` are requests without
    an answer yet, by the name of their answer.
    """

    dev_addr: int
    nwk_skey: bytes = field(repr=False)
    app_skey: bytes = field(repr=False)
    rx1_delay_s: int
    rx1_dr_offset: int
    rx2_rate: int
    channels_hz: dict[int, int]
    max_rate: int
    max_power: int = region.MAX_POWER_INDEX
    rx2_hz: int = region.RX2_HZ
    rx1_hz: dict[int, int] = field(default_factory=dict)
    f_cnt_up: int = -1
    f_cnt_down: int = 0
    power: int = 0
    nb_trans: int = 1
    adr_rate: int | None = None
    last_phy: bytes = b""
    repeats: int = 0
    snrs_db: deque[float] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    asked: dict[str, list[MacCommand]] = field(default_factory=dict)
    unconfirmed: tuple[str, int] | None = None

    def whole_counter(self, low: int) -> int:
        """Return the counter above the last one that ends in these 16 bits (TS001 4.3.1.5)."""
        return self.f_cnt_up + 1 + (low - self.f_cnt_up - 1) % 0x10000

    @property
    def channel_mask(self) -> int:
        """A bit for each channel."""
        return sum(1 << channel for channel in self.channels_hz)

    def rx1_frequency(self, uplink_hz: int) -> int:
        """Return where RX1 is: on the uplink's channel, unless DlChannelReq moved it."""
        for channel, hz in self.channels_hz.items():
            if hz == uplink_hz:
                return self.rx1_hz.get(channel, hz)
        return uplink_hz


class Device:
    """One end-device, and the knobs that turn what the network does to it.

    `accept_joins` False leaves its join-requests without an answer; `silence` is how many of its
    next uplinks (join-requests too) get none, whatever is due; `wrong_mics` how many of its next
    downlinks are sent with a wrong MIC. `uplinks` are those accepted last, the newest at the end;
    `on_uplink(uplink)` is called for each before it is answered.
    """

    def __init__(
        self,
        dev_eui: bytes,
        join_eui: bytes,
        app_key: bytes,
        *,
        name: str,
        profile: Profile,
        application_id: str,
        next_id: Callable[[], str],
        join_nonce: int = 0,
    ) -> None:
        self.dev_eui = dev_eui
        self.join_eui = join_eui
        self.app_key = app_key
        self.name = name
        self.profile = profile
        self.application_id = application_id
        self.session: Session | None = None
        self.joining: Session | None = None
        self.dev_nonce = -1
        self.join_nonce = join_nonce
        self.accept_joins = True
        self.silence = 0
        self.wrong_mics = 0
        self.queue: deque[Queued] = deque()
        self.requests: deque[bytes] = deque()
        self.crafted: deque[Crafted] = deque()
        self.uplinks: deque[Received] = deque(maxlen=_KEPT)
        self.on_uplink: Callable[[Received], object] = lambda uplink: None
        self._next_id = next_id

    def __repr__(self) -> str:
        return f"Device({self.name!r}, {self.dev_eui.hex()})"

    def enqueue(
        self, payload: bytes, f_port: int = 1, *, confirmed: bool = False, id: str | None = None
    ) -> str:
        """Send a payload when the device next gives the opportunity; return the item's id.

        Raises ValueError for a port that is not 1 to 255, and when a thousand items wait already.
        """
        if len(self.queue) >= _KEPT:
            raise ValueError("the queue is full")
        if not 1 <= f_port <= 255:
            raise ValueError(f"no FPort of an application: {f_port}")
        item = Queued(id or self._next_id(), bytes(payload), f_port, confirmed)
        self.queue.append(item)
        return item.id

    def command(self, name: str, **fields: float) -> None:
        """Send a MAC command with the next downlink, in FOpts or on port 0 as it fits.

        Names and fields are those of `citynode.phy.mac`, as `command("DlChannelReq", channel=3,
        frequency_hz=868_500_000)`. Raises ValueError.
        """
        self.requests.append(commands.write(name, **fields))

    def craft(self, **fields: object) -> None:
        """Answer the next uplink with a downlink by hand; fields are those of `Crafted`."""
        self.crafted.append(Crafted(**fields))  # type: ignore[arg-type]

"""What a join gives and the network changes: keys, counters, channels and radio parameters."""

from node.lorawan.region import CHANNELS
from node.wire.const import const

# Answers are at most what fits into a frame of its own.
MAX_ANSWERS = const(242)
_JOIN_CHANNELS = const(5)
_FREQUENCY_LIST = const(0)
_MAX_AGE_S = const(0x3FFFFFFF)


class Session:
    """The state of an activated device. Frequencies are in Hz, rates are the region's indexes.

    `up_hz[i]` is 0 for a channel that is not defined, `bands[i]` its sub-band; `mask` has a bit
    for each enabled one.
    `fcnt_up` is the next uplink's counter, `fcnt_limit` the first one not yet reserved in what
    is stored, `fcnt_down` the lowest that a downlink may have.
    """

    def __init__(self, region, dev_addr: bytes, nwk_key: bytes, app_key: bytes) -> None:
        self.region = region
        self.dev_addr = dev_addr
        self.nwk_key = nwk_key
        self.app_key = app_key
        self.fcnt_up = 0
        self.fcnt_limit = 0
        self.fcnt_down = 0
        self.age_s = 0
        self.rate = 0
        self.power = 0
        self.nb_trans = 1
        self.max_duty = 0
        self.rx1_offset = 0
        self.rx2_rate = region.rx2_rate
        self.rx2_hz = region.rx2_hz
        self.rx_delay_s = 1
        self.adr_count = 0
        self.adr_steps = 0
        self.ack = False
        self.answers = bytearray()
        self.mask = 0
        self.up_hz = [0] * CHANNELS
        self.down_hz = [0] * CHANNELS
        self.channel_rates = bytearray(CHANNELS)
        self.bands = bytearray(CHANNELS)
        for i in range(len(region.channels_hz)):
            self.define(i, region.channels_hz[i], region.channel_rates)

    def accept(self, frame, rate: int) -> None:
        """Take over a join accept's parameters, and the rate it was asked for with."""
        region = self.region
        self.rate = rate
        self.rx_delay_s = max(1, frame.rx_delay & 0x0F)
        offset = (frame.dl_settings >> 4) & 0x07
        if offset <= region.max_rx1_offset:
            self.rx1_offset = offset
        if frame.dl_settings & 0x0F < len(region.rates):
            self.rx2_rate = frame.dl_settings & 0x0F
        # RP002 section 3.3.1: frequencies of the five channels after the default ones.
        if len(frame.cflist) == 16 and frame.cflist[15] == _FREQUENCY_LIST:
            first = len(region.channels_hz)
            for i in range(_JOIN_CHANNELS):
                hz = frequency_hz(frame.cflist, 3 * i)
                if region.band(hz) >= 0:
                    self.define(first + i, hz, region.channel_rates)

    def define(self, index: int, hz: int, rates: int) -> None:
        """Create or change a channel and enable it; `hz` is in a sub-band, or 0 to remove it."""
        self.up_hz[index] = hz
        self.down_hz[index] = hz
        self.channel_rates[index] = rates
        if hz:
            self.bands[index] = self.region.band(hz)
            self.mask |= 1 << index
        else:
            self.mask &= ~(1 << index)

    def defined(self) -> int:
        """Return the mask of all channels that exist."""
        mask = 0
        for i in range(CHANNELS):
            if self.up_hz[i]:
                mask |= 1 << i
        return mask

    def usable(self, mask: int, rate: int) -> int:
        """Return the channels of `mask` that allow the rate."""
        for i in range(CHANNELS):
            rates = self.channel_rates[i]
            if not self.up_hz[i] or not rates & 0x0F <= rate <= rates >> 4:
                mask &= ~(1 << i)
        return mask

    def enable_defaults(self) -> None:
        """Enable the region's default channels beside those that are enabled."""
        self.mask |= (1 << len(self.region.channels_hz)) - 1

    def settle(self) -> None:
        """Make sure that there is a channel to send on, whatever the network has removed."""
        if not self.usable(self.mask, self.rate):
            self.enable_defaults()
            if not self.usable(self.mask, self.rate):
                self.rate = self.region.channel_rates >> 4

    def grow_older(self, seconds: int) -> None:
        """Let time pass."""
        self.age_s = min(_MAX_AGE_S, self.age_s + seconds)


def frequency_hz(data, at: int) -> int:
    """Return the frequency in three octets, in steps of 100 Hz."""
    return 100 * (data[at] | data[at + 1] << 8 | data[at + 2] << 16)

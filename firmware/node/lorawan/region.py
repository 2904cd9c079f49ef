"""EU863-870 of RP002-1.0.4, as tables, and the time a frame is on the air."""

from node.wire.const import const

CHANNELS = const(16)

_PREAMBLE = const(8)
_HALF_WIDTH_HZ = const(62500)


class Eu868:
    """The region's tables and what is looked up in them. Rates and channels are indexes."""

    # (spreading factor, bandwidth in kHz) of DR0 …; DR7 is FSK, which is not supported.
    rates = ((12, 125), (11, 125), (10, 125), (9, 125), (8, 125), (7, 125), (7, 250))
    # The longest FRMPayload without FOpts: without repeaters, and where one must fit.
    max_payload = (51, 51, 51, 115, 242, 242, 242)
    max_payload_repeater = (51, 51, 51, 115, 222, 222, 222)
    # The rate of RX1 by the uplink's rate and RX1DROffset.
    rx1_rates = (
        b"\x00\x00\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\x00\x00",
        b"\x02\x01\x00\x00\x00\x00",
        b"\x03\x02\x01\x00\x00\x00",
        b"\x04\x03\x02\x01\x00\x00",
        b"\x05\x04\x03\x02\x01\x00",
        b"\x06\x05\x04\x03\x02\x01",
    )
    max_rx1_offset = 5
    rx2_hz = 869525000
    rx2_rate = 0
    # Default and join channels with their rates as MaxDR << 4 | MinDR.
    channels_hz = (868100000, 868300000, 868500000)
    channel_rates = 0x50
    # What the requests of one join use, one after the other and from the start again.
    join_rates = b"\x05\x04\x03\x02\x01\x00"
    max_eirp_dbm = 16
    power_steps = 8
    # (from Hz, to Hz, ms of air time in an hour) of the sub-bands; in the gaps nobody transmits.
    bands = (
        (863000000, 865000000, 3600),
        (865000000, 868000000, 36000),
        (868000000, 868600000, 36000),
        (868700000, 869200000, 3600),
        (869400000, 869650000, 360000),
        (869700000, 870000000, 36000),
    )
    low_hz = 863000000
    high_hz = 870000000

    def band(self, hz: int) -> int:
        """Return the sub-band in which a 125 kHz channel lies whole, or -1."""
        for i in range(len(self.bands)):
            low, high, _ = self.bands[i]
            if low + _HALF_WIDTH_HZ <= hz <= high - _HALF_WIDTH_HZ:
                return i
        return -1

    def hearable(self, hz: int) -> bool:
        """Return whether a downlink may be on that frequency."""
        return self.low_hz + _HALF_WIDTH_HZ <= hz <= self.high_hz - _HALF_WIDTH_HZ

    def airtime_us(self, size: int, rate: int) -> int:
        """Return the microseconds that a PHYPayload of `size` bytes takes as an uplink."""
        sf, bw_khz = self.rates[rate]
        return airtime_us(size, sf, bw_khz)


EU868 = Eu868()


def symbol_us(sf: int, bw_khz: int) -> int:
    """Return the length of a symbol; exact for 125, 250 and 500 kHz."""
    return (1000 << sf) // bw_khz


def airtime_us(size: int, sf: int, bw_khz: int, crc: bool = True) -> int:
    """Return a LoRa frame's time on air (Semtech AN1200.13 section 4), in whole microseconds.

    Eight symbols of preamble, explicit header, coding rate 4/5, low data rate optimisation where
    a symbol takes 16 ms or more. Downlinks have no CRC.
    """
    symbol = symbol_us(sf, bw_khz)
    bits_a_symbol = 4 * (sf - 2 if symbol >= 16000 else sf)
    bits = 8 * size - 4 * sf + 28 + (16 if crc else 0)
    blocks = max(0, -(-bits // bits_a_symbol))
    quarters = 4 * _PREAMBLE + 17 + 4 * (8 + 5 * blocks)
    return quarters * symbol // 4

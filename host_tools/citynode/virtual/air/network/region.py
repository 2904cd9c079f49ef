"""EU863-870 (RP002-1.0.4 section 2.4) as a network needs it."""

# Spreading factor and bandwidth (Hz) of DR0 to DR6; DR7 is FSK, which the air does not carry.
RATES = (
    (12, 125_000), (11, 125_000), (10, 125_000), (9, 125_000), (8, 125_000), (7, 125_000),
    (7, 250_000),
)  # fmt: skip
# The longest application payload without FOpts, no repeater (table 9).
MAX_PAYLOAD = (51, 51, 51, 115, 242, 242, 242)
MAX_RX1_OFFSET = 5
MAX_POWER_INDEX = 7

JOIN_CHANNELS_HZ = (868_100_000, 868_300_000, 868_500_000)
# Five more, as The Things Network and ChirpStack have them.
MORE_CHANNELS_HZ = (867_100_000, 867_300_000, 867_500_000, 867_700_000, 867_900_000)
RX2_HZ = 869_525_000
RX2_RATE = 0
JOIN_DELAY_S = 5

# The demodulator's least signal-to-noise ratio by spreading factor (SX1276 datasheet, table 13).
REQUIRED_SNR_DB = {7: -7.5, 8: -10.0, 9: -12.5, 10: -15.0, 11: -17.5, 12: -20.0}

# Sub-bands (ETSI EN 300 220-2, annex B): from Hz, to Hz, milliseconds on air in an hour, and what
# a gateway sends with (dBm EIRP).
BANDS = (
    (863_000_000, 865_000_000, 3_600, 16),
    (865_000_000, 868_000_000, 36_000, 16),
    (868_000_000, 868_600_000, 36_000, 16),
    (868_700_000, 869_200_000, 3_600, 16),
    (869_400_000, 869_650_000, 360_000, 27),
    (869_700_000, 870_000_000, 36_000, 16),
)


def band(freq_hz: int) -> int | None:
    """Return the index of the sub-band that a frequency is in, if it is in one."""
    return next((i for i, row in enumerate(BANDS) if row[0] <= freq_hz <= row[1]), None)


def data_rate(sf: int, bw_hz: int) -> int | None:
    """Return the data rate of a modulation, if the region has it."""
    return RATES.index((sf, bw_hz)) if (sf, bw_hz) in RATES else None


def rx1_rate(rate: int, offset: int) -> int:
    """Return the data rate of RX1 (table 10)."""
    return max(rate - offset, 0)

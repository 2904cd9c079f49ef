"""LoRa frames: how they are modulated, and their times in whole nanoseconds.

The times are those of Semtech AN1200.13 (SX1276 datasheet rev. 7, section 4.1.1.7) and, for SF5 and
SF6, of the SX1261/2 datasheet rev. 2.1, section 6.1.4. At every bandwidth a chip lasts a whole
number of nanoseconds and a symbol a multiple of four of them, so nothing is ever rounded.
"""

from dataclasses import dataclass
from functools import cached_property

# Nanoseconds of a chip by bandwidth: 500 kHz divided by 64, 48, 32, 24, 16, 12, 8, 4, 2, 1.
CHIP_NS = {
    7_812: 128_000,
    10_417: 96_000,
    15_625: 64_000,
    20_833: 48_000,
    31_250: 32_000,
    41_667: 24_000,
    62_500: 16_000,
    125_000: 8_000,
    250_000: 4_000,
    500_000: 2_000,
}
PUBLIC_SYNC_WORD = 0x34
PRIVATE_SYNC_WORD = 0x12
_LOW_RATE_NS = 16_000_000  # symbols as long as this want the low data rate optimisation (4.1.1.6)
_HEADER_SYMBOLS = 8


@dataclass(frozen=True)
class Modulation:
    """All that a receiver has to agree with to understand a frame.

    `cr` counts the parity bits (1 to 4: 4/5 to 4/8), `preamble` the symbols as they are programmed;
    `ldro` is the low data rate optimisation, as the symbol's length asks for it if None;
    `sync_word` is the single byte of the SX127x. `legacy` is the SF6 of the SX127x, which is not
    that of the SX126x. A bare `carrier` is not to be understood by anybody; it disturbs as chirps
    of its spreading factor do.
    """

    freq_hz: int
    sf: int
    bw_hz: int = 125_000
    cr: int = 1
    preamble: int = 8
    sync_word: int = PUBLIC_SYNC_WORD
    iq_inverted: bool = False
    implicit: bool = False
    crc: bool = True
    ldro: bool | None = None
    legacy: bool = False
    carrier: bool = False

    def __post_init__(self) -> None:
        if self.bw_hz not in CHIP_NS or not 5 <= self.sf <= 12 or not 1 <= self.cr <= 4:
            raise ValueError(f"no LoRa modulation: {self}")

    @cached_property
    def symbol_ns(self) -> int:
        """The length of one symbol."""
        return CHIP_NS[self.bw_hz] << self.sf

    @property
    def wants_low_rate(self) -> bool:
        """Whether symbols of this length want the low data rate optimisation."""
        return self.symbol_ns >= _LOW_RATE_NS

    @property
    def low_rate(self) -> bool:
        """Whether the low data rate optimisation is on."""
        return self.wants_low_rate if self.ldro is None else self.ldro

    @property
    def chirps_ns(self) -> int:
        """The length of the preamble's upchirps, which a receiver detects."""
        return self.preamble * self.symbol_ns

    @property
    def sync_ns(self) -> int:
        """The time from the start to the end of the sync word and the downchirps."""
        quarters = 4 * self.preamble + 17 + (8 if self._modern_short else 0)
        return quarters * self.symbol_ns // 4

    @property
    def header_ns(self) -> int:
        """The time from the start to the end of the eight symbols that carry a header."""
        return self.sync_ns + _HEADER_SYMBOLS * self.symbol_ns

    @property
    def _modern_short(self) -> bool:
        return self.sf <= 6 and not self.legacy

    def payload_symbols(self, length: int) -> int:
        """Return the symbols behind the first eight for a payload of `length` bytes."""
        bits = 8 * length + 16 * self.crc - 4 * self.sf + (0 if self.implicit else 20)
        if not self._modern_short:
            bits += 8
        per_block = 4 * (self.sf - 2 * self.low_rate)
        return max(0, -(-bits // per_block)) * (self.cr + 4)

    def airtime_ns(self, length: int) -> int:
        """Return the time on air of a payload of `length` bytes."""
        return self.header_ns + self.payload_symbols(length) * self.symbol_ns


class Frame:
    """One frame on the air, `number` in the order in which the senders asked for it.

    `start_ns` is the first instant of its preamble, `end_ns` the last of its payload, or earlier
    if the sender gave it up (`cut`). `impairment_db` is what a badly set transmitter costs.
    """

    __slots__ = (
        "cut", "end_ns", "impairment_db", "modulation", "number", "payload", "power_dbm",
        "sender", "start_ns",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        sender: str,
        payload: bytes,
        modulation: Modulation,
        power_dbm: float,
        start_ns: int,
        impairment_db: float = 0.0,
    ) -> None:
        self.number = number
        self.sender = sender
        self.payload = payload
        self.modulation = modulation
        self.power_dbm = power_dbm
        self.start_ns = start_ns
        self.end_ns = start_ns + modulation.airtime_ns(len(payload))
        self.impairment_db = impairment_db
        self.cut = False

    def __repr__(self) -> str:
        m = self.modulation
        return (
            f"Frame({self.number}, {self.sender!r}, {self.payload.hex()}, {m.freq_hz} Hz, "
            f"SF{m.sf}BW{m.bw_hz // 1000}, {self.start_ns}..{self.end_ns})"
        )

    def overlaps(self, start_ns: int, end_ns: int) -> bool:
        """Tell whether the frame is on the air at some time between the two."""
        return self.start_ns < end_ns and start_ns < self.end_ns

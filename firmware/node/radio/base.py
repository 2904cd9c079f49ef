"""What all LoRa radios share: the modulation's times, and waiting for the right instant.

The clock has `ticks_us`, `ticks_diff`, `ticks_add`, `wait_ms` and `wait_us` (which block), and the
coroutine `sleep_ms`. Ticks wrap; a time may be up to 2^29 µs (8.9 minutes) away.
"""

from node.radio import RadioError
from node.wire.const import const

# LoRaWAN (RP002-1.0.4, section 4.1): public sync word, preamble of 8 symbols, coding rate 4/5.
SYNC_WORD = const(0x34)
PREAMBLE = const(8)
# Symbols as long as this want the low data rate optimisation (SX1276 datasheet, 4.1.1.6).
_LOW_RATE_US = const(16000)
_LONGEST = const(255)

# Before the receiver opens: when the chip is set up, when sleeping ends, when ticks are counted.
_SETUP_US = const(50000)
_AWAKE_US = const(2000)
_SPIN_US = const(200)
_LATE_US = const(20000)
# No frame that the receiver catches ends sooner: a preamble's rest, sync word and header.
_SHORTEST = const(12)  # symbols


def symbol_us(sf: int, bw_khz: int) -> int:
    """Return the length of a symbol."""
    return (1000 << sf) // bw_khz


def low_rate(sf: int, bw_khz: int) -> bool:
    """Tell whether the low data rate optimisation is on."""
    return symbol_us(sf, bw_khz) >= _LOW_RATE_US


def airtime_us(sf: int, bw_khz: int, length: int, crc: bool = True) -> int:
    """Return the time on air of `length` bytes (Semtech AN1200.13; explicit header)."""
    bits = 8 * length - 4 * sf + 28 + (16 if crc else 0)
    per_block = 4 * (sf - 2 if low_rate(sf, bw_khz) else sf)
    blocks = -(-bits // per_block) if bits > 0 else 0
    quarters = 4 * (PREAMBLE + 8 + 5 * blocks) + 17
    return quarters * symbol_us(sf, bw_khz) // 4


class Radio:
    """A half-duplex radio; the chip's class says how it is set up, started and asked.

    `MAX_SYMBOLS` is the longest symbol timeout, `_RX_LEAD_US` how long the chip takes from the
    command to the open receiver.
    """

    MAX_SYMBOLS = 0
    _RX_LEAD_US = 0

    def __init__(self, spi, cs, reset, clock) -> None:
        self._spi = spi
        self._cs = cs
        self._nreset = reset
        self._clock = clock

    # -- what the MAC calls ---------------------------------------------------------------------

    def start(self) -> None:
        """Reset the chip, check and calibrate it, and leave it in standby."""
        raise NotImplementedError

    def sleep(self) -> None:
        """Put the chip to sleep; the next `transmit` or `receive` wakes it."""
        raise NotImplementedError

    async def transmit(self, payload, freq_hz: int, sf: int, bw_khz: int, power_dbm: int) -> int:
        """Send a frame with CRC and normal IQ; return the `ticks_us` of its last instant."""
        if not 0 < len(payload) <= _LONGEST:
            raise ValueError("payload")
        _check(freq_hz, sf, bw_khz)
        clock = self._clock
        airtime = airtime_us(sf, bw_khz, len(payload))
        self._set_up_tx(payload, freq_hz, sf, bw_khz, power_dbm)
        try:
            pending = self._start_tx()
            end = clock.ticks_add(pending, airtime)
            # Seen in time by a clock that is off by up to 3 %.
            margin = _AWAKE_US + (airtime >> 5)
            await self._sleep_until(end, margin)
            limit = clock.ticks_add(end, _LATE_US + margin)
            looked = pending
            while not self._sent():
                pending = looked
                if clock.ticks_diff(pending, limit) > 0:
                    raise RadioError("timeout")
                await clock.sleep_ms(1 + (airtime >> 19))
                looked = clock.ticks_us()
            # It ended between the last two looks; the computed instant is the best guess there.
            now = clock.ticks_us()
            if clock.ticks_diff(end, pending) < 0:
                return pending
            return end if clock.ticks_diff(end, now) < 0 else now
        finally:
            self._stand_by()

    async def receive(self, open_at_us: int, freq_hz: int, sf: int, bw_khz: int, symbols: int):
        """Listen once from `open_at_us` (ticks) on for a frame with inverted IQ.

        Gives up when no preamble was found in `symbols` symbols. Returns (payload, RSSI in dBm,
        SNR in dB), or None if there was nothing or its CRC was wrong. Opens at once if it is
        too late to open then.
        """
        if not 0 < symbols <= self.MAX_SYMBOLS:
            raise ValueError("symbols")
        _check(freq_hz, sf, bw_khz)
        clock = self._clock
        await self._sleep_until(open_at_us, _SETUP_US)
        self._set_up_rx(freq_hz, sf, bw_khz, symbols)
        try:
            await self._sleep_until(open_at_us, _AWAKE_US)
            self._spin_until(clock.ticks_add(open_at_us, -self._RX_LEAD_US))
            window = symbols * symbol_us(sf, bw_khz)
            longest = window + airtime_us(sf, bw_khz, _LONGEST)
            limit = clock.ticks_add(clock.ticks_us(), longest + (longest >> 5) + _LATE_US)
            self._start_rx(longest)
            await clock.sleep_ms(min(symbols, _SHORTEST) * symbol_us(sf, bw_khz) // 1000)
            while not self._received():
                if clock.ticks_diff(clock.ticks_us(), limit) > 0:
                    raise RadioError("timeout")
                await clock.sleep_ms(2 + (window >> 13))
            return self._frame()
        finally:
            self._stand_by()

    def start_carrier(self, freq_hz: int, power_dbm: int) -> None:
        """Send a bare carrier until the next `start`, for a test laboratory."""
        raise NotImplementedError

    # -- what the chip's class does -------------------------------------------------------------

    def _set_up_tx(self, payload, freq_hz: int, sf: int, bw_khz: int, power_dbm: int) -> None:
        """Leave the chip ready to send."""
        raise NotImplementedError

    def _start_tx(self) -> int:
        """Start sending; return the ticks of the frame's first instant."""
        raise NotImplementedError

    def _sent(self) -> bool:
        """Tell whether the frame is out."""
        raise NotImplementedError

    def _set_up_rx(self, freq_hz: int, sf: int, bw_khz: int, symbols: int) -> None:
        """Leave the chip ready to receive."""
        raise NotImplementedError

    def _start_rx(self, longest_us: int) -> None:
        """Open the receiver; no reception takes longer than `longest_us`."""
        raise NotImplementedError

    def _received(self) -> bool:
        """Tell whether the reception has ended, in whatever way."""
        raise NotImplementedError

    def _frame(self):
        """Return what was received as `receive` does."""
        raise NotImplementedError

    def _stand_by(self) -> None:
        """Stop whatever is going on."""
        raise NotImplementedError

    # -- time -----------------------------------------------------------------------------------

    async def _sleep_until(self, instant_us: int, early_us: int) -> None:
        """Sleep until `early_us` and at most a millisecond more before an instant."""
        clock = self._clock
        while True:
            left = clock.ticks_diff(instant_us, clock.ticks_us()) - early_us
            if left < 1000:
                return
            await clock.sleep_ms(left // 1000)

    def _spin_until(self, instant_us: int) -> None:
        """Wait for an instant to the microsecond, blocking: for 3 ms at most, as it was slept."""
        clock = self._clock
        left = clock.ticks_diff(instant_us, clock.ticks_us()) - _SPIN_US
        if left > 0:
            clock.wait_us(min(left, _AWAKE_US + 1000))
        while clock.ticks_diff(instant_us, clock.ticks_us()) > 0:
            pass

    def _pulse_reset(self, ready_ms: int) -> None:
        """Reset the chip and wait until it can be ready."""
        self._cs(1)
        self._nreset(0)
        self._clock.wait_ms(1)
        self._nreset(1)
        self._clock.wait_ms(ready_ms)


def check_band(freq_hz: int) -> None:
    """Raise ValueError for a frequency outside of the band the chip is calibrated for."""
    if not 863000000 <= freq_hz <= 870000000:
        raise ValueError("frequency")


def _check(freq_hz: int, sf: int, bw_khz: int) -> None:
    """Raise ValueError for what is no LoRaWAN modulation of that band."""
    check_band(freq_hz)
    if not 7 <= sf <= 12 or bw_khz not in (125, 250, 500):
        raise ValueError("data rate")

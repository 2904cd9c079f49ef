"""Semtech SX1262 (SX1261/2 datasheet rev. 2.1, December 2021), on SPI.

Everything is polled over SPI and BUSY: no DIO line is needed. DIO3 feeds the board's oscillator and
DIO2 moves its antenna switch, where the board has them there.
"""

from node.radio import RadioError
from node.radio.base import PREAMBLE, Radio, check_band, low_rate
from node.wire.const import const

_CLEAR_IRQ_STATUS = const(0x02)
_CLEAR_DEVICE_ERRORS = const(0x07)
_SET_DIO_IRQ_PARAMS = const(0x08)
_WRITE_REGISTER = const(0x0D)
_WRITE_BUFFER = const(0x0E)
_GET_IRQ_STATUS = const(0x12)
_GET_RX_BUFFER_STATUS = const(0x13)
_GET_PACKET_STATUS = const(0x14)
_GET_DEVICE_ERRORS = const(0x17)
_READ_REGISTER = const(0x1D)
_READ_BUFFER = const(0x1E)
_SET_STANDBY = const(0x80)
_SET_RX = const(0x82)
_SET_TX = const(0x83)
_SET_SLEEP = const(0x84)
_SET_TX_CONTINUOUS_WAVE = const(0xD1)
_SET_RF_FREQUENCY = const(0x86)
_CALIBRATE = const(0x89)
_SET_PACKET_TYPE = const(0x8A)
_SET_MODULATION_PARAMS = const(0x8B)
_SET_PACKET_PARAMS = const(0x8C)
_SET_TX_PARAMS = const(0x8E)
_SET_BUFFER_BASE_ADDRESS = const(0x8F)
_SET_PA_CONFIG = const(0x95)
_SET_REGULATOR_MODE = const(0x96)
_SET_DIO3_AS_TCXO_CTRL = const(0x97)
_CALIBRATE_IMAGE = const(0x98)
_SET_DIO2_AS_RF_SWITCH_CTRL = const(0x9D)
_SET_LORA_SYMB_NUM_TIMEOUT = const(0xA0)
_GET_STATUS = const(0xC0)

_REG_SYNCH_TIMEOUT = const(0x0706)
_REG_IQ_POLARITY = const(0x0736)
_REG_SYNC_WORD = const(0x0740)
_REG_TX_MODULATION = const(0x0889)
_REG_RX_GAIN = const(0x08AC)
_REG_TX_CLAMP = const(0x08D8)
_REG_RTC_CONTROL = const(0x0902)
_REG_EVENT_MASK = const(0x0944)

_STANDBY_RC = const(0)
_STANDBY_XOSC = const(1)
_WARM_START = const(0x04)
_DC_DC = const(1)
_LORA = const(1)
_ALL_BLOCKS = const(0x7F)
_IMAGE_863_870 = b"\xd7\xdb"  # table 9-2
_RX_BOOSTED = const(0x96)
_RAMP_200_US = const(4)
_CODING_RATE = const(1)  # 4/5
_SYNC_AFTER_RESET = b"\x14\x24"
_SYNC_PUBLIC = b"\x34\x44"

# Status (table 13-76): chip mode in bits 6:4, command status in bits 3:1.
_MODE_RX = const(5)
_MODE_TX = const(6)
_STATUS_INVALID = const(4)
_STATUS_FAILED = const(5)

_IRQ_TX_DONE = const(0x001)
_IRQ_RX_DONE = const(0x002)
_IRQ_HEADER_ERROR = const(0x020)
_IRQ_CRC_ERROR = const(0x040)
_IRQ_TIMEOUT = const(0x200)
_IRQS = const(0x263)
_ERROR_XOSC = const(0x20)
_ERRORS = const(0x17F)  # all that table 13-86 names

_TCXO_MV = (1600, 1700, 1800, 2200, 2400, 2700, 3000, 3300)
_TCXO_MS = const(5)
# Table 8-1: 3.5 ms from a cold start, 3.5 ms for a calibration, each with the oscillator's start.
_BUSY_US = const(30000)
_READY_MS = const(4)
_CALIBRATE_MS = const(9)


class SX126x(Radio):
    """The chip behind `spi` (machine.SPI, mode 0).

    `cs` and `reset` are output pins, `busy` is an input. `tcxo_mv` is what the board's oscillator
    is fed with from DIO3 (0: there is a crystal), `rf_switch` says whether DIO2 moves the antenna
    switch.
    """

    MAX_SYMBOLS = 248
    _RX_LEAD_US = 62

    def __init__(
        self, spi, cs, reset, busy, clock, tcxo_mv: int = 0, rf_switch: bool = False
    ) -> None:
        super().__init__(spi, cs, reset, clock)
        self._busy = busy
        self._tcxo = 0
        while tcxo_mv and _TCXO_MV[self._tcxo] != tcxo_mv:
            self._tcxo += 1
            if self._tcxo == len(_TCXO_MV):
                raise ValueError("tcxo_mv")
        self._has_tcxo = bool(tcxo_mv)
        self._rf_switch = rf_switch
        self._asleep = False
        self._out = bytearray(9)
        self._in = bytearray(9)
        self._views = [(memoryview(self._out)[:n], memoryview(self._in)[:n]) for n in range(10)]
        self._payload = bytearray(255)
        self._view = memoryview(self._payload)
        self.start()

    def start(self) -> None:
        """Reset the chip, check and calibrate it, and leave it in standby."""
        self._asleep = False
        self._pulse_reset(_READY_MS)
        sync = self._registers(_REG_SYNC_WORD, 2)
        if sync[0] != _SYNC_AFTER_RESET[0] or sync[1] != _SYNC_AFTER_RESET[1]:
            raise RadioError("id")
        self._command(_SET_STANDBY, _STANDBY_RC)
        self._command(_SET_REGULATOR_MODE, _DC_DC)
        if self._has_tcxo:
            steps = _TCXO_MS * 64
            self._command(_SET_DIO3_AS_TCXO_CTRL, self._tcxo, 0, steps >> 8, steps & 0xFF)
        # The start-up has calibrated without the oscillator (section 13.3.6).
        self._command(_CLEAR_DEVICE_ERRORS, 0, 0)
        self._command(_CALIBRATE, _ALL_BLOCKS)
        self._clock.wait_ms(_CALIBRATE_MS)
        self._command(_CALIBRATE_IMAGE, _IMAGE_863_870[0], _IMAGE_863_870[1])
        self._clock.wait_ms(_CALIBRATE_MS)
        errors = self._get(_GET_DEVICE_ERRORS, 2)
        found = ((errors[0] << 8) | errors[1]) & _ERRORS
        if found:
            raise RadioError("oscillator" if found & _ERROR_XOSC else "calibration")
        if self._rf_switch:
            self._command(_SET_DIO2_AS_RF_SWITCH_CTRL, 1)
        self._command(_SET_PACKET_TYPE, _LORA)
        self._write(_REG_SYNC_WORD, _SYNC_PUBLIC[0], _SYNC_PUBLIC[1])
        # What else is in the registers whose bits sections 15.1, 15.2 and 15.4 change.
        self._modulation = self._registers(_REG_TX_MODULATION, 1)[0]
        self._clamp = self._registers(_REG_TX_CLAMP, 1)[0]
        self._polarity = self._registers(_REG_IQ_POLARITY, 1)[0]
        self._command(_SET_BUFFER_BASE_ADDRESS, 0, 0)
        self._command(_SET_PA_CONFIG, 4, 7, 0, 1)  # up to 22 dBm (table 13-21)
        self._command(_SET_DIO_IRQ_PARAMS, _IRQS >> 8, _IRQS & 0xFF, 0, 0, 0, 0, 0, 0)
        self._check()

    def sleep(self) -> None:
        """Put the chip to sleep; it keeps its settings."""
        if not self._asleep:
            self._command(_SET_STANDBY, _STANDBY_RC)
            self._command(_SET_SLEEP, _WARM_START)
            self._asleep = True

    # -- sending --------------------------------------------------------------------------------

    def _set_up_tx(self, payload, freq_hz: int, sf: int, bw_khz: int, power_dbm: int) -> None:
        self._set_up(freq_hz, sf, bw_khz, len(payload), False)
        # Section 15.1: modulation quality with 500 kHz; 15.2: resistance to a mismatched antenna.
        modulation = self._modulation & ~0x04 if bw_khz == 500 else self._modulation | 0x04
        self._write(_REG_TX_MODULATION, modulation)
        self._set_power(power_dbm)
        self._wait_ready()
        self._out[0] = _WRITE_BUFFER
        self._out[1] = 0
        self._cs(0)
        self._spi.write(self._views[2][0])
        self._spi.write(payload)
        self._cs(1)
        self._check()

    def _set_power(self, power_dbm: int) -> None:
        self._write(_REG_TX_CLAMP, self._clamp | 0x1E)
        power = min(max(power_dbm, -9), 22)
        self._command(_SET_TX_PARAMS, power & 0xFF, _RAMP_200_US)

    def start_carrier(self, freq_hz: int, power_dbm: int) -> None:
        """Send a bare carrier until the next `start` (section 13.1.14)."""
        check_band(freq_hz)
        self._set_up(freq_hz, 7, 125, 1, False)
        self._set_power(power_dbm)
        self._command(_SET_TX_CONTINUOUS_WAVE)
        self._wait_ready()
        self._check_mode(_MODE_TX)

    def _start_tx(self) -> int:
        self._command(_SET_TX, 0, 0, 0)
        # BUSY falls when the amplifier is up and the preamble begins (section 8.3.1).
        self._wait_ready()
        start = self._clock.ticks_us()
        self._check_mode(_MODE_TX)
        return start

    def _sent(self) -> bool:
        return bool(self._irqs() & _IRQ_TX_DONE)

    # -- receiving ------------------------------------------------------------------------------

    def _set_up_rx(self, freq_hz: int, sf: int, bw_khz: int, symbols: int) -> None:
        self._set_up(freq_hz, sf, bw_khz, 255, True)
        self._write(_REG_RX_GAIN, _RX_BOOSTED)
        # Section 13.4.9: mantissa and exponent of the timeout, in the register too.
        mantissa, exponent = (symbols + 1) >> 1, 0
        while mantissa > 31:
            mantissa = (mantissa + 3) >> 2
            exponent += 1
        self._command(_SET_LORA_SYMB_NUM_TIMEOUT, mantissa << (2 * exponent + 1))
        self._write(_REG_SYNCH_TIMEOUT, exponent | (mantissa << 3))
        self._check()

    def _start_rx(self, longest_us: int) -> None:
        # In steps of 15.625 µs: ends a reception that locked on noise.
        steps = min(longest_us * 8 // 125 + 64, 0xFFFFFE)
        self._command(_SET_RX, steps >> 16, (steps >> 8) & 0xFF, steps & 0xFF)
        self._check_mode(_MODE_RX)

    def _received(self) -> bool:
        self._flags = self._irqs()
        return bool(self._flags & (_IRQ_RX_DONE | _IRQ_TIMEOUT | _IRQ_HEADER_ERROR))

    def _frame(self):
        # Section 15.3: after a reception with a timeout, stop its timer and clear its event.
        self._write(_REG_RTC_CONTROL, 0)
        self._write(_REG_EVENT_MASK, self._registers(_REG_EVENT_MASK, 1)[0] | 0x02)
        if self._flags & (_IRQS & ~_IRQ_TX_DONE) != _IRQ_RX_DONE:
            return None
        status = self._get(_GET_RX_BUFFER_STATUS, 2)
        length, start = status[0], status[1]
        self._wait_ready()
        self._out[0] = _READ_BUFFER
        self._out[1] = start
        self._out[2] = 0
        payload = self._view[:length]
        self._cs(0)
        self._spi.write(self._views[3][0])
        self._spi.readinto(payload)
        self._cs(1)
        status = self._get(_GET_PACKET_STATUS, 3)
        snr = status[1] - 256 if status[1] & 0x80 else status[1]
        return bytes(payload), -(status[0] >> 1), snr / 4

    # -- both -----------------------------------------------------------------------------------

    def _set_up(self, freq_hz: int, sf: int, bw_khz: int, length: int, inverted: bool) -> None:
        self._wake()
        # The oscillator runs from here on: its start would make the receiver late.
        self._command(_SET_STANDBY, _STANDBY_XOSC)
        if self._has_tcxo:
            self._clock.wait_ms(_TCXO_MS)
        self._command(_CLEAR_IRQ_STATUS, 0xFF, 0xFF)
        # Steps of 32 MHz / 2^25 = 15625 Hz / 16384, in integers of 31 bits.
        steps = freq_hz // 15625 * 16384 + freq_hz % 15625 * 16384 // 15625
        self._command(
            _SET_RF_FREQUENCY,
            steps >> 24,
            (steps >> 16) & 0xFF,
            (steps >> 8) & 0xFF,
            steps & 0xFF,
        )
        bandwidth = 4 if bw_khz == 125 else 5 if bw_khz == 250 else 6
        slow = 1 if low_rate(sf, bw_khz) else 0
        self._command(_SET_MODULATION_PARAMS, sf, bandwidth, _CODING_RATE, slow)
        # Explicit header; CRC on: what is received says so itself in its header.
        iq = 1 if inverted else 0
        self._command(_SET_PACKET_PARAMS, 0, PREAMBLE, 0, length, 1, iq)
        # Section 15.4: the polarity, after each SetPacketParams.
        polarity = self._polarity & ~0x04 if inverted else self._polarity | 0x04
        self._write(_REG_IQ_POLARITY, polarity)

    def _stand_by(self) -> None:
        self._command(_SET_STANDBY, _STANDBY_RC)

    def _wake(self) -> None:
        """Wake the chip: the falling edge of the select line does it (section 9.3)."""
        if self._asleep:
            self._asleep = False
            self._cs(0)
            self._clock.wait_ms(1)
            self._cs(1)

    def _irqs(self) -> int:
        irqs = self._get(_GET_IRQ_STATUS, 2)
        return (irqs[0] << 8) | irqs[1]

    def _status(self) -> int:
        return self._transfer(2, _GET_STATUS)[1]

    def _check(self) -> None:
        """Raise RadioError if the last command was refused."""
        if self._status() >> 1 & 7 in (_STATUS_INVALID, _STATUS_FAILED):
            raise RadioError("command")

    def _check_mode(self, mode: int) -> None:
        """Raise RadioError unless the chip is in a mode, or already through with it."""
        if self._status() >> 4 & 7 != mode and not self._irqs():
            raise RadioError("command")

    def _wait_ready(self) -> None:
        """Wait for BUSY to fall."""
        if not self._busy():
            return
        clock = self._clock
        start = clock.ticks_us()
        while self._busy():
            waited = clock.ticks_diff(clock.ticks_us(), start)
            if waited > _BUSY_US:
                raise RadioError("busy")
            clock.wait_us(20 if waited < 1000 else 500)

    def _transfer(self, length: int, *head: int):
        """Send `head` filled up with zeros to `length` bytes; return what came (until the next)."""
        self._wait_ready()
        out, answer = self._views[length]
        for i in range(length):
            out[i] = head[i] if i < len(head) else 0
        self._cs(0)
        self._spi.write_readinto(out, answer)
        self._cs(1)
        return answer

    def _command(self, *parts: int) -> None:
        self._wait_ready()
        out = self._views[len(parts)][0]
        for i in range(len(parts)):
            out[i] = parts[i]
        self._cs(0)
        self._spi.write(out)
        self._cs(1)

    def _get(self, opcode: int, count: int):
        return self._transfer(2 + count, opcode)[2:]

    def _registers(self, address: int, count: int):
        return self._transfer(4 + count, _READ_REGISTER, address >> 8, address & 0xFF)[4:]

    def _write(self, address: int, *values: int) -> None:
        self._command(_WRITE_REGISTER, address >> 8, address & 0xFF, *values)


DRIVER = SX126x

"""Semtech SX1276 (SX1276/77/78/79 datasheet rev. 7, May 2020; errata note rev. 1), on SPI.

For boards whose antenna is on PA_BOOST. Everything is polled over SPI: no DIO line is needed.
"""

from node.radio import RadioError
from node.radio.base import PREAMBLE, SYNC_WORD, Radio, check_band, low_rate
from node.wire.const import const

_REG_FIFO = const(0x00)
_REG_OP_MODE = const(0x01)
_REG_FDEV = const(0x04)
_REG_FRF = const(0x06)
_REG_PA_CONFIG = const(0x09)
_REG_LNA = const(0x0C)
_REG_FIFO_ADDR_PTR = const(0x0D)
_REG_FIFO_TX_BASE = const(0x0E)
_REG_FIFO_RX_CURRENT = const(0x10)
_REG_IRQ_FLAGS = const(0x12)
_REG_RX_NB_BYTES = const(0x13)
_REG_PKT_SNR = const(0x19)
_REG_PKT_RSSI = const(0x1A)
_REG_MODEM_CONFIG_1 = const(0x1D)
_REG_MODEM_CONFIG_2 = const(0x1E)
_REG_MODEM_CONFIG_3 = const(0x26)
_REG_IF_FREQ_2 = const(0x2F)
_REG_DETECT_OPTIMIZE = const(0x31)
_REG_PACKET_CONFIG_2 = const(0x31)  # while on the FSK side
_REG_INVERT_IQ = const(0x33)
_REG_HIGH_BW_1 = const(0x36)
_REG_SYNC_WORD = const(0x39)
_REG_HIGH_BW_2 = const(0x3A)
_REG_INVERT_IQ_2 = const(0x3B)
_REG_IMAGE_CAL = const(0x3B)  # while on the FSK side
_REG_VERSION = const(0x42)
_REG_PA_DAC = const(0x4D)

_VERSION = const(0x12)
_WRITE = const(0x80)
_FSK_SLEEP = const(0x00)
_FSK_STANDBY = const(0x01)
_FSK_TX = const(0x03)
_SLEEP = const(0x80)
_STANDBY = const(0x81)
_TX = const(0x83)
_RX_SINGLE = const(0x86)

_IRQ_RX_TIMEOUT = const(0x80)
_IRQ_RX_DONE = const(0x40)
_IRQ_CRC_ERROR = const(0x20)
_IRQ_VALID_HEADER = const(0x10)
_IRQ_TX_DONE = const(0x08)

_IMAGE_CAL_START = const(0x40)
_IMAGE_CAL_RUNNING = const(0x20)
_CALIBRATE_HZ = const(866500000)  # the middle of 863 to 870 MHz
_CALIBRATE_MS = const(10)  # section 2.1.3.8
_POLLS = const(20)
_READY_MS = const(6)  # 5 ms after a reset (section 7.2.2)

_CODING_RATE = const(1)  # 4/5
_CRC_ON = const(0x04)
_AGC_ON = const(0x04)
_LOW_RATE_ON = const(0x08)
_LNA = const(0x23)  # highest gain, boosted
_RAMP_40_US = const(0x09)
_LONGEST = const(255)
# The bit for the transmitter is the other way round than the datasheet has it: 1 is not inverted
# (Semtech's LoRaMac-node, sx1276.c).
_IQ_NORMAL = const(0x27)
_IQ_RX_INVERTED = const(0x67)
_IQ_2_NORMAL = const(0x1D)
_IQ_2_INVERTED = const(0x19)

# From the mode's command to the signal: synthesizer 60 µs, then the ramp of 40 µs as section 4.2.5
# counts it; the receiver takes 71 µs.
_TX_START_US = const(115)
_RSSI_OFFSET = const(-157)  # high frequency port (section 5.5.5)


class SX127x(Radio):
    """The chip behind `spi` (machine.SPI, mode 0); `cs` and `reset` are output pins."""

    MAX_SYMBOLS = 1023
    _RX_LEAD_US = 131

    def __init__(self, spi, cs, reset, clock) -> None:
        super().__init__(spi, cs, reset, clock)
        out, answer = memoryview(bytearray(7)), memoryview(bytearray(7))
        self._views = [(out[:n], answer[:n]) for n in range(8)]
        self._address = bytearray(1)
        self._payload = bytearray(255)
        self._view = memoryview(self._payload)
        self.start()

    def start(self) -> None:
        """Reset the chip, check and calibrate it, and leave it asleep with LoRa on."""
        self._pulse_reset(_READY_MS)
        if self._read(_REG_VERSION) != _VERSION:
            raise RadioError("id")
        self._calibrate()
        # The modem can be changed in sleep mode only (section 4.1.3).
        self._write(_REG_OP_MODE, _FSK_SLEEP)
        self._write(_REG_OP_MODE, _SLEEP)
        if self._read(_REG_OP_MODE) != _SLEEP:
            raise RadioError("command")
        self._write(_REG_LNA, _LNA)
        self._write(_REG_FIFO_TX_BASE, 0, 0)
        self._write(_REG_SYNC_WORD, SYNC_WORD)

    def sleep(self) -> None:
        """Put the chip to sleep; it keeps its registers."""
        self._write(_REG_OP_MODE, _SLEEP)

    def _calibrate(self) -> None:
        """Calibrate image rejection and RSSI for the band, in FSK standby (section 2.1.3.8)."""
        self._write(_REG_PA_CONFIG, 0)
        self._write(_REG_OP_MODE, _FSK_STANDBY)
        self._tune(_CALIBRATE_HZ)
        self._write(_REG_IMAGE_CAL, _IMAGE_CAL_START | self._read(_REG_IMAGE_CAL))
        self._clock.wait_ms(_CALIBRATE_MS)
        for _ in range(_POLLS):
            if not self._read(_REG_IMAGE_CAL) & _IMAGE_CAL_RUNNING:
                return
            self._clock.wait_ms(1)
        raise RadioError("calibration")

    # -- sending --------------------------------------------------------------------------------

    def _set_up_tx(self, payload, freq_hz: int, sf: int, bw_khz: int, power_dbm: int) -> None:
        self._set_up(freq_hz, sf, bw_khz, _CRC_ON, 0, len(payload))
        self._write(_REG_INVERT_IQ, _IQ_NORMAL)
        self._write(_REG_INVERT_IQ_2, _IQ_2_NORMAL)
        self._set_power(power_dbm)
        self._write(_REG_FIFO_ADDR_PTR, 0)
        self._address[0] = _REG_FIFO | _WRITE
        self._cs(0)
        self._spi.write(self._address)
        self._spi.write(payload)
        self._cs(1)

    def _set_power(self, power_dbm: int) -> None:
        # 2 to 17 dBm, or up to 20 dBm with the high power option (sections 5.4.2 to 5.4.4).
        power = min(max(power_dbm, 2), 20)
        high = power > 17
        self._write(_REG_PA_DAC, 0x87 if high else 0x84)
        config = 0xF0 | (power - 5 if high else power - 2)
        self._write(_REG_PA_CONFIG, config, _RAMP_40_US, 0x31 if high else 0x2B)  # 140, 100 mA

    def start_carrier(self, freq_hz: int, power_dbm: int) -> None:
        """Send a bare carrier until the next `start`: FSK in continuous mode, no deviation."""
        check_band(freq_hz)
        self._write(_REG_OP_MODE, _SLEEP)
        self._write(_REG_OP_MODE, _FSK_SLEEP)
        self._write(_REG_OP_MODE, _FSK_STANDBY)
        self._tune(freq_hz)
        self._set_power(power_dbm)
        self._write(_REG_FDEV, 0, 0)
        self._write(_REG_PACKET_CONFIG_2, 0)
        self._write(_REG_OP_MODE, _FSK_TX)
        if self._read(_REG_OP_MODE) != _FSK_TX:
            raise RadioError("command")

    def _start_tx(self) -> int:
        self._write(_REG_OP_MODE, _TX)
        return self._clock.ticks_add(self._clock.ticks_us(), _TX_START_US)

    def _sent(self) -> bool:
        return bool(self._read(_REG_IRQ_FLAGS) & _IRQ_TX_DONE)

    # -- receiving ------------------------------------------------------------------------------

    def _set_up_rx(self, freq_hz: int, sf: int, bw_khz: int, symbols: int) -> None:
        self._set_up(freq_hz, sf, bw_khz, symbols >> 8, symbols & 0xFF, _LONGEST)
        # Errata note 2.3: spurious receptions, unless the intermediate frequency is set by hand.
        if bw_khz == 500:
            self._write(_REG_DETECT_OPTIMIZE, 0xC3)
        else:
            self._write(_REG_IF_FREQ_2, 0x40, 0x00, 0x43)
        self._write(_REG_INVERT_IQ, _IQ_RX_INVERTED)
        self._write(_REG_INVERT_IQ_2, _IQ_2_INVERTED)

    def _start_rx(self, longest_us: int) -> None:
        self._write(_REG_OP_MODE, _RX_SINGLE)

    def _received(self) -> bool:
        self._flags = self._read(_REG_IRQ_FLAGS)
        return bool(self._flags & (_IRQ_RX_DONE | _IRQ_RX_TIMEOUT))

    def _frame(self):
        wanted = _IRQ_RX_DONE | _IRQ_VALID_HEADER
        if self._flags & (wanted | _IRQ_CRC_ERROR | _IRQ_RX_TIMEOUT) != wanted:
            return None
        length = self._read(_REG_RX_NB_BYTES)
        self._write(_REG_FIFO_ADDR_PTR, self._read(_REG_FIFO_RX_CURRENT))
        payload = self._view[:length]
        self._address[0] = _REG_FIFO
        self._cs(0)
        self._spi.write(self._address)
        self._spi.readinto(payload)
        self._cs(1)
        snr = self._read(_REG_PKT_SNR)
        if snr & 0x80:
            snr -= 256
        rssi = self._read(_REG_PKT_RSSI)
        # Section 5.5.5: below the noise the register has the noise, and its slope is another.
        rssi = rssi + snr // 4 if snr < 0 else rssi * 16 // 15
        return bytes(payload), _RSSI_OFFSET + rssi, snr / 4

    # -- both -----------------------------------------------------------------------------------

    def _set_up(
        self, freq_hz: int, sf: int, bw_khz: int, config_2: int, timeout: int, length: int
    ) -> None:
        self._stand_by()
        # After a brown-out it is on the FSK side again, where these registers are others.
        if self._read(_REG_OP_MODE) != _STANDBY:
            raise RadioError("command")
        self._write(_REG_IRQ_FLAGS, 0xFF)
        self._tune(freq_hz)
        bandwidth = 7 if bw_khz == 125 else 8 if bw_khz == 250 else 9
        config_1 = (bandwidth << 4) | (_CODING_RATE << 1)
        config_2 |= sf << 4
        self._write(_REG_MODEM_CONFIG_1, config_1, config_2, timeout, 0, PREAMBLE, length)
        slow = _LOW_RATE_ON if low_rate(sf, bw_khz) else 0
        self._write(_REG_MODEM_CONFIG_3, _AGC_ON | slow)
        # Errata note 2.1: sensitivity with 500 kHz; otherwise the chip chooses the second value.
        self._write(_REG_HIGH_BW_1, 0x02 if bw_khz == 500 else 0x03)
        if bw_khz == 500:
            self._write(_REG_HIGH_BW_2, 0x64)

    def _stand_by(self) -> None:
        self._write(_REG_OP_MODE, _STANDBY)

    def _tune(self, freq_hz: int) -> None:
        # Steps of 32 MHz / 2^19 = 15625 Hz / 256, in integers of 31 bits.
        steps = freq_hz // 15625 * 256 + freq_hz % 15625 * 256 // 15625
        self._write(_REG_FRF, steps >> 16, (steps >> 8) & 0xFF, steps & 0xFF)

    def _read(self, register: int) -> int:
        out, answer = self._views[2]
        out[0] = register
        out[1] = 0
        self._cs(0)
        self._spi.write_readinto(out, answer)
        self._cs(1)
        return answer[1]

    def _write(self, register: int, *values: int) -> None:
        """Write a register and those behind it."""
        out = self._views[1 + len(values)][0]
        out[0] = register | _WRITE
        for i, value in enumerate(values, 1):
            out[i] = value
        self._cs(0)
        self._spi.write(out)
        self._cs(1)


DRIVER = SX127x

"""Semtech SX1276: LoRa modem (SX1276/77/78/79 datasheet rev. 7, errata note rev. 1), on SPI.

The LoRa side is whole but for frequency hopping and continuous transmission. The FSK side has its
registers with their defaults and calibrates the receiver; it sends a bare carrier (continuous mode
without deviation), and hears nothing.
"""

from dataclasses import replace

from citynode.virtual.air.frames import Modulation
from citynode.virtual.air.medium import Air
from citynode.virtual.air.stations import Reception
from citynode.virtual.chips import sx1276_registers as reg
from citynode.virtual.chips.lora import CRYSTAL_HZ, ERRATUM_DB, MS, UNCONNECTED_DB, US, LoRaRadio

_RESET_NS = 5 * MS  # section 7.2.2
_OSCILLATOR_NS, _SYNTHESIZER_NS = 250 * US, 60 * US  # TS_OSC, TS_FS (table 7)
_RECEIVER_NS = 71 * US  # TS_RE at 125 kHz (section 4.2.5.2)
_RAMP_US = (3400, 2000, 1000, 500, 250, 125, 100, 62, 50, 40, 31, 25, 20, 15, 12, 10)
_CALIBRATION_NS = 10 * MS  # section 2.1.3.8
_NOISE_FIGURE_DB = 7.0  # at the highest gain of the amplifier (section 5.5.3)
_HIGH_BAND_HZ = 779_000_000


class SX1276(LoRaRadio):
    """The chip on a board whose antenna hangs on PA_BOOST.

    `calibrated_hz` is where the receiver was last calibrated; the start-up does it at 434 MHz.
    """

    def __init__(self, air: Air, name: str) -> None:
        super().__init__(air, name)
        self._rng = air.engine.rng(f"sx1276 {name}")
        self._address: int | None = None
        self.power_up()

    def power_up(self) -> None:
        """Start from the reset values, on the FSK side."""
        self.quiet()
        self._ready_ns = self.now_ns() + _RESET_NS
        self._common = _filled(reg.COMMON_RESET)
        self._fsk = _filled(reg.FSK_RESET)
        self._lora = _filled(reg.LORA_RESET)
        self._fifo = bytearray(256)
        self._flags = 0
        self._signal = 0  # the low bits of the modem's status
        self._rx_pointer = 0
        self._expired = False
        self._calibrating_ns = 0
        self.calibrated_hz = 434_000_000
        self._lines_changed()

    # -- SPI ------------------------------------------------------------------------------------

    def select(self) -> None:
        """Expect an address."""
        self._address = None

    def deselect(self) -> None:
        """End a burst."""

    def transfer(self, byte: int) -> int:
        """Take an address, then write or read on from it (section 2.2); the FIFO's stays."""
        if self._held or "dead" in self.faults or self.now_ns() < self._ready_ns:
            return 0
        if self._address is None:
            self._address = byte
            return 0
        write, register = self._address & 0x80, self._address & 0x7F
        value = 0 if write else self._load(register)
        if write:
            self._store(register, byte)
        if register != reg.FIFO:
            self._address = write | register + 1 & 0x7F
        return value

    # -- registers ------------------------------------------------------------------------------

    @property
    def _mode(self) -> int:
        return self._common[reg.OP_MODE] & 7

    @property
    def _on_lora(self) -> bool:
        return bool(self._common[reg.OP_MODE] & reg.LORA)

    def _bank(self, register: int) -> bytearray:
        if register not in reg.BANKED:
            return self._common
        shared = self._common[reg.OP_MODE] & reg.SHARED
        return self._lora if self._on_lora and not shared else self._fsk

    def _load(self, register: int) -> int:
        if register == reg.FIFO:
            return self._fifo[self._step_fifo()] if self._fifo_open() else 0
        bank = self._bank(register)
        if bank is self._lora:
            if register == reg.IRQ_FLAGS:
                return self._flags
            if register == reg.MODEM_STAT:
                return bank[register] & 0xE0 | (self._signal or 0x10)
            if register == reg.RSSI:
                return self._rssi_register()
            if register == reg.RSSI_WIDEBAND:
                return self._rng.randrange(256) if self._tuning else 0
        elif bank is self._fsk:
            if register == reg.IMAGE_CAL:
                return bank[register] | (0x20 if self.now_ns() < self._calibrating_ns else 0)
            if register == reg.IRQ_FLAGS_1:
                return 0x80  # ModeReady
        return bank[register]

    def _store(self, register: int, value: int) -> None:
        if register == reg.FIFO:
            if self._fifo_open():
                self._fifo[self._step_fifo()] = value
            return
        bank = self._bank(register)
        if register == reg.OP_MODE:
            self._set_mode(value)
        elif bank is self._lora and register == reg.IRQ_FLAGS:
            self._flags &= ~value
        elif bank is self._fsk and register == reg.IMAGE_CAL:
            self._calibrate(value)
        elif register != reg.VERSION and not (bank is self._lora and register in reg.READ_ONLY):
            bank[register] = value
        if register in reg.MOVE_LINES:
            self._lines_changed()

    def _fifo_open(self) -> bool:
        """Tell whether the FIFO can be reached: not in sleep mode (section 4.1.2.3)."""
        return self._on_lora and self._mode != reg.SLEEP

    def _step_fifo(self) -> int:
        pointer = self._lora[reg.FIFO_ADDR_PTR]
        self._lora[reg.FIFO_ADDR_PTR] = pointer + 1 & 0xFF
        return pointer

    def _calibrate(self, value: int) -> None:
        """Start the calibration of image rejection and RSSI: in FSK standby only (2.1.3.8)."""
        self._fsk[reg.IMAGE_CAL] = value & ~0x60
        if value & 0x40 and not self._on_lora and self._mode == reg.STDBY:
            self._calibrating_ns = self.now_ns() + _CALIBRATION_NS
            self.calibrated_hz = self._freq_hz()

    # -- lines ----------------------------------------------------------------------------------

    def line(self, name: str) -> int:
        """Return the level of "dio0" to "dio5"."""
        number = int(name[3:])
        if not self._on_lora or number > 4:
            return 0
        register = reg.DIO_MAPPING_1 if number < 4 else reg.DIO_MAPPING_2
        mapping = self._common[register] >> 6 - 2 * (number % 4) & 3
        return int(bool(self._flags & reg.DIO_FLAGS[number][mapping]))

    def _lines_changed(self) -> None:
        for number in range(6):
            self.on_line(f"dio{number}")

    def _raise(self, flags: int) -> None:
        """Set flags that are not masked: masked ones do not show at all (table 85, 0x11)."""
        self._flags |= flags & ~self._lora[reg.IRQ_MASK]
        self._lines_changed()

    # -- modes ----------------------------------------------------------------------------------

    def _set_mode(self, value: int) -> None:
        """Go into a mode; the modem can be changed on the way to sleep and out of it."""
        old = self._common[reg.OP_MODE]
        mode = value & 7
        if reg.SLEEP not in (old & 7, mode):
            value = value & ~reg.LORA | old & reg.LORA
        self._common[reg.OP_MODE] = value
        if mode == old & 7 and not (value ^ old) & reg.LORA:
            return
        start = self.now_ns() + (_OSCILLATOR_NS if old & 7 == reg.SLEEP else 0)
        self.quiet()
        self._signal = 0
        if not value & reg.LORA:
            if mode == reg.TX:
                self._start_carrier(start + _SYNTHESIZER_NS)
            return
        if mode == reg.SLEEP:
            self._fifo = bytearray(256)
            self._lora[reg.RX_HEADER_CNT : reg.RX_PACKET_CNT + 2] = bytes(4)
        elif mode == reg.TX:
            ramp_us = _RAMP_US[self._common[reg.PA_RAMP] & 15]
            self._start_tx(start + _SYNTHESIZER_NS + (5 + ramp_us * 5 // 4) * US)
        elif mode in (reg.RX_CONTINUOUS, reg.RX_SINGLE):
            self._start_rx(start + _SYNTHESIZER_NS + _RECEIVER_NS)
        elif mode == reg.CAD:
            self._start_cad(start + _SYNTHESIZER_NS + _RECEIVER_NS)

    def _stand_by(self, flags: int) -> None:
        """End what was going on by itself."""
        self._common[reg.OP_MODE] = self._common[reg.OP_MODE] & ~7 | reg.STDBY
        self._frame = None
        self.quiet()
        self._signal = 0
        self._raise(flags)

    def _freq_hz(self) -> int:
        frf = int.from_bytes(self._common[reg.FRF : reg.FRF + 3], "big")
        return (frf * CRYSTAL_HZ + (1 << 18)) >> 19

    def _modulation(self) -> Modulation | None:
        """Return what the registers say, None where they make no sense."""
        r = self._lora
        sf, bw = r[reg.MODEM_CONFIG_2] >> 4, r[reg.MODEM_CONFIG_1] >> 4
        cr, implicit = r[reg.MODEM_CONFIG_1] >> 1 & 7, bool(r[reg.MODEM_CONFIG_1] & 1)
        if not 6 <= sf <= 12 or bw >= len(reg.BANDWIDTHS) or not 1 <= cr <= 4:
            return None
        if sf == 6 and not implicit:  # section 4.1.1.2
            return None
        return Modulation(
            freq_hz=self._freq_hz(),
            sf=sf,
            bw_hz=reg.BANDWIDTHS[bw],
            cr=cr,
            preamble=int.from_bytes(r[reg.PREAMBLE : reg.PREAMBLE + 2], "big"),
            sync_word=r[reg.SYNC_WORD],
            implicit=implicit,
            crc=bool(r[reg.MODEM_CONFIG_2] & 4),
            ldro=bool(r[reg.MODEM_CONFIG_3] & 8),
            legacy=sf == 6,
        )

    # -- sending --------------------------------------------------------------------------------

    def _start_tx(self, start_ns: int) -> None:
        modulation = self._modulation()
        length = self._lora[reg.PAYLOAD_LENGTH]
        if modulation is None or not length:
            return  # hangs in TX
        # The datasheet has this bit the wrong way round: 1, as after the reset, is not inverted.
        inverted = not self._lora[reg.INVERT_IQ] & 1
        base = self._lora[reg.FIFO_TX_BASE]
        payload = bytes(self._fifo[(base + i) & 0xFF] for i in range(length))
        end = self.send(
            payload, replace(modulation, iq_inverted=inverted), self._power_dbm(), start_ns
        )
        if "no-tx-done" not in self.faults:
            self.later(end, lambda: self._stand_by(reg.TX_DONE))

    def _start_carrier(self, start_ns: int) -> None:
        deviation = any(self._common[reg.FDEV : reg.FDEV + 2])
        if not deviation and not self._fsk[reg.PACKET_CONFIG_2] & 0x40:
            self.carry(self._freq_hz(), self._power_dbm(), start_ns)

    def _power_dbm(self) -> float:
        """Return what reaches the antenna on PA_BOOST (section 5.4.2 and 5.4.3)."""
        config = self._common[reg.PA_CONFIG]
        output = config & 15
        if not config & 0x80:
            return 10.8 + 0.6 * (config >> 4 & 7) - (15 - output) - UNCONNECTED_DB
        if self._common[reg.PA_DAC] & 7 != 7:
            return 2.0 + output
        # +20 dBm takes 120 mA: a lower limit (section 5.4.4) cuts it off.
        trim = self._common[reg.OCP] & 0x1F
        limit_ma = 45 + 5 * trim if trim <= 15 else min(10 * trim - 30, 240)
        wanted = 5.0 + output
        return min(wanted, 17.0) if self._common[reg.OCP] & 0x20 and limit_ma < 120 else wanted

    # -- receiving ------------------------------------------------------------------------------

    @property
    def noise_figure_db(self) -> float:
        """How much noise the receiver adds, as it is set."""
        r = self._lora
        figure = _NOISE_FIGURE_DB
        if self._tuning is not None and self._tuning.bw_hz == 500_000:
            # Errata note, section 2.1.
            optimum = (0x02, 0x64 if self._tuning.freq_hz >= _HIGH_BAND_HZ else 0x7F)
            figure += ERRATUM_DB * ((r[reg.HIGH_BW_1], r[reg.HIGH_BW_2]) != optimum)
        inverted = bool(r[reg.INVERT_IQ] & 0x40)
        return figure + ERRATUM_DB * (r[reg.INVERT_IQ_2] != (0x19 if inverted else 0x1D))

    def _start_rx(self, start_ns: int) -> None:
        r = self._lora
        self._rx_pointer = r[reg.FIFO_RX_BASE]
        self._expired = False
        self._signal = 0x04  # receiving
        modulation = self._modulation()
        if modulation is None:
            return
        optimize, threshold = (5, 0x0C) if modulation.sf == 6 else (3, 0x0A)
        detects = r[reg.DETECT_OPTIMIZE] & 7 == optimize and r[reg.DETECTION_THRESHOLD] == threshold
        tuning = replace(modulation, iq_inverted=bool(r[reg.INVERT_IQ] & 0x40))
        if detects:
            self.receive(tuning, start_ns)
        else:
            self._tuning = tuning
        if self._mode == reg.RX_SINGLE and "deaf" not in self.faults:
            symbols = (r[reg.MODEM_CONFIG_2] & 3) << 8 | r[reg.SYMB_TIMEOUT]
            # A detector that locks in the very last symbol is in time.
            self.later(start_ns + symbols * modulation.symbol_ns + 1, self._time_out)

    def _time_out(self) -> None:
        self._expired = True
        if not self._signal & 1:
            self._stand_by(reg.RX_TIMEOUT)

    def on_preamble(self, reception: Reception) -> None:
        """Stop the symbol timeout."""
        self._signal |= 0x01

    def on_sync(self, reception: Reception) -> bool:
        """Go on with the own sync word, back to searching with another one."""
        if reception.frame.modulation.sync_word == self._lora[reg.SYNC_WORD]:
            self._signal |= 0x02
            return True
        self._give_up()
        return False

    def _give_up(self) -> None:
        """Search on, or time out if the time is over."""
        self._signal = 0x04
        if self._mode == reg.RX_SINGLE and self._expired:
            self._stand_by(reg.RX_TIMEOUT)

    def on_header(self, reception: Reception) -> bool:
        """Take the header: its CRC, the payload's length, CRC and coding rate."""
        r = self._lora
        sent = reception.frame.modulation
        if self._tuning is None or self._tuning.implicit:
            return True
        too_long = len(reception.frame.payload) > r[reg.MAX_PAYLOAD_LENGTH]
        if not reception.header_ok or sent.implicit or too_long:
            self._expired = True  # a header that is wrong ends a single reception
            self._give_up()
            return False
        self._signal |= 0x08
        r[reg.HOP_CHANNEL] = 0x40 if sent.crc else 0
        r[reg.MODEM_STAT] = sent.cr << 5
        _count(r, reg.RX_HEADER_CNT)
        self._raise(reg.VALID_HEADER)
        return True

    def on_end(self, reception: Reception) -> None:
        """Put the payload into the FIFO and its measures into the registers."""
        r = self._lora
        own = self._tuning
        if own is None:
            return
        payload, right = self.demodulated(reception, r[reg.PAYLOAD_LENGTH])
        checked = own.crc if own.implicit else reception.frame.modulation.crc
        r[reg.FIFO_RX_CURRENT] = self._rx_pointer
        for byte in payload:
            self._fifo[self._rx_pointer] = byte
            self._rx_pointer = self._rx_pointer + 1 & 0xFF
        r[reg.FIFO_RX_BYTE] = self._rx_pointer
        r[reg.RX_NB_BYTES] = len(payload)
        r[reg.PKT_SNR] = round(reception.snr_db * 4) & 0xFF
        r[reg.PKT_RSSI] = self._packet_rssi(reception)
        error = reception.frame.modulation.freq_hz - own.freq_hz
        steps = error * CRYSTAL_HZ * 500_000 // (own.bw_hz << 24)  # section 4.1.5
        r[reg.FEI : reg.FEI + 3] = (steps & 0xF_FFFF).to_bytes(3, "big")
        flags = reg.RX_DONE
        if checked and not right:
            flags |= reg.CRC_ERROR
        else:
            _count(r, reg.RX_PACKET_CNT)
        if self._mode == reg.RX_SINGLE:
            self._stand_by(flags)
        else:
            self._signal = 0x04
            self._raise(flags)

    def _offset_db(self) -> int:
        return 157 if self._freq_hz() >= _HIGH_BAND_HZ else 164

    def _packet_rssi(self, reception: Reception) -> int:
        """Return the register from which section 5.5.5 gets the strength of the packet."""
        above = reception.power_dbm + self._offset_db()
        value = above * 15 / 16 if reception.snr_db >= 0 else above - reception.snr_db
        return min(max(round(value), 0), 255)

    def _rssi_register(self) -> int:
        if self._tuning is None:
            return 0
        level = self.air.level_dbm(self, self._tuning.freq_hz, self._tuning.bw_hz)
        return min(max(round(level + self._offset_db()), 0), 255)

    # -- channel activity detection -------------------------------------------------------------

    def _start_cad(self, start_ns: int) -> None:
        modulation = self._modulation()
        if modulation is None:
            return
        inverted = bool(self._lora[reg.INVERT_IQ] & 0x40)
        self._tuning = replace(modulation, iq_inverted=inverted)
        self.later(start_ns + 2 * modulation.symbol_ns, self._end_cad)

    def _end_cad(self) -> None:
        found = self.air.active(self)
        self._stand_by(reg.CAD_DONE | (reg.CAD_DETECTED if found else 0))


def _filled(values: dict[int, int]) -> bytearray:
    registers = bytearray(0x80)
    for register, value in values.items():
        registers[register] = value
    return registers


def _count(registers: bytearray, first: int) -> None:
    count = int.from_bytes(registers[first : first + 2], "big") + 1
    registers[first : first + 2] = (count & 0xFFFF).to_bytes(2, "big")

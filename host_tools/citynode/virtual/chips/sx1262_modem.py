"""The SX1262's modes, oscillator and LoRa modem; `sx1262.py` has the commands that move them."""

from dataclasses import dataclass

from citynode.virtual.air.frames import Modulation
from citynode.virtual.air.medium import Air
from citynode.virtual.air.stations import Pending, Reception
from citynode.virtual.chips.lora import CRYSTAL_HZ, ERRATUM_DB, UNCONNECTED_DB, US, LoRaRadio

IRQ_TX_DONE, IRQ_RX_DONE, IRQ_PREAMBLE = 0x001, 0x002, 0x004
IRQ_HEADER_VALID, IRQ_HEADER_ERROR, IRQ_CRC_ERROR = 0x010, 0x020, 0x040
IRQ_CAD_DONE, IRQ_CAD_DETECTED, IRQ_TIMEOUT = 0x080, 0x100, 0x200
ERROR_XOSC = 0x20  # XOSC_START_ERR (table 13-86)
# Command status and chip mode (tables 13-77 and 13-76).
OK, DATA, TIMED_OUT, INVALID, FAILED, SENT = 1, 2, 3, 4, 5, 6
SLEEP, STDBY_RC, STDBY_XOSC, FS, RX, TX = 0, 2, 3, 4, 5, 6
GFSK, LORA = 0, 1

REG_PAYLOAD_LENGTH, REG_SYNCH_TIMEOUT, REG_IQ, REG_SYNC_WORD = 0x0702, 0x0706, 0x0736, 0x0740
REG_TX_MODULATION, REG_RX_GAIN, REG_TX_CLAMP, REG_OCP = 0x0889, 0x08AC, 0x08D8, 0x08E7
REGISTERS = {
    REG_IQ: 0x0D, REG_SYNC_WORD: 0x14, REG_SYNC_WORD + 1: 0x24, REG_TX_MODULATION: 0x01,
    REG_RX_GAIN: 0x94, REG_TX_CLAMP: 0xC8, REG_OCP: 0x18, 0x0911: 0x05, 0x0912: 0x05,
}  # fmt: skip

_BANDWIDTHS = {
    0: 7_812, 8: 10_417, 1: 15_625, 9: 20_833, 2: 31_250, 10: 41_667, 3: 62_500, 4: 125_000,
    5: 250_000, 6: 500_000,
}  # fmt: skip
_TCXO_V = (1.6, 1.7, 1.8, 2.2, 2.4, 2.7, 3.0, 3.3)
_TCXO_TOLERANCE_V = 0.25  # 1.8 V parts run from 1.6 V, which RadioLib gives them
_TCXO_START_NS = 800 * US
# What the amplifier gives for 22 dBm in SetTxParams, by hpMax (table 13-21, and what lies between).
_PA_DBM = (-9, 10, 14, 17, 19, 20, 21, 22)
_WEAKEST_DBM, _STRONGEST_DBM = -9, 22
# Section 15.2: at high power clamping takes 5 to 6 dB where the antenna is not quite matched.
_CLAMP_FREE_DBM, _CLAMPED_DB = 17, 5
STEP_NS = 15_625  # of timeouts
_CONTINUOUS = 0xFF_FFFF
COMMAND_NS = 1 * US
# BUSY on the way into a mode (table 8-1; RM0453, table 33).
_SWITCH_NS = {
    STDBY_RC: {STDBY_XOSC: 31 * US, FS: 50 * US, RX: 83 * US, TX: 126 * US},
    STDBY_XOSC: {FS: 40 * US, RX: 62 * US, TX: 105 * US},
    FS: {RX: 41 * US, TX: 76 * US},
    RX: {FS: 15 * US, TX: 92 * US, RX: 41 * US},
    TX: {FS: 15 * US, RX: 41 * US, TX: 76 * US},
}
_NOISE_FIGURE_DB = 6.0  # with the boosted gain: -124.5 dBm at SF7, -137 dBm at SF12
_POWER_SAVING_DB = 3.0
# Section 15.4 speaks of losses "for longer packets": here all with more symbols behind the header.
_LONG_SYMBOLS = 40
_CAD_SYMBOLS = (1, 2, 4, 8, 16)


@dataclass(slots=True)
class Settings:
    """What commands set and a warm start keeps; bytes are parameters as they came."""

    packet_type: int = GFSK
    frf: int = 0
    modulation: bytes = b""
    packet: bytes = b""
    pa: bytes = b"\0\0\0\x01"
    tx: bytes = b"\0\0"
    irq_mask: int = 0
    dio_masks: tuple[int, int, int] = (0, 0, 0)
    tx_base: int = 0
    rx_base: int = 0
    stop_on_preamble: bool = False
    fallback: int = 0x20
    rf_switch: bool = False
    tcxo: bytes = b""
    cad: bytes = b"\0\0\0\0\0\0\0"


class Modem(LoRaRadio):
    """The radio behind the commands, as a board has it wired.

    `tcxo_v` is the voltage that the board's oscillator wants on DIO3, None: a crystal; `rf_switch`
    says that DIO2 moves the antenna switch.
    """

    def __init__(self, air: Air, name: str, tcxo_v: float | None, rf_switch: bool) -> None:
        super().__init__(air, name)
        self._tcxo_v = tcxo_v
        self._rf_switch = rf_switch
        self._rtc: Pending | None = None
        self._busy_until_ns = 0
        self._start_cold()

    def _start_cold(self) -> None:
        self._settings = Settings()
        self._registers = dict(REGISTERS)
        self._buffer = bytearray(256)
        self._mode = STDBY_RC
        self._irq = 0
        self._errors = 0
        self._status = OK
        self._single = True
        self._locked = self._expired = False
        self._packet_status = bytes(3)
        self._rx_status = bytes(2)
        self._stats = [0, 0, 0]
        self._rx_pointer = 0
        self._xosc = False

    # -- lines ----------------------------------------------------------------------------------

    def line(self, name: str) -> int:
        """Return the level of "busy" or "dio1" to "dio3"."""
        if name == "busy":
            return int(self._busy() or "busy" in self.faults)
        number = int(name[3:])
        if number == 2 and self._settings.rf_switch:
            return int(self._mode == TX)
        if number == 3 and self._settings.tcxo:
            return int(self._xosc)
        return int(bool(self._irq & self._settings.dio_masks[number - 1]))

    def _busy(self) -> bool:
        return self._held or self._mode == SLEEP or self.now_ns() < self._busy_until_ns

    def _lines_changed(self) -> None:
        for name in ("busy", "dio1", "dio2", "dio3"):
            self.on_line(name)

    def _occupy(self, duration_ns: int) -> None:
        """Hold BUSY for a while; only a long while is worth an edge on the pin."""
        self._busy_until_ns = self.now_ns() + duration_ns
        self.on_line("busy")
        if duration_ns > COMMAND_NS:
            self.air.engine.call_at(self._busy_until_ns, lambda: self.on_line("busy"))

    def _raise(self, bits: int) -> None:
        self._irq |= bits & self._settings.irq_mask
        self._lines_changed()

    def _fail(self, parameters: bytes = b"") -> None:
        self._status = FAILED

    # -- modes ----------------------------------------------------------------------------------

    def _start_xosc(self) -> int | None:
        """Start the 32 MHz; return how long that takes longer than a crystal, None: it failed."""
        if self._xosc:
            return 0
        wait_ns = int.from_bytes(self._settings.tcxo[1:4], "big") * STEP_NS
        if self._tcxo_v is None:
            started = not self._settings.tcxo
        else:
            volts = _TCXO_V[self._settings.tcxo[0] & 7] if self._settings.tcxo else 0.0
            started = volts >= self._tcxo_v - _TCXO_TOLERANCE_V and wait_ns >= _TCXO_START_NS
        if not started:
            self._errors |= ERROR_XOSC
            self._fail()
            self._occupy(wait_ns)
            return None
        self._xosc = True
        return wait_ns

    def _enter(self, mode: int) -> int | None:
        """Go into a mode with the 32 MHz on; return when it is reached, None if it is not."""
        wait_ns = self._start_xosc()
        switch_ns = _SWITCH_NS.get(self._mode, {}).get(mode, 0)
        self._leave()
        if wait_ns is None:
            self._stand_by()
            return None
        self._mode = mode
        self._occupy(wait_ns + switch_ns)
        return self._busy_until_ns

    def _leave(self) -> None:
        """End what is going on because the host says so."""
        if self._mode == RX:
            self._stop_rtc()
        self.quiet()

    def _stand_by(self) -> None:
        self._mode = STDBY_RC
        self._xosc = False

    def _fall_back(self) -> None:
        """Leave RX or TX for the mode that SetRxTxFallbackMode chose."""
        self._frame = None
        self.quiet()
        self._mode = {0x40: FS, 0x30: STDBY_XOSC}.get(self._settings.fallback, STDBY_RC)
        self._xosc = self._mode != STDBY_RC

    def _stop_rtc(self) -> None:
        if self._rtc is not None:
            self._rtc.cancel()
            self._rtc = None

    def _modulation(self) -> Modulation | None:
        """Return what was set, None if it makes no sense or is not LoRa."""
        s = self._settings
        if s.packet_type != LORA or len(s.modulation) < 4 or len(s.packet) < 6 or not s.frf:
            return None
        sf, bw, cr, ldro = s.modulation[:4]
        if not 5 <= sf <= 12 or bw not in _BANDWIDTHS or not 1 <= cr <= 4:
            return None
        return Modulation(
            freq_hz=self._freq_hz(),
            sf=sf,
            bw_hz=_BANDWIDTHS[bw],
            cr=cr,
            preamble=int.from_bytes(s.packet[:2], "big"),
            sync_word=_sync_word(
                self._registers[REG_SYNC_WORD], self._registers[REG_SYNC_WORD + 1]
            ),
            iq_inverted=bool(s.packet[5] & 1),
            implicit=bool(s.packet[2] & 1),
            crc=bool(s.packet[4] & 1),
            ldro=bool(ldro & 1),
        )

    def _freq_hz(self) -> int:
        return (self._settings.frf * CRYSTAL_HZ + (1 << 24)) >> 25

    # -- sending --------------------------------------------------------------------------------

    def _set_carrier(self, p: bytes) -> None:
        start = self._enter(TX)
        if start is not None and self._settings.frf:
            self.carry(self._freq_hz(), self._power_dbm(), start)

    def _set_tx(self, p: bytes) -> None:
        start = self._enter(TX)
        if start is None:
            return
        timeout = int.from_bytes(p[:3], "big")
        if timeout:
            self._stop_rtc()
            self.later(start + timeout * STEP_NS, self._time_out)
        modulation = self._modulation()
        if modulation is None:
            return  # (G)FSK, or settings that give no signal: TX it stays
        length = self._settings.packet[3]
        base = self._settings.tx_base
        payload = bytes(self._buffer[base + i & 0xFF] for i in range(length))
        # Section 15.1: bit 2 is 0 for 500 kHz and 1 for all other bandwidths.
        fits = bool(self._registers[REG_TX_MODULATION] & 4) != (modulation.bw_hz == 500_000)
        impairment = 0.0 if fits else ERRATUM_DB
        end = self.send(payload, modulation, self._power_dbm(), start, impairment)
        if "no-tx-done" not in self.faults:
            self.later(end, self._sent)

    def _sent(self) -> None:
        self._fall_back()
        self._status = SENT
        self._raise(IRQ_TX_DONE)

    def _power_dbm(self) -> float:
        """Return what reaches the antenna (tables 13-21 and 13-41)."""
        _, hp_max, device = self._settings.pa[:3]
        wanted = int.from_bytes(self._settings.tx[:1], "big", signed=True)
        power = max(_WEAKEST_DBM, min(_STRONGEST_DBM, wanted))
        power -= _STRONGEST_DBM - _PA_DBM[min(hp_max, 7)]
        if power > _CLAMP_FREE_DBM and self._registers[REG_TX_CLAMP] & 0x1E != 0x1E:
            power -= _CLAMPED_DB
        wired = device == 0 and (self._settings.rf_switch or not self._rf_switch)
        return power if wired else power - UNCONNECTED_DB

    # -- receiving ------------------------------------------------------------------------------

    @property
    def noise_figure_db(self) -> float:
        """How much noise the receiver adds, as it is set (section 9.6)."""
        boosted = self._registers[REG_RX_GAIN] == 0x96
        return _NOISE_FIGURE_DB + (0.0 if boosted else _POWER_SAVING_DB)

    def _set_rx(self, p: bytes) -> None:
        since = self._enter(RX)
        if since is None:
            return
        self._stop_rtc()
        self._locked = self._expired = False
        self._rx_pointer = self._settings.rx_base
        modulation = self._modulation()
        timeout = int.from_bytes(p[:3], "big")
        self._single = timeout != _CONTINUOUS
        if "deaf" in self.faults:
            return
        if timeout and self._single:
            due = since + timeout * STEP_NS + 1
            self._rtc = self.air.engine.call_at(due, self._time_out)
        if modulation is None:
            return
        self.receive(modulation, since)
        # Mantissa and exponent of the symbol timeout (section 13.4.9).
        register = self._registers.get(REG_SYNCH_TIMEOUT, 0)
        symbols = register >> 3 << 2 * (register & 7) + 1
        if symbols and self._single:
            # A detector that locks in the very last symbol is in time.
            self.later(since + symbols * modulation.symbol_ns + 1, self._time_out_symbols)

    def _time_out_symbols(self) -> None:
        self._expired = True
        if not self._locked:
            self._time_out()

    def _time_out(self) -> None:
        """End RX or TX; after an implicit reception even what came after it (section 15.3)."""
        self._stop_rtc()
        if self._mode in (RX, TX):
            if self._frame is not None:
                self.air.cut(self._frame)
            self._fall_back()
        self._status = TIMED_OUT
        self._raise(IRQ_TIMEOUT)

    def on_preamble(self, reception: Reception) -> None:
        """Stop the symbol timeout, and the timer if that was asked for."""
        self._locked = True
        if self._settings.stop_on_preamble:
            self._stop_rtc()
        self._raise(IRQ_PREAMBLE)

    def on_sync(self, reception: Reception) -> bool:
        """Go on with the own sync word, back to searching with another one."""
        own = self._tuning
        if own is not None and own.sync_word == reception.frame.modulation.sync_word:
            return True
        self._locked = False
        if self._expired:
            self._time_out()
        return False

    def on_header(self, reception: Reception) -> bool:
        """Take the header: its CRC, the payload's length, CRC and coding rate."""
        own = self._tuning
        if own is None or own.implicit:
            return True
        if not reception.header_ok or reception.frame.modulation.implicit:
            self._stats[2] += 1
            self._locked = False
            if self._single:
                self._stop_rtc()
                self._fall_back()
            self._raise(IRQ_HEADER_ERROR)
            return False
        self._stop_rtc()
        self._raise(IRQ_HEADER_VALID)
        return True

    def on_end(self, reception: Reception) -> None:
        """Put the payload into the buffer, and what was measured where commands find it."""
        own = self._tuning
        if own is None:
            return
        sent = reception.frame.modulation
        payload, right = self.demodulated(reception, self._settings.packet[3])
        # Section 15.4: bit 2 of register 0x0736 has to be 0 for inverted IQ.
        if right and own.iq_inverted and self._registers[REG_IQ] & 4:
            right = sent.payload_symbols(len(payload)) <= _LONG_SYMBOLS
            payload = payload if right else self.air.garble(payload)
        for offset, value in enumerate(payload):
            self._buffer[self._rx_pointer + offset & 0xFF] = value
        self._rx_status = bytes((len(payload), self._rx_pointer))
        self._registers[REG_PAYLOAD_LENGTH] = len(payload)
        self._rx_pointer = self._rx_pointer + len(payload) & 0xFF
        strength = min(max(round(-2 * reception.power_dbm), 0), 255)
        snr = round(4 * reception.snr_db) & 0xFF
        self._packet_status = bytes((strength, snr, strength))
        self._locked = False
        self._stats[0] += 1
        bits = IRQ_RX_DONE
        if (own.crc if own.implicit else sent.crc) and not right:
            self._stats[1] += 1
            bits |= IRQ_CRC_ERROR
        if self._single:
            self._fall_back()
        self._status = DATA
        self._raise(bits)

    def _rssi(self) -> int:
        if self._tuning is None:
            return 0
        level = self.air.level_dbm(self, self._tuning.freq_hz, self._tuning.bw_hz)
        return min(max(round(-2 * level), 0), 255)

    # -- channel activity detection -------------------------------------------------------------

    def _set_cad(self, p: bytes) -> None:
        start = self._enter(RX)
        modulation = self._modulation()
        if start is None or modulation is None:
            return
        self._tuning = modulation
        symbols = _CAD_SYMBOLS[min(self._settings.cad[0], 4)]
        self.later(start + symbols * modulation.symbol_ns, self._end_cad)

    def _end_cad(self) -> None:
        found = self.air.active(self)
        if found and self._settings.cad[3] == 1:  # and go on to receive
            self._set_rx(self._settings.cad[4:7])
        else:
            self._fall_back()
        self._raise(IRQ_CAD_DONE | (IRQ_CAD_DETECTED if found else 0))


def _sync_word(high: int, low: int) -> int:
    """Return the SX127x's byte for the two registers: 0xX4Y4 for 0xXY.

    With other control bits than 4 in the low nibbles nobody is met.
    """
    return high & 0xF0 | low >> 4 if (high & 15, low & 15) == (4, 4) else -1

"""Semtech SX1262: LoRa transceiver (SX1261/2 datasheet rev. 2.1, December 2021), on SPI.

The LoRa side is whole but for receive duty cycles and continuous transmission; as a (G)FSK modem it
takes its settings and neither sends nor hears. What the datasheet leaves open is taken from the
reference manual of the STM32WL, which has this radio inside (ST RM0453 rev. 5, chapter 5).
"""

from collections.abc import Callable

from citynode.virtual.air.medium import Air
from citynode.virtual.chips.lora import US
from citynode.virtual.chips.sx1262_modem import (
    COMMAND_NS,
    ERROR_XOSC,
    FAILED,
    FS,
    INVALID,
    OK,
    REG_IQ,
    REG_SYNC_WORD,
    REG_SYNCH_TIMEOUT,
    REGISTERS,
    RX,
    SLEEP,
    STDBY_RC,
    STDBY_XOSC,
    Modem,
)

_REG_RETENTION, _REG_VERSION, _REG_RANDOM, _REG_RTC = 0x029F, 0x0320, 0x0819, 0x0902
# All chips of the family say SX1261 (RadioLib issue 683).
_VERSION = b"SX1261 V2D 2D02\0"
# The analog part forgets in sleep what is not in the retention list (section 9.6).
_ANALOG = range(0x0800, 0x0A00)
_RETAINED_LIMIT = 4

_READ_REGISTER, _READ_BUFFER = 0x1D, 0x1E
# Commands that only read: GetStatus, GetStats, GetPacketType, GetIrqStatus, GetRxBufferStatus,
# GetPacketStatus, GetRssiInst, GetDeviceErrors.
_READS = frozenset((0xC0, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x17, _READ_REGISTER, _READ_BUFFER))
_NEED_XOSC = 0x7C  # blocks of Calibrate: all but the RC oscillators
_ALL_BLOCKS = 0x7F

_COLD_NS, _WARM_NS, _CALIBRATION_NS = 3_500 * US, 340 * US, 3_500 * US  # sections 8.3.1 and 9.2.1

_Command = Callable[[bytes], object]


class SX1262(Modem):
    """The chip as a board has it wired.

    `tcxo_v` is the voltage that the board's oscillator wants on DIO3, None: a crystal; `rf_switch`
    says that DIO2 moves the antenna switch. `calibrated` holds the blocks (bits of Calibrate) that
    are, `image_mhz` the band of the last image calibration. The fault "busy" has BUSY stuck high.
    """

    def __init__(
        self, air: Air, name: str, *, tcxo_v: float | None = None, rf_switch: bool = False
    ) -> None:
        super().__init__(air, name, tcxo_v, rf_switch)
        self._rng = air.engine.rng(f"sx1262 {name}")
        self._input: bytearray | None = None
        self._warm = False
        self.calibrated = 0
        self.image_mhz = (0, 0)
        self._commands = self._table()
        self.power_up()

    def power_up(self) -> None:
        """Start cold: calibrate, and stand by on the RC oscillator."""
        self.quiet()
        self._stop_rtc()
        self._wake_cold()

    def _wake_cold(self) -> None:
        self._start_cold()
        self._occupy(_COLD_NS)
        if self._tcxo_v is None:
            self.calibrated = _ALL_BLOCKS
            self.image_mhz = (902, 928)
        else:
            # Nobody has switched the oscillator on yet (section 13.3.6).
            self.calibrated = _ALL_BLOCKS & ~_NEED_XOSC
            self.image_mhz = (0, 0)
            self._errors = ERROR_XOSC
            self._status = FAILED
        self._lines_changed()

    # -- SPI ------------------------------------------------------------------------------------

    def select(self) -> None:
        """Begin a command, or wake up (section 9.3); while BUSY is high nothing is heard."""
        self._input = None
        if self._held or "dead" in self.faults:
            return
        if self._mode == SLEEP:
            self._wake()
        elif not self._busy():
            self._input = bytearray()

    def transfer(self, byte: int) -> int:
        """Take a byte of a command; its answer comes in the same place."""
        if self._input is None:
            return 0
        answer = self._answer(self._input)
        self._input.append(byte)
        return answer

    def deselect(self) -> None:
        """Run the command."""
        data, self._input = self._input, None
        if not data:
            return
        self._occupy(COMMAND_NS)
        if data[0] in _READS:
            return
        needed, command = self._commands.get(data[0], (0, None))
        if command is None or len(data) - 1 < needed:
            self._status = INVALID
            return
        self._status = OK
        command(bytes(data[1:]))
        self._lines_changed()

    def _answer(self, given: bytearray) -> int:
        """Return the byte that goes out while the next one comes in."""
        at = len(given)
        opcode = given[0] if given else 0
        if opcode == _READ_REGISTER and at >= 4:
            return self._read(int.from_bytes(given[1:3], "big") + at - 4)
        if opcode == _READ_BUFFER and at >= 3:
            return self._buffer[given[1] + at - 3 & 0xFF]
        if opcode in _READS and opcode not in (_READ_REGISTER, _READ_BUFFER) and at >= 2:
            reply = self._reply(opcode)
            return reply[at - 2] if at - 2 < len(reply) else 0
        # The highest bit is reserved and reads as 1.
        return 0x80 | self._mode << 4 | self._status << 1

    def _reply(self, opcode: int) -> bytes:
        if opcode == 0x10:
            return b"".join(count.to_bytes(2, "big") for count in self._stats)
        if opcode == 0x11:
            return bytes((self._settings.packet_type,))
        if opcode == 0x12:
            return self._irq.to_bytes(2, "big")
        if opcode == 0x13:
            return self._rx_status
        if opcode == 0x14:
            return self._packet_status
        if opcode == 0x15:
            return bytes((self._rssi(),))
        if opcode == 0x17:
            return self._errors.to_bytes(2, "big")
        return b""

    # -- registers and buffer -------------------------------------------------------------------

    def _read(self, address: int) -> int:
        if _REG_VERSION <= address < _REG_VERSION + len(_VERSION):
            return _VERSION[address - _REG_VERSION]
        if _REG_RANDOM <= address < _REG_RANDOM + 4:
            return self._rng.randrange(256) if self._mode == RX else 0
        return self._registers.get(address, 0)

    def _write_register(self, p: bytes) -> None:
        first = int.from_bytes(p[:2], "big")
        for address, value in enumerate(p[2:], first):
            self._registers[address] = value
            if address == _REG_RTC and not value:
                self._stop_rtc()

    def _write_buffer(self, p: bytes) -> None:
        for offset, value in enumerate(p[1:], p[0]):
            self._buffer[offset & 0xFF] = value

    # -- commands -------------------------------------------------------------------------------

    def _table(self) -> dict[int, tuple[int, _Command | None]]:
        """Return, by opcode, how many parameters a command needs and what it does."""

        def keep(name: str) -> _Command:
            return lambda p: setattr(self._settings, name, p)

        def flag(name: str) -> _Command:
            return lambda p: setattr(self._settings, name, bool(p[0]))

        return {
            0x84: (1, self._set_sleep),
            0x80: (1, self._set_standby),
            0xC1: (0, lambda p: self._enter(FS)),
            0x83: (3, self._set_tx),
            0x82: (3, self._set_rx),
            0xC5: (0, self._set_cad),
            0x9F: (1, flag("stop_on_preamble")),
            0x96: (1, lambda p: self._fail() if self._mode != STDBY_RC else None),
            0x89: (1, self._calibrate),
            0x98: (2, self._calibrate_image),
            0x95: (4, keep("pa")),
            0x93: (1, lambda p: setattr(self._settings, "fallback", p[0])),
            0x0D: (3, self._write_register),
            0x0E: (1, self._write_buffer),
            0x08: (8, self._set_dio_irq),
            0x02: (2, self._clear_irq),
            0x9D: (1, flag("rf_switch")),
            0x97: (4, self._set_tcxo),
            0x86: (4, lambda p: setattr(self._settings, "frf", int.from_bytes(p[:4], "big"))),
            0x8A: (1, self._set_packet_type),
            0x8E: (2, keep("tx")),
            0x8B: (4, keep("modulation")),
            0x8C: (6, keep("packet")),
            0x88: (7, keep("cad")),
            0x8F: (2, self._set_bases),
            0xA0: (1, self._set_symbols),
            0x00: (6, lambda p: setattr(self, "_stats", [0, 0, 0])),
            0x07: (2, lambda p: setattr(self, "_errors", 0)),
            0xD1: (0, self._set_carrier),
            # SetRxDutyCycle, SetTxInfinitePreamble: not modelled.
            0x94: (6, self._fail),
            0xD2: (0, self._fail),
        }

    def _set_packet_type(self, p: bytes) -> None:
        """Choose the modem; what was set for the other is lost, the sync word too."""
        if self._mode not in (STDBY_RC, STDBY_XOSC):
            self._fail()
        elif p[0] != self._settings.packet_type:
            self._settings.packet_type = p[0]
            self._settings.modulation = self._settings.packet = b""
            for address in (REG_IQ, REG_SYNC_WORD, REG_SYNC_WORD + 1):
                self._registers[address] = REGISTERS[address]

    def _set_bases(self, p: bytes) -> None:
        self._settings.tx_base, self._settings.rx_base = p[:2]

    def _set_symbols(self, p: bytes) -> None:
        """Set the symbol timeout: kept as mantissa and exponent, rounded up (section 13.4.9)."""
        mantissa, exponent = p[0] + 1 >> 1, 0
        while mantissa > 31:
            mantissa = mantissa + 3 >> 2
            exponent += 1
        self._registers[REG_SYNCH_TIMEOUT] = exponent | mantissa << 3

    def _set_dio_irq(self, p: bytes) -> None:
        irq, dio1, dio2, dio3 = (int.from_bytes(p[i : i + 2], "big") for i in range(0, 8, 2))
        self._settings.irq_mask = irq
        self._settings.dio_masks = dio1, dio2, dio3

    def _clear_irq(self, p: bytes) -> None:
        self._irq &= ~int.from_bytes(p[:2], "big")

    def _set_standby(self, p: bytes) -> None:
        if p[0] & 1:
            self._enter(STDBY_XOSC)
        else:
            self._leave()
            self._stand_by()

    # -- oscillators and calibration ------------------------------------------------------------

    def _set_tcxo(self, p: bytes) -> None:
        if self._mode != STDBY_RC:
            self._fail()
            return
        self._settings.tcxo = p[:4]

    def _calibrate(self, p: bytes) -> None:
        """Calibrate blocks (section 13.1.12): only in standby with the RC oscillator."""
        if self._mode != STDBY_RC:
            self._fail()
            return
        wait_ns = self._start_xosc() if p[0] & _NEED_XOSC else 0
        self._xosc = False
        if wait_ns is not None:
            self.calibrated |= p[0] & _ALL_BLOCKS
            self._occupy(wait_ns + _CALIBRATION_NS)

    def _calibrate_image(self, p: bytes) -> None:
        """Calibrate the image rejection between two frequencies in steps of 4 MHz (13.1.13)."""
        if self._mode not in (STDBY_RC, STDBY_XOSC):
            self._fail()
            return
        wait_ns = self._start_xosc()
        if self._mode == STDBY_RC:
            self._xosc = False
        if wait_ns is not None:
            self.image_mhz = p[0] * 4, p[1] * 4
            self._occupy(wait_ns + _CALIBRATION_NS)

    # -- sleep ----------------------------------------------------------------------------------

    def _set_sleep(self, p: bytes) -> None:
        if self._mode not in (STDBY_RC, STDBY_XOSC):
            self._fail()
            return
        self.quiet()
        self._stop_rtc()
        self._warm = bool(p[0] & 4)
        self._mode = SLEEP
        self._xosc = False

    def _wake(self) -> None:
        """Wake up: the command that did it is lost."""
        if not self._warm:
            self._wake_cold()
            return
        kept = {a: v for a, v in self._registers.items() if self._retained(a)}
        self._registers = REGISTERS | kept
        self._buffer = bytearray(256)
        self._mode = STDBY_RC
        self._irq = 0
        self._status = OK
        self._occupy(_WARM_NS)
        self._lines_changed()

    def _retained(self, address: int) -> bool:
        if address not in _ANALOG:
            return True
        count = min(self._registers.get(_REG_RETENTION, 0), _RETAINED_LIMIT)
        pairs = [_REG_RETENTION + 1 + 2 * i for i in range(count)]
        read = self._registers.get
        return any(read(a, 0) << 8 | read(a + 1, 0) == address for a in pairs)

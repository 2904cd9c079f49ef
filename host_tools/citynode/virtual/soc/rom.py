"""The serial loader in the chips' ROM, as a machine of bytes in and actions out.

Sources: esptool documentation "Serial Protocol", technical reference manuals, recorded sessions.
"""

import hashlib
import zlib

from citynode.virtual.soc import flashtime
from citynode.virtual.soc.actions import Action, Busy, Reset, SetBaud, Transmit
from citynode.virtual.soc.addresses import ESP32_CALIBRATION_CYCLES, ESP32_CK8M_FREQ
from citynode.virtual.soc.bus import Bus
from citynode.virtual.soc.chip import Chip
from citynode.virtual.soc.efuse import EFuse
from citynode.virtual.soc.flash import SECTOR_SIZE, NorFlash
from citynode.virtual.soc.loader import (
    BLOCK_HEADER_SIZE,
    HEADER,
    PACKET_LIMIT,
    Answer,
    Download,
    Handlers,
    Machine,
    Mode,
    Op,
    RefusedError,
    Request,
    checksum,
    reply,
    security_info,
    write_registers,
)
from citynode.virtual.soc.slip import Decoder
from citynode.virtual.soc.spiflash import SpiFlash
from citynode.virtual.soc.stub import start_program

_SYNC_VALUE = 0x2012_0707  # the first word of the request, which the ROM leaves in the answer
_SYNC_SIZE = 36
_SYNC_ANSWERS = 8

# Status bytes: 1 and one of these.
_BAD_PARAMETER = 0x101
_BAD_FORMAT = 0x105
_FAILED = 0x106
_BAD_CHECKSUM = 0x107
_WRITE_ERROR = 0x108
_READ_LENGTH = 0x10A
_INFLATE_ERROR = 0x10B
_BAD_RAM_SIZE = 0x10E
_BAD_RAM_ADDRESS = 0x10F
_NO_ENCRYPTION = 0x164

# Secure download mode (ESP Hardware Design and esptool documentation, "Secure Download Mode"):
# flash can be written, and nothing be read or run.
_SECURE_DOWNLOAD = 1 << 2  # in the flags of the security info
_SECURE_OPS = (
    Op.SYNC,
    Op.SPI_ATTACH,
    Op.SPI_SET_PARAMS,
    Op.FLASH_BEGIN,
    Op.FLASH_DATA,
    Op.FLASH_END,
    Op.FLASH_DEFL_BEGIN,
    Op.FLASH_DEFL_DATA,
    Op.FLASH_DEFL_END,
    Op.CHANGE_BAUDRATE,
    Op.GET_SECURITY_INFO,
)

_READ_CHUNK = 64  # bytes in each answer to READ_FLASH_SLOW
_DEFAULT_SIZE = 2 << 20  # the flash that the ROM believes in until it is told another
_ADDRESSABLE = 16 << 20  # with 24-bit addresses

# 2000 cycles of the RTC clock are what tools ask for: 15 ms, in which they still lock the watchdog
# again. Over RFC 2217 that request takes longer than over a cable, so it is given more.
_WATCHDOG_NS = 300_000_000


class RomLoader:
    """A chip in download mode: the ROM's loader, and what is loaded with it.

    `baud` is the speed that the chip's UART has found the other side at.
    """

    def __init__(self, chip: Chip, flash: NorFlash, efuse: EFuse) -> None:
        spi_flash = SpiFlash(flash, chip.flash_vendor)
        self._bus = Bus(chip, spi_flash, efuse)
        self._mode: Mode = RomMode(Machine(chip, spi_flash, efuse, self._bus))
        self._decoder = Decoder(PACKET_LIMIT)

    @property
    def baud(self) -> int:
        """The speed of the chip's UART."""
        return self._bus.baud

    @baud.setter
    def baud(self, baud: int) -> None:
        self._bus.baud = baud

    def receive(self, data: bytes) -> list[Action]:
        """Take any bytes off the line and return what the chip does, in order."""
        actions: list[Action] = []
        for packet in self._decoder.feed(data):
            done = self._mode.handle(packet)
            actions += done
            for action in done:
                if isinstance(action, SetBaud):
                    self._bus.baud = action.baud
            if self._mode.successor is not None:
                self._mode = self._mode.successor
            cause, self._bus.reset_cause = self._bus.reset_cause, None
            if cause is not None:
                actions.append(Reset(cause, _WATCHDOG_NS if cause == "rtc_wdt" else 0))
            if any(isinstance(action, Reset) and not action.delay_ns for action in actions):
                self._decoder.reset()
                break  # nothing of what came behind is read any more
        return actions


class RomMode:
    """The ROM's own loader."""

    def __init__(self, machine: Machine) -> None:
        self.successor: Mode | None = None
        self._machine = machine
        self._bus = machine.bus
        self._flash = machine.flash
        self._flash_size = _DEFAULT_SIZE
        self._last_op = 0
        self._download: Download | None = None
        self._erased: tuple[int, int] | None = None  # what FLASH_BEGIN has prepared
        self._block_size = 0
        self._encrypt = False
        self._inflate: _Inflate | None = None
        self._handlers: Handlers = {
            Op.SYNC: self._sync,
            Op.READ_REG: self._read_register,
            Op.WRITE_REG: self._write_register,
            Op.MEM_BEGIN: self._mem_begin,
            Op.MEM_DATA: self._mem_data,
            Op.MEM_END: self._mem_end,
            Op.SPI_ATTACH: self._attach,
            Op.SPI_SET_PARAMS: self._set_flash,
            Op.READ_FLASH_SLOW: self._read_flash,
            Op.SPI_FLASH_MD5: self._md5,
            Op.FLASH_BEGIN: self._flash_begin,
            Op.FLASH_DATA: self._flash_data,
            Op.FLASH_END: self._flash_end,
            Op.FLASH_DEFL_BEGIN: self._deflate_begin,
            Op.FLASH_DEFL_DATA: self._deflate_data,
            Op.FLASH_DEFL_END: self._flash_end,
            Op.CHANGE_BAUDRATE: self._change_baud,
        }
        if machine.chip.id != "esp32":
            self._handlers = {**self._handlers, Op.GET_SECURITY_INFO: self._security}
            if machine.efuse.security().flags & _SECURE_DOWNLOAD:
                self._handlers = {op: self._handlers[op] for op in _SECURE_OPS}

    def handle(self, packet: bytes) -> list[Action]:
        """Answer a packet."""
        request = self._parse(packet)
        if request is None:
            return self._invalid()
        self._last_op = request.op
        try:
            answer = self._handlers[request.op](request)
        except RefusedError as error:
            return [_reply(request.op, 0, b"", error.code)]
        sent = _reply(request.op, answer.value, answer.data, 0)
        count = _SYNC_ANSWERS if request.op == Op.SYNC else 1
        return [*answer.before, *[sent] * count, *answer.after]

    def _parse(self, packet: bytes) -> Request | None:
        if len(packet) < HEADER.size:
            return None
        direction, op, size, value = HEADER.unpack_from(packet)
        if direction != 0 or size != len(packet) - HEADER.size or op not in self._handlers:
            return None
        return Request(op, value, packet[HEADER.size :])

    def _invalid(self) -> list[Action]:
        """Refuse what is no request: the ROM does so in the name of the last one that was."""
        count = _SYNC_ANSWERS if self._last_op == Op.SYNC else 1
        return [_reply(self._last_op, 0, b"", _BAD_FORMAT)] * count

    # -- the chip -------------------------------------------------------------------------------

    def _sync(self, request: Request) -> Answer:
        _expect(request, _SYNC_SIZE)
        return Answer(_SYNC_VALUE)

    def _read_register(self, request: Request) -> Answer:
        _expect(request, 4)
        return Answer(self._bus.read(*request.words(1)))

    def _write_register(self, request: Request) -> Answer:
        if not request.data or len(request.data) % 16:
            raise RefusedError(_BAD_FORMAT)
        return Answer(before=[Busy(write_registers(self._bus, request.data))])

    def _security(self, request: Request) -> Answer:
        _expect(request, 0)
        return Answer(data=security_info(self._machine))

    def _change_baud(self, request: Request) -> Answer:
        _expect(request, 8)
        baud = request.words(1)[0]
        if self._machine.chip.id == "esp32":
            # The ROM divides the frequency that it believes its crystal to have.
            believed = ESP32_CALIBRATION_CYCLES * 15625 * ESP32_CK8M_FREQ // 40
            baud = round(baud * self._machine.chip.crystal_mhz * 1_000_000 / believed)
        if baud == 0:
            raise RefusedError(_BAD_PARAMETER)
        return Answer(after=[SetBaud(baud)])

    # -- RAM ------------------------------------------------------------------------------------

    def _mem_begin(self, request: Request) -> Answer:
        _expect(request, 16)
        size, _, _, address = request.words(4)
        if not self._bus.in_ram(address, size):
            raise RefusedError(_BAD_RAM_ADDRESS)
        self._download = self._machine.begin_download(address, size)
        return Answer()

    def _mem_data(self, request: Request) -> Answer:
        _, data = _block(request)
        download = self._download
        if download is None:
            raise RefusedError(_FAILED)
        if len(data) > download.left:
            raise RefusedError(_BAD_RAM_SIZE)
        self._bus.store(download.at, data)
        download.at += len(data)
        download.left -= len(data)
        return Answer()

    def _mem_end(self, request: Request) -> Answer:
        _expect(request, 8)
        stay, entry = request.words(2)
        self._download = None
        if stay:
            return Answer()
        self.successor, actions = start_program(self._machine, entry)
        return Answer(after=actions)

    # -- flash ----------------------------------------------------------------------------------

    def _attach(self, request: Request) -> Answer:
        if len(request.data) not in (4, 8):
            raise RefusedError(_BAD_FORMAT)
        # The pins of SPI (0) lead to the flash; those of HSPI or others lead nowhere here.
        self._bus.attached = request.words(1)[0] == 0
        return Answer()

    def _set_flash(self, request: Request) -> Answer:
        _expect(request, 24)
        self._flash_size = min(request.words(2)[1], _ADDRESSABLE)
        return Answer()

    def _in_flash(self, address: int, length: int) -> None:
        if not self._bus.attached or address + length > self._flash_size:
            raise RefusedError(_FAILED)

    def _read_flash(self, request: Request) -> Answer:
        _expect(request, 8)
        address, length = request.words(2)
        if length > _READ_CHUNK:
            raise RefusedError(_READ_LENGTH)
        self._in_flash(address, length)
        data = self._flash.read(address, length)
        return Answer(data=data.ljust(_READ_CHUNK, b"\0"))

    def _md5(self, request: Request) -> Answer:
        _expect(request, 16)
        address, length = request.words(2)
        self._in_flash(address, length)
        digest = hashlib.md5(self._flash.read(address, length), usedforsecurity=False)
        return Answer(
            data=digest.hexdigest().encode("ascii"), before=[Busy(flashtime.md5_ns(length))]
        )

    def _begin(self, request: Request) -> Answer:
        """Erase what is going to be written."""
        # The ESP32's ROM knows no fifth word, which asks for encryption.
        sizes = (16,) if self._machine.chip.id == "esp32" else (16, 20)
        if len(request.data) not in sizes:
            raise RefusedError(_BAD_FORMAT)
        size, _, self._block_size, address = request.words(4)
        start = address // SECTOR_SIZE * SECTOR_SIZE
        length = -(-(address - start + size) // SECTOR_SIZE) * SECTOR_SIZE
        self._in_flash(start, length)
        self._flash.unlock()
        self._flash.erase(start, length)
        self._erased = address, start + length
        return Answer(before=[Busy(flashtime.erase_ns(start, length))])

    def _flash_begin(self, request: Request) -> Answer:
        self._inflate = None
        answer = self._begin(request)
        self._encrypt = len(request.data) == 20 and request.words(5)[4] != 0
        return answer

    def _deflate_begin(self, request: Request) -> Answer:
        if len(request.data) == 20 and request.words(5)[4]:
            raise RefusedError(_NO_ENCRYPTION)
        answer = self._begin(request)
        self._inflate = _Inflate(request.words(4)[3])
        return answer

    def _flash_data(self, request: Request) -> Answer:
        sequence, data = _block(request)
        if self._erased is None or self._inflate is not None:
            raise RefusedError(_FAILED)
        start, end = self._erased
        address = start + sequence * self._block_size
        if address + len(data) > end:
            raise RefusedError(_WRITE_ERROR)
        cells = self._machine.encrypted(address, data) if self._encrypt else data
        if cells is None:
            raise RefusedError(_WRITE_ERROR)
        self._flash.program(address, cells)
        return Answer(before=[Busy(flashtime.program_ns(len(data)))])

    def _deflate_data(self, request: Request) -> Answer:
        _, data = _block(request)
        inflate = self._inflate
        if self._erased is None or inflate is None:
            raise RefusedError(_FAILED)
        room = self._erased[1] - inflate.at
        try:
            plain = inflate.stream.decompress(data, room + 1)
        except zlib.error as error:
            raise RefusedError(_INFLATE_ERROR) from error
        if len(plain) > room or inflate.stream.unconsumed_tail:
            raise RefusedError(_WRITE_ERROR)
        self._flash.program(inflate.at, plain)
        inflate.at += len(plain)
        return Answer(before=[Busy(flashtime.program_ns(len(plain)))])

    def _flash_end(self, request: Request) -> Answer:
        _expect(request, 4)
        self._erased = self._inflate = None
        run_program = request.words(1)[0]
        return Answer(after=[Reset("run_app" if run_program else "sw")])


class _Inflate:
    """A compressed write that has begun."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.stream = zlib.decompressobj()


def _expect(request: Request, size: int) -> None:
    if len(request.data) != size:
        raise RefusedError(_BAD_FORMAT)


def _block(request: Request) -> tuple[int, bytes]:
    """Return the sequence number and the data of a block, if it has come unharmed."""
    if len(request.data) < BLOCK_HEADER_SIZE:
        raise RefusedError(_BAD_FORMAT)
    length, sequence = request.words(2)
    data = request.data[BLOCK_HEADER_SIZE:]
    if length != len(data):
        raise RefusedError(_BAD_FORMAT)
    if checksum(data) != request.checksum:
        raise RefusedError(_BAD_CHECKSUM)
    return sequence, data


def _reply(op: int, value: int, data: bytes, code: int) -> Transmit:
    return reply(op, value, data, code.to_bytes(2, "big") + b"\0\0")

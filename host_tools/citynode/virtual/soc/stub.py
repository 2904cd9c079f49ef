"""The flasher stub: the faster loader that esptool puts into RAM and starts.

Source: esptool documentation, "Flasher Stub" and "Serial Protocol"; behaviour of esp-flasher-stub.
"""

import hashlib
import re
import zlib
from dataclasses import dataclass

from citynode.virtual.soc import flashtime
from citynode.virtual.soc.actions import Action, Busy, Reset, SetBaud, Transmit
from citynode.virtual.soc.flash import SECTOR_SIZE
from citynode.virtual.soc.flashtime import BLOCK_SIZE
from citynode.virtual.soc.loader import (
    BLOCK_HEADER_SIZE,
    HEADER,
    Answer,
    Download,
    Handlers,
    Machine,
    Mode,
    Op,
    RefusedError,
    Request,
    Silent,
    checksum,
    reply,
    security_info,
    write_registers,
)
from citynode.virtual.soc.slip import encode

# A stub greets with these four letters. Xtensa code has them as data, RISC-V code as the operand of
# the instruction that loads the upper half of a word (lui).
_GREETING = b"OHAI"
_GREETING_RISCV = re.compile(rb"[\x37\xb7][\x50-\x5f]\x41\x49")

_SYNC_SIZE = 36
_SYNC_ANSWERS = 8
_READ_PACKET_LIMIT = 4096
_INFLATE_BUFFER = 32768  # what is unpacked before it is written

_BAD_LENGTH = 0xC000
_BAD_CHECKSUM = 0xC100
_BAD_COMMAND = 0xC300
_SPI_FAILED = 0xC400
_NOT_IN_FLASH_MODE = 0xC600
_INFLATE_ERROR = 0xC700
_NOT_ENOUGH_DATA = 0xC800
_TOO_MUCH_DATA = 0xC900
_NOT_IMPLEMENTED = 0xFF00


def start_program(machine: Machine, entry: int) -> tuple[Mode, list[Action]]:
    """Jump to `entry`: a flasher stub begins to speak, any other program keeps silent."""
    code = machine.take_program()
    greets = _GREETING in code or _GREETING_RISCV.search(code) is not None
    if not machine.bus.in_ram(entry, 4) or not any(machine.bus.load(entry, 4)) or not greets:
        return Silent(), []
    return StubMode(machine), [Transmit(encode(_GREETING))]


@dataclass
class _Write:
    """A write that has begun."""

    at: int
    left: int
    erase_at: int
    erase_end: int
    encrypt: bool = False
    stream: "zlib._Decompress | None" = None
    waiting: bytes = b""  # unpacked, not written


@dataclass
class _Read:
    """A read that has begun."""

    at: int
    left: int
    size: int
    packet_size: int
    digest: "hashlib._Hash"


class StubMode:
    """The flasher stub at work."""

    def __init__(self, machine: Machine) -> None:
        self.successor: Mode | None = None
        self._machine = machine
        self._bus = machine.bus
        self._flash = machine.flash
        self._bus.attached = True  # it does so itself when it starts
        if machine.chip.id == "esp32":
            self._bus.uart_clock_factor = 2  # it runs the bus from the PLL, at 80 MHz
        self._download: Download | None = None
        self._write: _Write | None = None
        self._read: _Read | None = None
        self._failure = 0  # of what was done after the last answer, told with the next one
        self._handlers: Handlers = {
            Op.SYNC: self._sync,
            Op.READ_REG: self._read_register,
            Op.WRITE_REG: self._write_register,
            Op.MEM_BEGIN: self._mem_begin,
            Op.MEM_DATA: self._mem_data,
            Op.MEM_END: self._mem_end,
            Op.SPI_ATTACH: self._attach,
            Op.SPI_SET_PARAMS: self._set_flash,
            Op.CHANGE_BAUDRATE: self._change_baud,
            Op.GET_SECURITY_INFO: self._security,
            Op.FLASH_BEGIN: self._flash_begin,
            Op.FLASH_DATA: self._flash_data,
            Op.FLASH_ENCRYPT_DATA: self._flash_encrypt_data,
            Op.FLASH_END: self._flash_end,
            Op.FLASH_DEFL_BEGIN: self._deflate_begin,
            Op.FLASH_DEFL_DATA: self._deflate_data,
            Op.FLASH_DEFL_END: self._flash_end,
            Op.SPI_FLASH_MD5: self._md5,
            Op.READ_FLASH: self._read_flash,
            Op.ERASE_FLASH: self._erase_flash,
            Op.ERASE_REGION: self._erase_region,
        }

    def handle(self, packet: bytes) -> list[Action]:
        """Answer a packet; in a read, take it as an acknowledgement."""
        if self._read is not None:
            return self._acknowledge(self._read, packet)
        if len(packet) < HEADER.size:
            return []
        direction, op, size, value = HEADER.unpack_from(packet)
        if op == Op.RUN_USER_CODE:
            return []
        failure, self._failure = self._failure, 0
        try:
            if direction != 0:
                raise RefusedError(_BAD_COMMAND)
            if size != len(packet) - HEADER.size:
                raise RefusedError(_BAD_LENGTH)
            if failure:
                raise RefusedError(failure)
            handler = self._handlers.get(op)
            if handler is None:
                raise RefusedError(_BAD_COMMAND)
            answer = handler(Request(op, value, packet[HEADER.size :]))
        except RefusedError as error:
            return [_reply(op, 0, b"", error.code)]
        sent = _reply(op, answer.value, answer.data, 0)
        count = _SYNC_ANSWERS if op == Op.SYNC else 1
        return [*answer.before, *[sent] * count, *answer.after]

    # -- the chip -------------------------------------------------------------------------------

    def _sync(self, request: Request) -> Answer:
        _expect(request, _SYNC_SIZE)
        return Answer()  # value 0: this is how a tool tells a stub from the ROM

    def _read_register(self, request: Request) -> Answer:
        _expect(request, 4)
        return Answer(self._bus.read(*request.words(1)))

    def _write_register(self, request: Request) -> Answer:
        if not request.data or len(request.data) % 16:
            raise RefusedError(_NOT_ENOUGH_DATA)
        return Answer(before=[Busy(write_registers(self._bus, request.data))])

    def _security(self, request: Request) -> Answer:
        _expect(request, 0)
        if self._machine.chip.id == "esp32":
            raise RefusedError(_NOT_IMPLEMENTED)
        return Answer(data=security_info(self._machine))

    def _change_baud(self, request: Request) -> Answer:
        _expect(request, 8)
        baud = request.words(1)[0]
        return Answer(after=[SetBaud(baud)] if baud else [])

    def _mem_begin(self, request: Request) -> Answer:
        _expect(request, 16)
        size, _, _, address = request.words(4)
        self._download = self._machine.begin_download(address, size)
        return Answer()

    def _mem_data(self, request: Request) -> Answer:
        if len(request.data) < BLOCK_HEADER_SIZE:
            raise RefusedError(_NOT_ENOUGH_DATA)
        if self._download is None:
            raise RefusedError(_NOT_IN_FLASH_MODE)
        data = request.data[BLOCK_HEADER_SIZE:]
        if request.words(1)[0] != len(data) or len(data) > self._download.left:
            raise RefusedError(_TOO_MUCH_DATA)
        if self._bus.in_ram(self._download.at, len(data)):
            self._bus.store(self._download.at, data)
        self._download.at += len(data)
        self._download.left -= len(data)
        return Answer()

    def _mem_end(self, request: Request) -> Answer:
        _expect(request, 8)
        if self._download is None:
            raise RefusedError(_NOT_IN_FLASH_MODE)
        self._download = None
        stay, entry = request.words(2)
        if stay:
            return Answer()
        self.successor, actions = start_program(self._machine, entry)
        return Answer(after=actions)

    # -- flash ----------------------------------------------------------------------------------

    def _attach(self, request: Request) -> Answer:
        _expect(request, 4)
        self._bus.attached = request.words(1)[0] == 0
        return Answer()

    def _set_flash(self, request: Request) -> Answer:
        _expect(request, 24)
        return Answer()

    def _need_flash(self) -> None:
        if not self._bus.attached:
            raise RefusedError(_SPI_FAILED)

    def _flash_begin(self, request: Request) -> Answer:
        if len(request.data) not in (16, 20):
            raise RefusedError(_BAD_LENGTH)
        self._need_flash()
        self._flash.unlock()
        size, _, _, address = request.words(4)
        start = address // SECTOR_SIZE * SECTOR_SIZE
        end = -(-(address + size) // SECTOR_SIZE) * SECTOR_SIZE
        encrypt = len(request.data) == 20 and request.words(5)[4] != 0
        self._write = _Write(address, size, start, end, encrypt)
        self._erase_to(self._write, start + 1)
        return Answer()

    def _deflate_begin(self, request: Request) -> Answer:
        answer = self._flash_begin(request)
        if self._write is not None:
            self._write.stream = zlib.decompressobj()
        return answer

    def _flash_data(self, request: Request) -> Answer:
        write, data = self._block(request)
        if write.stream is not None:
            raise RefusedError(_NOT_IN_FLASH_MODE)
        # The answer goes first, so that the next block comes in while this one is written.
        return Answer(after=[Busy(self._program(write, data[: write.left]))])

    def _flash_encrypt_data(self, request: Request) -> Answer:
        """Do what the first generation of the stub has an operation of its own for."""
        if self._write is not None:
            self._write.encrypt = True
        return self._flash_data(request)

    def _deflate_data(self, request: Request) -> Answer:
        write, data = self._block(request)
        stream = write.stream
        if stream is None:
            raise RefusedError(_NOT_IN_FLASH_MODE)
        if stream.eof:
            raise RefusedError(_TOO_MUCH_DATA)
        limit = write.left - len(write.waiting)
        try:
            plain = stream.decompress(data, limit + 1)
        except zlib.error:
            self._failure = _INFLATE_ERROR
            return Answer()
        if len(plain) > limit or stream.unconsumed_tail:
            self._failure = _TOO_MUCH_DATA
            return Answer()
        write.waiting += plain
        size = len(write.waiting)
        if not stream.eof:
            size -= size % _INFLATE_BUFFER
        done, write.waiting = write.waiting[:size], write.waiting[size:]
        return Answer(after=[Busy(self._program(write, done))])

    def _flash_end(self, request: Request) -> Answer:
        _expect(request, 4)
        if self._write is None:
            raise RefusedError(_NOT_IN_FLASH_MODE)
        if self._write.left:
            raise RefusedError(_BAD_LENGTH)
        self._write = None
        stay = request.words(1)[0]
        return Answer(after=[] if stay else [Reset("sw")])

    def _block(self, request: Request) -> tuple[_Write, bytes]:
        if len(request.data) < BLOCK_HEADER_SIZE:
            raise RefusedError(_NOT_ENOUGH_DATA)
        if self._write is None:
            raise RefusedError(_NOT_IN_FLASH_MODE)
        data = request.data[BLOCK_HEADER_SIZE:]
        if request.words(1)[0] != len(data):
            raise RefusedError(_TOO_MUCH_DATA)
        if checksum(data) != request.checksum:
            raise RefusedError(_BAD_CHECKSUM)
        return self._write, data

    def _program(self, write: _Write, data: bytes) -> int:
        """Erase as far as needed and write; return how long that takes."""
        busy = self._erase_to(write, write.at + len(data))
        cells = self._machine.encrypted(write.at, data) if write.encrypt else data
        if cells is None:
            self._failure = _SPI_FAILED
            return busy
        self._flash.program(write.at, cells)
        write.at += len(data)
        write.left -= len(data)
        return busy + flashtime.program_ns(len(data))

    def _erase_to(self, write: _Write, end: int) -> int:
        busy = 0
        while write.erase_at < min(end, write.erase_end):
            at = write.erase_at
            whole = at % BLOCK_SIZE == 0 and write.erase_end - at >= BLOCK_SIZE
            size = BLOCK_SIZE if whole else SECTOR_SIZE
            self._flash.erase(at, size)
            busy += flashtime.erase_ns(at, size)
            write.erase_at += size
        return busy

    def _md5(self, request: Request) -> Answer:
        _expect(request, 16)
        self._need_flash()
        address, length = request.words(2)
        if length > self._flash.size:
            raise RefusedError(_SPI_FAILED)
        digest = hashlib.md5(self._flash.read(address, length), usedforsecurity=False)
        return Answer(data=digest.digest(), before=[Busy(flashtime.md5_ns(length))])

    def _erase_flash(self, request: Request) -> Answer:
        self._need_flash()
        self._flash.unlock()
        self._flash.erase(0, self._flash.size)
        return Answer(before=[Busy(flashtime.chip_erase_ns(self._flash.size))])

    def _erase_region(self, request: Request) -> Answer:
        _expect(request, 8)
        address, length = request.words(2)
        if address % SECTOR_SIZE or length % SECTOR_SIZE:
            raise RefusedError(_BAD_LENGTH)
        self._need_flash()
        self._flash.unlock()
        self._flash.erase(address, length)
        return Answer(before=[Busy(flashtime.erase_ns(address, min(length, self._flash.size)))])

    # -- reading: one packet at a time, each acknowledged with the bytes received so far ----------

    def _read_flash(self, request: Request) -> Answer:
        _expect(request, 16)
        address, size, packet_size, _ = request.words(4)
        if not 0 < packet_size <= _READ_PACKET_LIMIT:
            self._failure = _BAD_LENGTH
            return Answer()
        self._need_flash()
        digest = hashlib.md5(usedforsecurity=False)
        self._read = _Read(address, size, size, packet_size, digest)
        return Answer(after=self._send(self._read) if size else self._finish(self._read))

    def _acknowledge(self, read: _Read, packet: bytes) -> list[Action]:
        if len(packet) != 4:
            return self._finish(read)
        if read.left:
            return self._send(read)
        if int.from_bytes(packet, "little") >= read.size:
            return self._finish(read)
        return []

    def _send(self, read: _Read) -> list[Action]:
        data = self._flash.read(read.at, min(read.packet_size, read.left))
        read.digest.update(data)
        read.at += len(data)
        read.left -= len(data)
        return [Busy(flashtime.read_ns(len(data))), Transmit(encode(data))]

    def _finish(self, read: _Read) -> list[Action]:
        self._read = None
        return [Transmit(encode(read.digest.digest()))]


def _expect(request: Request, size: int) -> None:
    if len(request.data) != size:
        raise RefusedError(_BAD_LENGTH)


def _reply(op: int, value: int, data: bytes, code: int) -> Transmit:
    return reply(op, value, data, code.to_bytes(2, "big"))

"""Sensirion SPS30 on a UART: SHDLC at 115200 baud (SPS30 datasheet, version 1.0, section 5)."""

import struct

from node.sensors import SensorError
from node.sensors.sps30 import Cycle
from node.wire.const import const

_START = const(0x00)
_STOP = const(0x01)
_READ = const(0x03)
_SLEEP = const(0x10)
_WAKE_UP = const(0x11)
_CLEAN = const(0x56)
_INFORMATION = const(0xD0)

_MARK = const(0x7E)
_ESCAPE = const(0x7D)
_FLIP = const(0x20)  # what the four escaped bytes differ by from what stands for them
_ESCAPED = b"\x7e\x7d\x11\x13"

_NOT_NOW = const(0x43)
_NOTHING = b""
_FLOATS = b"\x01\x03"
_TYPE = b"\x00"
_PRODUCT = b"00080000"
_HEAD = const(4)  # address, command, state, length
_ANSWER_MS = const(100)  # 20 ms at most, and the bytes
_POLL_MS = const(5)


def frame(command: int, data) -> bytes:
    """Return a command as it goes over the wire (section 5.1)."""
    content = bytes((0, command, len(data))) + data
    content += bytes((~sum(content) & 0xFF,))
    out = bytearray(b"\x7e")
    for byte in content:
        if byte in _ESCAPED:
            out.append(_ESCAPE)
            byte ^= _FLIP
        out.append(byte)
    out.append(_MARK)
    return bytes(out)


class Unstuffer:
    """Finds answers in the bytes of a wire; `content` and `length` are those of the last one."""

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self.length = 0
        self.damaged = 0
        self._count = -1  # before the first mark
        self._escaped = False

    def reset(self) -> None:
        """Forget what was begun."""
        self._count = -1
        self.damaged = 0

    def push(self, byte: int) -> bool:
        """Take a byte; True when a frame with a right sum is complete."""
        if byte == _MARK:
            length, self._count = self._count, 0
            self._escaped = False
            if length <= 0:
                return False
            if length > _HEAD and sum(self.content[i] for i in range(length)) & 0xFF == 0xFF:
                self.length = length - 1
                return True
            self.damaged += 1
        elif self._count >= 0:
            if byte == _ESCAPE:
                self._escaped = True
            elif self._count < len(self.content):
                self.content[self._count] = byte ^ _FLIP if self._escaped else byte
                self._count += 1
                self._escaped = False
            else:
                self._count = -1
        return False


class SPS30Uart(Cycle):
    """The chip on `uart` (115200 baud, 8N1, timeout 0)."""

    BUS = "uart"
    BAUD = 115200

    def __init__(self, uart, clock) -> None:
        Cycle.__init__(self, clock)
        self._uart = uart
        self._chunk = bytearray(32)
        self._answer = Unstuffer(64)
        self._rouse()
        self._say(_WAKE_UP, _NOTHING)
        self._hear_now(_WAKE_UP)
        for command, data in ((_STOP, _NOTHING), (_INFORMATION, _TYPE)):
            self._say(command, data)
            if not self._hear_now(command):
                raise SensorError("crc" if self._answer.damaged else "timeout")
        if bytes(self._answer.content[_HEAD : _HEAD + 8]) != _PRODUCT:
            raise SensorError("id")

    def _rouse(self) -> None:
        # Asleep its interface needs a low pulse, and a wake-up within 100 ms of it (5.3.6).
        self._uart.write(b"\xff")
        self._clock.wait_ms(_POLL_MS)

    def _say(self, command: int, data) -> None:
        # What is still in the buffer is not the answer to this.
        while self._uart.any():
            self._uart.readinto(self._chunk)
        self._answer.reset()
        self._uart.write(frame(command, data))

    def _hear(self, command: int) -> bool:
        chunk = self._chunk
        while self._uart.any():
            count = self._uart.readinto(chunk) or 0
            for i in range(count):
                if self._answer.push(chunk[i]) and self._answer.content[1] == command:
                    return True
        return False

    def _hear_now(self, command: int) -> bool:
        for _ in range(_ANSWER_MS // _POLL_MS):
            self._clock.wait_ms(_POLL_MS)
            if self._hear(command):
                return True
        return False

    async def _ask(self, command: int, data, allowed: int = 0) -> int:
        """Send a command and return the length of its answer's data."""
        self._say(command, data)
        for _ in range(_ANSWER_MS // _POLL_MS):
            await self._clock.sleep_ms(_POLL_MS)
            if self._hear(command):
                content = self._answer.content
                # The upper bit is about the device, and not about this command (section 5.2).
                if content[2] & 0x7F not in (0, allowed):
                    raise SensorError("refused")
                if content[3] != self._answer.length - _HEAD:
                    raise SensorError("crc")
                return content[3]
        raise SensorError("crc" if self._answer.damaged else "timeout")

    async def _start(self) -> None:
        self._rouse()
        await self._ask(_WAKE_UP, _NOTHING, _NOT_NOW)
        await self._ask(_START, _FLOATS)

    async def _end(self) -> None:
        await self._ask(_STOP, _NOTHING)
        await self._ask(_SLEEP, _NOTHING)

    async def _blow(self) -> None:
        await self._ask(_CLEAN, _NOTHING)

    async def _newest(self):
        if await self._ask(_READ, _NOTHING) < 16:
            return None
        return struct.unpack_from(">ffff", self._answer.content, _HEAD)


DRIVER = SPS30Uart

"""Plantower PMS5003: particles by laser (PMS5003 series data manual, V2.3), at 9600 baud.

It sends a frame every 0.2 to 2.3 s by itself, which is what is used: a module that was left in
passive mode is put back. Its fan needs 30 s from sleep to values that count. Of its values those
"under atmospheric environment" are taken; "CF=1" is for calibration with the maker's dust.
"""

import struct

from node.sensors import SensorError
from node.sensors.frames import Scanner
from node.wire.const import const

_HEAD_1 = const(0x42)
_HEAD_2 = const(0x4D)
_DATA = const(28)  # bytes behind the length, with the sum
_LENGTH = const(_DATA + 4)
_MODE = const(0xE1)
_SLEEP = const(0xE4)

_WARM_UP_MS = const(30000)
_SILENT_MS = const(2500)
_FRAME_MS = const(5500)
_POLL_MS = const(50)
_GAP_MS = const(100)
_PM1 = const(10)  # where the words "under atmospheric environment" begin
_FAULT = const(29)  # low byte of the reserved word: the module's own error code


def judge(data, count: int) -> int:
    """Return the length of the frame at the beginning of `data`, 0: not yet known, -1: none.

    Answers to commands have the same head and 4 bytes: they are none.
    """
    if data[0] != _HEAD_1 or (count > 1 and data[1] != _HEAD_2):
        return -1
    if count < 4:
        return 0
    if (data[2] << 8) | data[3] != _DATA:
        return -1
    if count < _LENGTH:
        return 0
    total = 0
    for i in range(_LENGTH - 2):
        total += data[i]
    return _LENGTH if total & 0xFFFF == (data[_LENGTH - 2] << 8) | data[_LENGTH - 1] else -1


def command(code: int, value: int) -> bytes:
    """Return a command as it goes over the wire (appendix I, protocol of the host)."""
    total = _HEAD_1 + _HEAD_2 + code + value
    return bytes((_HEAD_1, _HEAD_2, code, 0, value, total >> 8, total & 0xFF))


class PMS5003:
    """The module on `uart` (9600 baud, 8N1, timeout 0); nothing is known of it until it speaks."""

    BUS = "uart"
    BAUD = 9600
    FIELDS = ("pm1_ugm3", "pm25_ugm3", "pm10_ugm3")
    WARM_UP_MS = _WARM_UP_MS

    def __init__(self, uart, clock) -> None:
        self._uart = uart
        self._clock = clock
        self._scanner = Scanner(uart, _LENGTH, judge)
        self._awake = False
        self._since_ms = 0

    async def wake(self) -> None:
        """Start fan and laser, and have it send."""
        self._uart.write(command(_SLEEP, 1))
        await self._clock.sleep_ms(_GAP_MS)
        self._uart.write(command(_MODE, 1))
        self._since_ms = self._clock.ticks_ms()
        self._awake = True

    async def measure(self) -> tuple:
        """Return the mass of particles up to 1, 2.5 and 10 µm (µg/m³)."""
        alone = not self._awake
        if alone:
            await self.wake()
        try:
            clock = self._clock
            left = _WARM_UP_MS - clock.ticks_diff(clock.ticks_ms(), self._since_ms)
            if left > 0:
                await clock.sleep_ms(left)
            await self._next()
            if self._scanner.frame[_FAULT]:
                raise SensorError("skipped")
            return struct.unpack_from(">HHH", self._scanner.frame, _PM1)
        finally:
            if alone:
                await self.sleep()

    async def sleep(self) -> None:
        """Stop fan and laser."""
        self._awake = False
        self._uart.write(command(_SLEEP, 0))

    async def _next(self) -> None:
        # What has come until now is of the time before, and the buffer has lost some of it.
        self._scanner.flush()
        start = self._clock.ticks_ms()
        told = False
        while not self._scanner.poll():
            waited = self._clock.ticks_diff(self._clock.ticks_ms(), start)
            if waited > _FRAME_MS:
                raise SensorError("timeout")
            if waited > _SILENT_MS and not told:
                # It was still starting when it was told to send by itself.
                told = True
                self._uart.write(command(_MODE, 1))
            await self._clock.sleep_ms(_POLL_MS)


DRIVER = PMS5003

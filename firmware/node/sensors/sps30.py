"""Sensirion SPS30 on I2C: particles by laser (SPS30 datasheet, version 1.0).

Asleep between measurements. It has to suck air for up to 30 s before its values count (table 1:
start-up time, in clean air). The class of the UART is in `sps30_uart`.
"""

import struct

from node.sensors import SensorError
from node.sensors.sensirion import Commands
from node.wire.const import const

_START = const(0x0010)
_FLOATS = const(0x0300)
_STOP = const(0x0104)
_DATA_READY = const(0x0202)
_READ = const(0x0300)
_SLEEP = const(0x1001)
_WAKE_UP = const(0x1103)
_CLEAN = const(0x5607)
_TYPE = const(0xD002)

_WARM_UP_MS = const(30000)
_CLEANING_MS = const(10000)
_STATE_MS = const(25)  # 20 ms at most for start and stop
_SHORT_MS = const(6)  # 5 ms at most to wake up and to fall asleep
_POLL_MS = const(100)
_NEW_DATA_MS = const(2500)  # one measurement each second
_PRODUCT = b"00080000"


class Cycle:
    """Waking, warming up, reading, sleeping: the same over both interfaces.

    `measure` alone does all of it. A sampler that knows its next instant calls `wake` that much
    ahead (`WARM_UP_MS`), `measure`, and `sleep`.
    """

    FIELDS = ("pm1_ugm3", "pm25_ugm3", "pm4_ugm3", "pm10_ugm3")
    WARM_UP_MS = _WARM_UP_MS

    def __init__(self, clock) -> None:
        self._clock = clock
        self._awake = False
        self._since_ms = 0

    async def wake(self) -> None:
        """Start fan and laser."""
        await self._start()
        self._since_ms = self._clock.ticks_ms()
        self._awake = True

    async def measure(self) -> tuple:
        """Return the mass of particles up to 1, 2.5, 4 and 10 µm (µg/m³)."""
        alone = not self._awake
        if alone:
            await self.wake()
        try:
            clock = self._clock
            left = _WARM_UP_MS - clock.ticks_diff(clock.ticks_ms(), self._since_ms)
            if left > 0:
                await clock.sleep_ms(left)
            start = clock.ticks_ms()
            while True:
                values = await self._newest()
                if values is not None:
                    return values
                if clock.ticks_diff(clock.ticks_ms(), start) > _NEW_DATA_MS:
                    raise SensorError("timeout")
                await clock.sleep_ms(_POLL_MS)
        finally:
            if alone:
                await self.sleep()

    async def sleep(self) -> None:
        """Stop the fan and sleep."""
        self._awake = False
        await self._end()

    async def clean(self) -> None:
        """Blow the fan clean: due once a week, by this where the supply is switched (4.2)."""
        await self.wake()
        await self._blow()
        await self._clock.sleep_ms(_CLEANING_MS)
        await self.sleep()

    # What differs: to wake up and start, to stop and sleep, to blow, to read what is new.

    async def _start(self) -> None:
        raise NotImplementedError

    async def _end(self) -> None:
        raise NotImplementedError

    async def _blow(self) -> None:
        raise NotImplementedError

    async def _newest(self):
        raise NotImplementedError


class SPS30(Cycle):
    """The chip at `address` (0x69) of an I2C bus."""

    BUS = "i2c"

    def __init__(self, bus, address: int, clock) -> None:
        Cycle.__init__(self, clock)
        self._chip = Commands(bus, address)
        self._word = bytearray(3)
        self._words = bytearray(12)
        self._data = bytearray(24)
        self._wake_interface()
        self._send(_STOP, _STATE_MS)  # a restart of the node may have left it running
        self._send(_TYPE, 2)
        self._chip.fetch(self._words)
        if bytes([self._words[i] for i in (0, 1, 3, 4, 6, 7, 9, 10)]) != _PRODUCT:
            raise SensorError("id")

    def _send(self, command: int, ms: int) -> None:
        self._chip.send(command)
        self._clock.wait_ms(ms)

    def _wake_interface(self) -> None:
        # Asleep it does not acknowledge the first, which wakes its interface for 100 ms (6.3.7).
        try:
            self._chip.send(_WAKE_UP)
        except OSError:
            self._chip.send(_WAKE_UP)
        self._clock.wait_ms(_SHORT_MS)

    async def _start(self) -> None:
        self._wake_interface()
        self._chip.send_word(_START, _FLOATS)
        await self._clock.sleep_ms(_STATE_MS)

    async def _end(self) -> None:
        self._chip.send(_STOP)
        await self._clock.sleep_ms(_STATE_MS)
        self._send(_SLEEP, _SHORT_MS)

    async def _blow(self) -> None:
        self._send(_CLEAN, _SHORT_MS)

    async def _newest(self):
        self._send(_DATA_READY, 1)
        self._chip.fetch(self._word)
        if not self._word[1]:
            return None
        self._send(_READ, 1)
        data = self._data  # the four masses are the first of ten values
        self._chip.fetch(data)
        values = []
        for i in range(0, len(data), 6):
            data[i + 2] = data[i + 3]
            data[i + 3] = data[i + 4]
            values.append(struct.unpack_from(">f", data, i)[0])
        return tuple(values)


DRIVER = SPS30

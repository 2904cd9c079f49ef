"""Nova Fitness SDS011: particles by laser (control protocol V1.3), at 9600 baud.

Asked for each reading. Its laser lasts some 8000 hours, so it sleeps between measurements; a
reading is the mean of a window after the warm-up. Modules have been seen to fall silent until
their supply goes: give the driver a switch.
"""

from node.sensors import SensorError
from node.sensors.frames import Scanner
from node.wire.const import const

_HEAD = const(0xAA)
_TAIL = const(0xAB)
_COMMAND = const(0xB4)
_DATA = const(0xC0)
_ANSWER = const(0xC5)
_LENGTH = const(10)

_MODE = const(2)
_QUERY = const(4)
_WORK = const(6)
_PERIOD = const(8)

_WARM_UP_MS = const(30000)
_START_MS = const(1000)
_OFF_MS = const(1000)
_ANSWER_MS = const(500)
_POLL_MS = const(10)
_TRIES = const(3)
_WINDOW = const(5)  # readings, one each second
_SECOND_MS = const(1000)


def judge(data, count: int) -> int:
    """Return the length of the frame at the beginning of `data`, 0: not yet known, -1: none."""
    if data[0] != _HEAD or (count > 1 and data[1] not in (_DATA, _ANSWER)):
        return -1
    if count < _LENGTH:
        return 0
    total = 0
    for i in range(2, 8):
        total += data[i]
    return _LENGTH if total & 0xFF == data[8] and data[9] == _TAIL else -1


def command(code: int, setting: int = 0, value: int = 0) -> bytes:
    """Return a command to any module as it goes over the wire (section 3)."""
    data = bytearray(19)
    data[0], data[1], data[2], data[3], data[4] = _HEAD, _COMMAND, code, setting, value
    data[15] = data[16] = 0xFF
    data[17] = (code + setting + value + 0x1FE) & 0xFF
    data[18] = _TAIL
    return bytes(data)


class SDS011:
    """The module on `uart` (9600 baud, 8N1, timeout 0).

    `switch` has `value(level)` as a Pin and is 1 while the module has its supply; None where it
    always has.
    """

    BUS = "uart"
    BAUD = 9600
    FIELDS = ("pm25_ugm3", "pm10_ugm3")
    WARM_UP_MS = _WARM_UP_MS

    def __init__(self, uart, clock, switch=None) -> None:
        self._uart = uart
        self._clock = clock
        self._switch = switch
        self._scanner = Scanner(uart, _LENGTH, judge)
        self._awake = False
        self._since_ms = 0

    async def wake(self) -> None:
        """Give it its supply, start fan and laser, and have it speak only when asked."""
        if self._switch is not None:
            self._switch.value(1)
        try:
            await self._set_up()
        except SensorError:
            if self._switch is None:
                raise
            self._switch.value(0)
            await self._clock.sleep_ms(_OFF_MS)
            self._switch.value(1)
            await self._set_up()
        self._since_ms = self._clock.ticks_ms()
        self._awake = True

    async def measure(self) -> tuple:
        """Return the mass of particles up to 2.5 and 10 µm (µg/m³), the mean over 5 s."""
        alone = not self._awake
        try:
            if alone:
                await self.wake()
            await self._warm()
            try:
                return await self._window()
            except SensorError:
                if self._switch is None:
                    raise
            # Silent in the middle: once more, from its supply on.
            self._switch.value(0)
            await self._clock.sleep_ms(_OFF_MS)
            await self.wake()
            await self._warm()
            return await self._window()
        finally:
            if alone:
                try:
                    await self.sleep()
                except SensorError:
                    pass  # what it has measured is good all the same

    async def sleep(self) -> None:
        """Stop fan and laser, or take the supply away where there is a switch."""
        self._awake = False
        if self._switch is not None:
            self._switch.value(0)
        else:
            await self._ask(command(_WORK, 1, 0), _ANSWER, _WORK)

    async def _warm(self) -> None:
        clock = self._clock
        left = _WARM_UP_MS - clock.ticks_diff(clock.ticks_ms(), self._since_ms)
        if left > 0:
            await clock.sleep_ms(left)

    async def _window(self) -> tuple:
        pm25 = pm10 = 0
        for number in range(_WINDOW):
            if number:
                await self._clock.sleep_ms(_SECOND_MS)
            await self._ask(command(_QUERY), _DATA, 0)
            frame = self._scanner.frame
            pm25 += frame[2] | (frame[3] << 8)
            pm10 += frame[4] | (frame[5] << 8)
        return pm25 / (10 * _WINDOW), pm10 / (10 * _WINDOW)

    async def _set_up(self) -> None:
        # Just switched on, or asleep, it may miss what comes first.
        await self._clock.sleep_ms(_START_MS)
        await self._ask(command(_WORK, 1, 1), _ANSWER, _WORK)
        await self._ask(command(_MODE, 1, 1), _ANSWER, _MODE)
        await self._ask(command(_PERIOD, 1, 0), _ANSWER, _PERIOD)

    async def _ask(self, data, kind: int, code: int) -> None:
        """Send a command until its answer comes; it is in the scanner's frame then."""
        scanner = self._scanner
        for _ in range(_TRIES):
            scanner.flush()
            self._uart.write(data)
            start = self._clock.ticks_ms()
            while self._clock.ticks_diff(self._clock.ticks_ms(), start) < _ANSWER_MS:
                await self._clock.sleep_ms(_POLL_MS)
                while scanner.poll():
                    frame = scanner.frame
                    if frame[1] == kind and (kind == _DATA or frame[2] == code):
                        return
        raise SensorError("timeout")


DRIVER = SDS011

"""Sensirion SPS30: particles by laser (SPS30 datasheet, version 1.0), on I2C or on a UART.

It sucks air only while it measures: its values come up from nothing in the start-up time of the
datasheet, which is the longer the cleaner the air is. In a gap of the weather it has no new data.
"""

import random
import struct

from citynode.virtual.chips import Around, Clock, Timeline
from citynode.virtual.chips.sensirion import MS, WordTarget
from citynode.virtual.chips.uart import SerialChip

_SLEEP, _IDLE, _MEASURING = range(3)
_PRODUCT = b"00080000"
_FIRMWARE = (2, 2)
_SECOND = 1000 * MS
# Start-up time by the number of particles up to 2.5 µm per cm³ (table 1).
_START_UP_S = ((200, 8), (100, 16), (0, 30))
_WAKE_WINDOW_NS = 100 * MS
_CLEANING_NS = 10_000 * MS


class Core:
    """What both interfaces lead to: the states of figure 2 and a measurement each second."""

    def __init__(self, clock: Clock, around: Around, rng: random.Random) -> None:
        self.serial = b"%016X" % rng.getrandbits(64)
        self.cleaning_s = 604_800
        self.state = _IDLE
        self.whole_numbers = False
        self.interface_until_ns = -1
        self._clock = clock
        self._around = around
        self._since_ns = 0
        self._given = 0
        self._cleaning_until_ns = 0

    def power_up(self) -> None:
        """Start idle."""
        self.state = _IDLE

    def start(self, form: int) -> bool:
        """Measure; form 3 gives floats, 5 whole numbers. False if that is not possible now."""
        if self.state != _IDLE or form not in (3, 5):
            return False
        self.state = _MEASURING
        self.whole_numbers = form == 5
        self._since_ns = self._clock.now_ns()
        self._given = 0
        return True

    def stop(self) -> bool:
        """Go back to idle."""
        if self.state == _SLEEP:
            return False
        self.state = _IDLE
        return True

    def sleep(self) -> bool:
        """Fall asleep, from idle only (section 4.1)."""
        if self.state != _IDLE:
            return False
        self.state = _SLEEP
        self.interface_until_ns = -1
        return True

    def stir(self) -> bool:
        """Hear a pulse on the line while asleep: the interface works for a moment (4.1)."""
        awake = self._clock.now_ns() <= self.interface_until_ns
        self.interface_until_ns = self._clock.now_ns() + _WAKE_WINDOW_NS
        return awake

    def clean(self) -> bool:
        """Run the fan at full speed for ten seconds, while measuring (4.2)."""
        if self.state != _MEASURING:
            return False
        self._cleaning_until_ns = self._clock.now_ns() + _CLEANING_NS
        return True

    def ready(self) -> bool:
        """Tell whether there is a measurement that was not read."""
        if self.state != _MEASURING or self._clock.now_ns() < self._cleaning_until_ns:
            return False
        number = (self._clock.now_ns() - self._since_ns) // _SECOND
        return number > self._given and self._around(self._clock.now_ns()) is not None

    def values(self) -> tuple[float, ...] | None:
        """Return the newest measurement once: masses (µg/m³), numbers (1/cm³), size (µm)."""
        if not self.ready():
            return None
        age = self._clock.now_ns() - self._since_ns
        self._given = age // _SECOND
        around = self._around(self._since_ns + self._given * _SECOND)
        around = around or self._around(self._clock.now_ns())
        if around is None:
            return None
        pm1, pm25, pm4, pm10 = (
            around.pm1_ugm3, around.pm25_ugm3, around.pm4_ugm3, around.pm10_ugm3
        )  # fmt: skip
        nc25 = 7.95 * pm1 + 0.15 * (pm25 - pm1)
        start_up_s = next(s for least, s in _START_UP_S if nc25 >= least)
        share = min(1.0, age / (start_up_s * _SECOND))
        numbers = (6.7 * pm1, 7.9 * pm1, nc25, nc25 + 0.02 * (pm4 - pm25), nc25 + 0.025 * pm10)
        return (*(share * value for value in (pm1, pm25, pm4, pm10, *numbers)), 0.52)

    def packed(self, values: tuple[float, ...]) -> bytes:
        """Return values in the form that was asked for; whole numbers have the size in nm."""
        if self.whole_numbers:
            return struct.pack(">10H", *(min(65535, round(v)) for v in values[:9]), 520)
        return struct.pack(">10f", *values)


_START, _STOP, _READY, _READ = 0x0010, 0x0104, 0x0202, 0x0300
_SLEEP_NOW, _WAKE_UP, _CLEAN, _INTERVAL = 0x1001, 0x1103, 0x5607, 0x8004
_TYPE, _SERIAL, _VERSION, _STATUS, _CLEAR, _RESET = 0xD002, 0xD033, 0xD100, 0xD206, 0xD210, 0xD304


class SPS30(WordTarget):
    """The sensor with SEL low: I2C; `product` is what it says it is."""

    def __init__(
        self,
        clock: Clock,
        around: Around,
        rng: random.Random,
        address: int = 0x69,
        *,
        product: bytes = _PRODUCT,
    ) -> None:
        super().__init__(clock, address)
        self.core = Core(clock, around, rng)
        self.product = product

    def power_up(self) -> None:
        """Start idle."""
        self.start_over()
        self.core.power_up()
        self.busy(20)

    def present(self, now: int) -> bool:
        """Asleep, the first START only wakes the interface."""
        return self.core.state != _SLEEP or self.core.stir()

    def takes(self, command: int) -> bool:
        """Acknowledge what the state allows."""
        if self.core.state == _SLEEP:
            return command == _WAKE_UP
        return command in (
            _START, _STOP, _READY, _READ, _SLEEP_NOW, _WAKE_UP, _CLEAN, _INTERVAL, _TYPE, _SERIAL,
            _VERSION, _STATUS, _CLEAR, _RESET,
        )  # fmt: skip

    def carry_out(self, command: int, arguments: list[int]) -> None:
        """Do what a command says (section 6.3)."""
        core = self.core
        if command == _START and arguments:
            core.start(arguments[0] >> 8)
            self.busy(20)
        elif command == _STOP:
            core.stop()
            self.busy(20)
        elif command == _READY:
            self._give(struct.pack(">H", core.ready()))
        elif command == _READ:
            self._read_values()
        elif command == _SLEEP_NOW:
            core.sleep()
            self.busy(5)
        elif command == _WAKE_UP:
            if core.state == _SLEEP:
                core.state = _IDLE
                self.busy(5)
        elif command == _CLEAN:
            core.clean()
            self.busy(5)
        elif command == _INTERVAL and len(arguments) == 2:
            core.cleaning_s = arguments[0] << 16 | arguments[1]
        elif command == _RESET:
            core.power_up()
            self.busy(100)
        else:
            known = {
                _TYPE: self.product,
                _SERIAL: core.serial + bytes(16),
                _VERSION: bytes(_FIRMWARE),
                _STATUS: bytes(4),
                _INTERVAL: core.cleaning_s.to_bytes(4, "big"),
            }
            self._give(known.get(command, b""))

    def _give(self, data: bytes) -> None:
        if data:
            count = len(data) // 2
            self.answer(*struct.unpack(f">{count}H", data[: 2 * count]), after_ms=0)

    def _read_values(self) -> None:
        values = self.core.values()
        if values is not None:
            self._give(self.core.packed(values))


# State bytes of an answer (table of section 5.2).
_WRONG_LENGTH, _UNKNOWN, _PARAMETER, _NOT_NOW = 0x01, 0x02, 0x04, 0x43
_STUFFED = {0x7E: 0x5E, 0x7D: 0x5D, 0x11: 0x31, 0x13: 0x33}


def stuffed(content: bytes) -> bytes:
    """Return content with its sum as a frame of SHDLC (section 5.1)."""
    body = bytearray()
    for byte in content + bytes((~sum(content) & 0xFF,)):
        body += bytes((0x7D, _STUFFED[byte])) if byte in _STUFFED else bytes((byte,))
    return b"\x7e" + bytes(body) + b"\x7e"


def unstuffed(body: bytes) -> bytes | None:
    """Return the content of what was between two marks, None if its sum is wrong."""
    back = {value: key for key, value in _STUFFED.items()}
    content = bytearray()
    escaped = False
    for byte in body:
        if escaped:
            content.append(back.get(byte, byte))
        elif byte != 0x7D:
            content.append(byte)
        escaped = not escaped and byte == 0x7D
    return bytes(content[:-1]) if content and sum(content) & 0xFF == 0xFF else None


class SPS30Uart(SerialChip):
    """The sensor with SEL open: SHDLC at 115200 baud."""

    noise = b"\x00\x7e\x00\x03\x11"  # the beginning of a frame that was cut off

    def __init__(
        self, timeline: Timeline, around: Around, rng: random.Random, *, product: bytes = _PRODUCT
    ) -> None:
        super().__init__(timeline, 115_200)
        self.core = Core(timeline.clock, around, rng)
        self.product = product
        self._body: bytearray | None = None

    def start(self) -> None:
        """Start idle."""
        self.core.power_up()
        self._body = None

    def spoilt(self, data: bytes) -> bytes:
        """Return a frame whose sum is wrong."""
        return data[:-2] + bytes((data[-2] ^ 0x40,)) + data[-1:]

    def hear(self, data: bytes) -> None:
        """Collect frames; asleep, the first low pulse only wakes the interface."""
        if self.core.state == _SLEEP and not self.core.stir():
            return
        for byte in data:
            if byte != 0x7E:
                if self._body is not None and len(self._body) < 600:
                    self._body.append(byte)
                continue
            content = unstuffed(bytes(self._body)) if self._body else None
            self._body = bytearray()
            if content is not None and len(content) >= 3 and content[0] == 0:
                self._do(content[1], content[2], content[3:])

    def _do(self, command: int, length: int, data: bytes) -> None:
        if self.core.state == _SLEEP and command != 0x11:
            return
        state, answer = self._carry_out(command, length, data)
        self.say(stuffed(bytes((0, command, state, len(answer))) + answer), after_ms=2)

    def _carry_out(self, command: int, length: int, data: bytes) -> tuple[int, bytes]:
        """Return the state byte and the data of the answer (section 5.3)."""
        core = self.core
        if length != len(data):
            return _WRONG_LENGTH, b""
        if command == 0x00:
            if data[:1] != b"\x01" or length != 2 or data[1] not in (3, 5):
                return _PARAMETER, b""
            return (0 if core.start(data[1]) else _NOT_NOW), b""
        if command == 0x03:
            if core.state != _MEASURING:
                return _NOT_NOW, b""
            values = core.values()
            return 0, b"" if values is None else core.packed(values)
        if command == 0xD0:
            known = {b"\0": self.product, b"\3": core.serial}
            return (0, known[data] + b"\0") if data in known else (_PARAMETER, b"")
        if command == 0x80:
            if length == 1:
                return 0, core.cleaning_s.to_bytes(4, "big")
            core.cleaning_s = int.from_bytes(data[1:], "big")
            return 0, b""
        if command == 0x11:
            # In another state than sleep it is an error (seen on chips of firmware 2.2).
            if core.state != _SLEEP:
                return _NOT_NOW, b""
            core.state = _IDLE
            return 0, b""
        if command == 0xD3:
            core.power_up()
            return 0, b""
        known_answers = {0xD1: bytes((*_FIRMWARE, 0, 7, 0, 2, 0)), 0xD2: bytes(5)}
        if command in known_answers:
            return 0, known_answers[command]
        act = {0x01: core.stop, 0x10: core.sleep, 0x56: core.clean}.get(command)
        return (_UNKNOWN, b"") if act is None else (0 if act() else _NOT_NOW, b"")

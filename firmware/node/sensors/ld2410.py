"""Hi-Link LD2410: presence by radar, 0.75 to 6 m (serial protocol V1.02), at 256000 baud.

It sends a frame ten times a second by itself. A frame has a head, a length and a tail, but no sum:
what is in a buffer that has run over is not looked at.
"""

from node.sensors import SensorError
from node.sensors.stream import Stream
from node.wire.const import const

_DATA = b"\xf4\xf3\xf2\xf1"
_DATA_END = b"\xf8\xf7\xf6\xf5"
_COMMAND = b"\xfd\xfc\xfb\xfa"
_COMMAND_END = b"\x04\x03\x02\x01"

_ENGINEERING = const(0x01)
_BASIC = const(0x02)
_HEAD = const(0xAA)
_TAIL = const(0x55)
_BASIC_DATA = const(13)
_LONGEST = const(64)
_CONTENT = const(6)  # behind head and length

_ENABLE = const(0xFF)
_END = const(0xFE)
_VERSION = const(0xA0)
_NO_ENGINEERING = const(0x63)
_TYPE = const(0x0100)

_PERIOD_MS = const(100)
_SILENT_MS = const(1000)
_ANSWER_MS = const(100)
_POLL_MS = const(5)
_TRIES = const(3)


def judge(data, count: int) -> int:
    """Return the length of the frame at the beginning of `data`, 0: not yet known, -1: none."""
    if data[0] == _DATA[0]:
        head, tail = _DATA, _DATA_END
    elif data[0] == _COMMAND[0]:
        head, tail = _COMMAND, _COMMAND_END
    else:
        return -1
    for i in range(1, min(count, 4)):
        if data[i] != head[i]:
            return -1
    if count < _CONTENT:
        return 0
    length = (data[4] | (data[5] << 8)) + 10
    if not 12 <= length <= _LONGEST:
        return -1
    if count < length:
        return 0
    for i in range(4):
        if data[length - 4 + i] != tail[i]:
            return -1
    if head is _DATA:
        # Its only check beside head and tail: a head and a tail within the data, and their length.
        kind = data[_CONTENT]
        if data[_CONTENT + 1] != _HEAD or data[length - 6] != _TAIL or data[length - 5]:
            return -1
        if kind != _ENGINEERING and (kind != _BASIC or length != _BASIC_DATA + 10):
            return -1
    return length


def command(code: int, value: bytes = b"") -> bytes:
    """Return a command as it goes over the wire (section 2.1.2)."""
    return _COMMAND + bytes((len(value) + 2, 0, code, 0)) + value + _COMMAND_END


class LD2410:
    """The module on `uart` (256000 baud, 8N1, timeout 0, rxbuf 256 or more).

    After a `read` that was True the sample is in `t_ms` (ticks), `moving` and `still` (whether it
    sees such a target), their `moving_mm`, `still_mm` and energies (0 to 100), and `distance_mm`,
    that of the nearer one, 0 if there is none.
    """

    def __init__(self, uart, clock) -> None:
        self._uart = uart
        self._clock = clock
        self._stream = Stream(uart, clock, _LONGEST, judge, _PERIOD_MS, _SILENT_MS)
        self.t_ms = self.distance_mm = 0
        self.moving = self.still = False
        self.moving_mm = self.still_mm = self.moving_energy = self.still_energy = 0
        self._ask(_ENABLE, b"\x01\x00")
        try:
            frame = self._ask(_VERSION)
            if frame[_CONTENT + 4] | (frame[_CONTENT + 5] << 8) != _TYPE:
                raise SensorError("id")
            self._ask(_NO_ENGINEERING)
        finally:
            # While commands are enabled it sends no samples.
            self._ask(_END)
        self._stream.flush()

    def read(self) -> bool:
        """Take the next sample, if there is one; to be called until it is False, every 500 ms.

        Raises SensorError "timeout", once for each second without a sample.
        """
        stream = self._stream
        try:
            while True:
                if not stream.next():
                    return False
                data = stream.frame
                if data[0] == _DATA[0]:
                    break
        except SensorError:
            # A command that was cut off has left it waiting for the next one.
            self._uart.write(command(_END))
            raise
        state = data[8]
        self.t_ms = stream.t_ms
        self.moving = bool(state & 0x01)
        self.still = bool(state & 0x02)
        self.moving_mm = (data[9] | (data[10] << 8)) * 10
        self.moving_energy = data[11]
        self.still_mm = (data[12] | (data[13] << 8)) * 10
        self.still_energy = data[14]
        nearest = 0
        if self.moving:
            nearest = self.moving_mm
        if self.still and (not nearest or self.still_mm < nearest):
            nearest = self.still_mm
        self.distance_mm = nearest
        return True

    def _ask(self, code: int, value: bytes = b"") -> bytearray:
        """Send a command and return the frame of its answer.

        Raises SensorError "timeout", and "refused" where it says that it has failed.
        """
        stream = self._stream
        for _ in range(_TRIES):
            stream.flush()
            self._uart.write(command(code, value))
            for _ in range(_ANSWER_MS // _POLL_MS):
                self._clock.wait_ms(_POLL_MS)
                while stream.poll():
                    frame = stream.frame
                    if frame[0] == _COMMAND[0] and frame[6] == code and frame[7] == 0x01:
                        if frame[8] | frame[9]:
                            raise SensorError("refused")
                        return frame
        raise SensorError("timeout")


DRIVER = LD2410

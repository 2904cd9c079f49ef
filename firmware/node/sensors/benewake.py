"""What Benewake's TF lidars have in common (TF-Luna manual A05, TF02-Pro A02, TFmini-S A00).

At 115200 baud they send frames of nine bytes by themselves, 100 times a second. Commands and their
answers begin with 0x5A. What they were set to before may have been saved in them: unit, rate and
output are set anew.
"""

from node.sensors import SensorError
from node.sensors.stream import Stream
from node.wire.const import const

_HEAD = const(0x59)
_COMMAND = const(0x5A)
_LENGTH = const(9)
_LONGEST_ANSWER = const(8)

_VERSION = const(0x01)
_RATE = const(0x03)
_UNIT = const(0x05)
_OUTPUT = const(0x07)
_CENTIMETRES = const(1)
_HZ = const(100)

_PERIOD_MS = const(10)
_SILENT_MS = const(200)
_ANSWER_MS = const(100)
_POLL_MS = const(5)
_TRIES = const(3)

_WEAKEST = const(100)
_OVERFLOW = const(65535)


def judge(data, count: int) -> int:
    """Return the length of the frame at the beginning of `data`, 0: not yet known, -1: none."""
    if data[0] == _HEAD:
        if count > 1 and data[1] != _HEAD:
            return -1
        length = _LENGTH
    elif data[0] == _COMMAND:
        if count < 2:
            return 0
        length = data[1]
        if not 4 <= length <= _LONGEST_ANSWER:
            return -1
    else:
        return -1
    if count < length:
        return 0
    total = 0
    for i in range(length - 1):
        total += data[i]
    return length if total & 0xFF == data[length - 1] else -1


def command(code: int, *values) -> bytes:
    """Return a command as it goes over the wire."""
    data = bytes((_COMMAND, len(values) + 4, code)) + bytes(values)
    return data + bytes((sum(data) & 0xFF,))


_SETTINGS = (
    (_UNIT, command(_UNIT, _CENTIMETRES)),
    (_RATE, command(_RATE, _HZ, 0)),
    (_OUTPUT, command(_OUTPUT, 1)),
)


class TFLidar:
    """A lidar on `uart` (115200 baud, 8N1, timeout 0, rxbuf 256 or more).

    After a `read` that was True the sample is in `t_ms` (ticks), `distance_mm` and `strength`;
    `valid` is False where the strength is below 100 or 65535, or the distance is none of its reach.
    """

    REACH_MM = 0
    ANSWERS = True  # to commands

    def __init__(self, uart, clock) -> None:
        self._uart = uart
        self._clock = clock
        self._stream = Stream(uart, clock, _LENGTH, judge, _PERIOD_MS, _SILENT_MS)
        self.t_ms = self.distance_mm = self.strength = 0
        self.valid = False
        if not self._ask(_VERSION, command(_VERSION)):
            raise SensorError("timeout")
        if self.ANSWERS:
            for code, data in _SETTINGS:
                if not self._ask(code, data):
                    raise SensorError("refused")
        self._stream.flush()

    def read(self) -> bool:
        """Take the next sample, if there is one; to be called until it is False, every 10 ms or so.

        Raises SensorError "timeout", once for each 200 ms without a sample.
        """
        stream = self._stream
        try:
            while True:
                if not stream.next():
                    return False
                data = stream.frame
                if data[0] == _HEAD:
                    break
        except SensorError:
            # It may have come back with what was saved in it.
            if self.ANSWERS:
                for _, setting in _SETTINGS:
                    self._uart.write(setting)
            raise
        self.t_ms = stream.t_ms
        distance = (data[2] | (data[3] << 8)) * 10
        strength = data[4] | (data[5] << 8)
        self.distance_mm = distance
        self.strength = strength
        self.valid = _WEAKEST <= strength < _OVERFLOW and 0 < distance < self.REACH_MM
        return True

    def _ask(self, code: int, data) -> bool:
        """Send a command; return whether its answer came (or a sample of what does not answer)."""
        clock, stream = self._clock, self._stream
        for _ in range(_TRIES):
            stream.flush()
            self._uart.write(data)
            for _ in range(_ANSWER_MS // _POLL_MS):
                clock.wait_ms(_POLL_MS)
                while stream.poll():
                    frame = stream.frame
                    if frame[2] == code if frame[0] == _COMMAND else not self.ANSWERS:
                        return True
        return False

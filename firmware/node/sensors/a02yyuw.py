"""DFRobot/DYP A02YYUW: ultrasonic, 3 cm to 4.5 m (SEN0311 manual), at 9600 baud.

With its RX high or open it sends a steadied distance every 100 to 300 ms, with RX low what it has
just measured every 100 ms: leave the UART's TX away and tie RX low where vehicles pass.
"""

from node.sensors.stream import Stream
from node.wire.const import const

_HEAD = const(0xFF)
_LENGTH = const(4)
_PERIOD_MS = const(100)
_SILENT_MS = const(1000)
_NEAREST_MM = const(30)
_REACH_MM = const(4500)
_FARTHEST = const(0x1F)  # high byte of more than any such sensor reaches
_CODES = const(0xFD)  # 0xFFFD: no echo, 0xFFFE: the sound of another one


def is_distance(high: int, low: int) -> bool:
    """Return whether two bytes are a distance or a code.

    At 511 mm the bytes `FF 01 FF FF` come again and again, and a frame that begins with the last of
    them has the right sum for ever.
    """
    return high <= _FARTHEST or (high == _HEAD and low >= _CODES)


def judge(data, count: int) -> int:
    """Return the length of the frame at the beginning of `data`, 0: not yet known, -1: none."""
    if data[0] != _HEAD:
        return -1
    if count < _LENGTH:
        return 0
    if not is_distance(data[1], data[2]):
        return -1
    return _LENGTH if (_HEAD + data[1] + data[2]) & 0xFF == data[3] else -1


class A02YYUW:
    """The sensor on `uart` (9600 baud, 8N1, timeout 0, rxbuf 256 or more).

    After a `read` that was True the sample is in `t_ms` (ticks) and `distance_mm`; `valid` is
    False where that is none of 30 to 4500 mm. Nothing is known of the sensor until it speaks.
    """

    def __init__(self, uart, clock) -> None:
        self._stream = Stream(uart, clock, _LENGTH, judge, _PERIOD_MS, _SILENT_MS)
        self._stream.flush()
        self.t_ms = self.distance_mm = 0
        self.valid = False

    def read(self) -> bool:
        """Take the next sample, if there is one; to be called until it is False, every 100 ms.

        Raises SensorError "timeout", once for each second without a sample.
        """
        stream = self._stream
        if not stream.next():
            return False
        distance = (stream.frame[1] << 8) | stream.frame[2]
        self.t_ms = stream.t_ms
        self.distance_mm = distance
        self.valid = _NEAREST_MM <= distance <= _REACH_MM
        return True


DRIVER = A02YYUW

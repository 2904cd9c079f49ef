"""JSN-SR04T and AJ-SR04M: ultrasonic, 20 cm to 4.5 m, in a serial mode at 9600 baud.

Two modes have the same frames: in one it sends every 100 ms by itself, in the other when asked, the
JSN-SR04T by 0x55 and the AJ-SR04M by 0x01. The sum is that of all three bytes before it or, in some
AJ-SR04M, of the two of the distance alone: two frames that agree settle which it is.
"""

from node.sensors import SensorError
from node.sensors.a02yyuw import is_distance
from node.sensors.stream import Stream
from node.wire.const import const

_HEAD = const(0xFF)
_LENGTH = const(4)
_PERIOD_MS = const(100)
_SILENT_MS = const(1000)
_ASK_MS = const(250)
_NEAREST_MM = const(200)
_REACH_MM = const(4500)
_ASK = (b"\x55", b"\x01")
_SURE = const(2)


class JSNSR04T:
    """The sensor on `uart` (9600 baud, 8N1, timeout 0, rxbuf 256 or more).

    After a `read` that was True the sample is in `t_ms` (ticks) and `distance_mm`; `valid` is
    False where that is none of 200 to 4500 mm. Nothing is known of the sensor until it speaks.
    """

    def __init__(self, uart, clock) -> None:
        self._uart = uart
        self._clock = clock
        self._with_head = 0  # more than 0: the sum is with the head; less: without it
        self._stream = Stream(uart, clock, _LENGTH, self._judge, _PERIOD_MS, _SILENT_MS)
        self._stream.flush()
        self._asked_ms = self._heard_ms = clock.ticks_ms()
        self._way = -1  # how it is asked, -1 while it speaks by itself
        self.t_ms = self.distance_mm = 0
        self.valid = False

    def read(self) -> bool:
        """Take the next sample, if there is one, and ask for more of a sensor that waits for it.

        To be called until it is False, every 100 ms. Raises SensorError "timeout", once for each
        second without a sample.
        """
        stream, clock = self._stream, self._clock
        now = clock.ticks_ms()
        try:
            length = stream.next()
        except SensorError:
            # Another one may be there now.
            self._with_head = 0
            raise
        if length:
            self._heard_ms = now
        elif clock.ticks_diff(now, self._heard_ms) > _ASK_MS:
            # It does not speak by itself, or not to this word.
            self._heard_ms = now
            self._way = (self._way + 1) % len(_ASK)
            self._asked_ms = now
            self._uart.write(_ASK[self._way])
        elif self._way >= 0 and clock.ticks_diff(now, self._asked_ms) >= _PERIOD_MS:
            self._asked_ms = now
            self._uart.write(_ASK[self._way])
        if not length or -_SURE < self._with_head < _SURE:
            return False
        distance = (stream.frame[1] << 8) | stream.frame[2]
        self.t_ms = stream.t_ms
        self.distance_mm = distance
        self.valid = _NEAREST_MM <= distance <= _REACH_MM
        return True

    def _judge(self, data, count: int) -> int:
        if data[0] != _HEAD:
            return -1
        if count < _LENGTH:
            return 0
        if not is_distance(data[1], data[2]):
            return -1
        total = data[1] + data[2]
        sure = self._with_head
        if (total + _HEAD) & 0xFF == data[3] and sure > -_SURE:
            self._with_head = min(max(sure, 0) + 1, _SURE)
        elif total & 0xFF == data[3] and sure < _SURE:
            self._with_head = max(min(sure, 0) - 1, -_SURE)
        else:
            return -1
        return _LENGTH


DRIVER = JSNSR04T

"""Memsic MMC5983MA: magnetic field of 18 bits (datasheet rev. A of 2019), on I2C.

Each sample is asked for, so that its time is known; the result is fetched with the next call. The
bridge has an offset that goes with the temperature and can be larger than the field: after RESET
the field counts negative, after SET positive, and half of the sum is the offset.
"""

from node.sensors import SensorError
from node.wire.const import const

_REG_OUT = const(0x00)
_REG_STATUS = const(0x08)
_REG_CONTROL_0 = const(0x09)
_REG_CONTROL_1 = const(0x0A)
_REG_CONTROL_2 = const(0x0B)
_REG_ID = const(0x2F)

_ID = const(0x30)
_DONE = const(0x01)
_OTP_DONE = const(0x10)
_MEASURE = const(0x01)
_SET = const(0x08)
_RESET = const(0x10)
_SW_RESET = const(0x80)

_START_MS = const(10)
_PULSE_MS = const(1)  # the pulse takes 500 ns
_MEASURE_MS = const(8)  # bandwidth 00: 100 Hz, the least noise (0.4 mG)
_LATE_MS = const(50)
_POLLS = const(10)
_LARGEST = const(0x3FFFF)


def unpack(data, axis: int) -> int:
    """Return the 18 bits of axis 0 to 2 out of registers 0x00 to 0x06."""
    low = (data[6] >> (6 - 2 * axis)) & 0x03
    return (data[2 * axis] << 10) | (data[2 * axis + 1] << 2) | low


def nanotesla(counts: int) -> int:
    """Return counts of 1/16384 G as nT; 100000/16384 is 3125/512."""
    return (counts * 3125 + 256) >> 9


class MMC5983:
    """The chip at `address` (0x30) of an I2C bus.

    After a `read` that was True the sample is in `t_ms` (ticks when it was begun) and `x_nt`,
    `y_nt`, `z_nt` (±800000); `valid` is False where an axis is at the end of its range.
    """

    def __init__(self, bus, address: int, clock) -> None:
        self._bus = bus
        self._address = address
        self._clock = clock
        self._byte = bytearray(1)
        self._data = bytearray(7)
        self._offset = [0, 0, 0]
        self._lost = False
        self._since_ms = 0
        self.t_ms = self.x_nt = self.y_nt = self.z_nt = 0
        self.valid = False
        self._set_up()

    def read(self) -> bool:
        """Fetch the sample that the last call has asked for, if it is done, and ask for the next.

        To be called every 10 ms or so. Raises OSError, SensorError "timeout" (it has none for
        50 ms) and, when it has come back from that, all that the constructor does.
        """
        if self._lost:
            self._set_up()
        clock = self._clock
        now = clock.ticks_ms()
        if not self._read(_REG_STATUS) & _DONE:
            if clock.ticks_diff(now, self._since_ms) > _LATE_MS:
                self._lost = True
                raise SensorError("timeout")
            return False
        data, offset = self._data, self._offset
        self._bus.readfrom_mem_into(self._address, _REG_OUT, data)
        at = self._since_ms
        self._write(_REG_CONTROL_0, _MEASURE)
        self._since_ms = now
        x, y, z = unpack(data, 0), unpack(data, 1), unpack(data, 2)
        self.t_ms = at
        self.x_nt = nanotesla(x - offset[0])
        self.y_nt = nanotesla(y - offset[1])
        self.z_nt = nanotesla(z - offset[2])
        self.valid = min(x, y, z) > 0 and max(x, y, z) < _LARGEST
        return True

    def null(self) -> None:
        """Measure the offset anew, and undo what a strong magnet has left; blocks for 20 ms.

        To be called now and then while the lane is free, since the offset goes with the warmth.
        Raises SensorError "timeout", and "calibration" where an axis is at the end of its range.
        """
        self._lost = True
        total = [0, 0, 0]
        for pulse in (_RESET, _SET):
            self._write(_REG_CONTROL_0, pulse)
            self._clock.wait_ms(_PULSE_MS)
            self._write(_REG_CONTROL_0, _MEASURE)
            self._clock.wait_ms(_MEASURE_MS)
            self._wait_for(_DONE)
            self._bus.readfrom_mem_into(self._address, _REG_OUT, self._data)
            for axis in range(3):
                value = unpack(self._data, axis)
                if not 0 < value < _LARGEST:
                    raise SensorError("calibration")
                total[axis] += value
        # Nothing but its acknowledge tells that the chip was there to the end of the last read.
        self._write(_REG_CONTROL_0, _MEASURE)
        self._since_ms = self._clock.ticks_ms()
        for axis in range(3):
            self._offset[axis] = total[axis] >> 1
        self._lost = False

    def _set_up(self) -> None:
        if self._read(_REG_ID) != _ID:
            raise SensorError("id")
        self._write(_REG_CONTROL_1, _SW_RESET)
        self._clock.wait_ms(_START_MS)
        self._wait_for(_OTP_DONE)
        self._write(_REG_CONTROL_1, 0)
        self._write(_REG_CONTROL_2, 0)
        self.null()

    def _wait_for(self, bit: int) -> None:
        for _ in range(_POLLS):
            if self._read(_REG_STATUS) & bit:
                # The bit is set, too, in the ones of a bus that the chip has left.
                if self._read(_REG_ID) != _ID:
                    raise SensorError("id")
                return
            self._clock.wait_ms(1)
        raise SensorError("timeout")

    def _read(self, register: int) -> int:
        self._bus.readfrom_mem_into(self._address, register, self._byte)
        return self._byte[0]

    def _write(self, register: int, value: int) -> None:
        self._byte[0] = value
        self._bus.writeto_mem(self._address, register, self._byte)


DRIVER = MMC5983

"""QST QMC5883L: magnetic field of 16 bits (datasheet 1.0 of 2016), on I2C.

It measures by itself, 200 times a second with the least noise (2 mG); what is newest is taken. Who
has begun to read a sample gets no other one until its last register is read: a read that was cut
off is made good. Boards sold under its name carry other chips, too: those are told by their name.
"""

from node.sensors import SensorError
from node.wire.const import const

_REG_DATA = const(0x00)
_REG_STATUS = const(0x06)
_REG_CONTROL_1 = const(0x09)
_REG_CONTROL_2 = const(0x0A)
_REG_PERIOD = const(0x0B)
_REG_ID = const(0x0D)

_ID = const(0xFF)
_READY = const(0x01)
_OVERFLOW = const(0x02)
_SOFT_RESET = const(0x80)
_NO_INTERRUPT = const(0x01)
# Over-sampling 512, range 2 G (12000 counts each), 200 Hz, continuous.
_MODE = const(0x0D)

_START_MS = const(1)
_STUCK_MS = const(30)
_LATE_MS = const(100)

# Address, register and value of what else is sold as this chip.
_OTHERS = ((0x2C, 0x00, 0x80, "QMC5883P"), (0x1E, 0x0A, 0x48, "HMC5883L"))


class OtherChipError(SensorError):
    """Another chip than this one is there, `name`; `kind` is "id"."""

    def __init__(self, name: str) -> None:
        super().__init__("id")
        self.name = name


def nanotesla(counts: int) -> int:
    """Return counts of 1/12000 G as nT: 100000/12000 is 25/3 (table 2)."""
    return (counts * 25 + 1) // 3


class QMC5883L:
    """The chip at `address` (0x0D) of an I2C bus.

    After a `read` that was True the sample is in `t_ms` (ticks) and `x_nt`, `y_nt`, `z_nt`
    (±273000); `valid` is False where an axis was at the end of its range.
    """

    def __init__(self, bus, address: int, clock) -> None:
        self._bus = bus
        self._address = address
        self._clock = clock
        self._byte = bytearray(1)
        self._data = bytearray(10)
        self._lost = False
        self._since_ms = 0
        self.t_ms = self.x_nt = self.y_nt = self.z_nt = 0
        self.valid = False
        self._set_up()

    def read(self) -> bool:
        """Take the newest sample, if there is one since the last call.

        Raises OSError, SensorError "timeout" (it has none for 100 ms), "id" (it has forgotten what
        it was told) and, when it has come back from that, all that the constructor does.
        """
        if self._lost:
            self._set_up()
        now = self._clock.ticks_ms()
        status = self._read(_REG_STATUS)
        if not status & _READY:
            waited = self._clock.ticks_diff(now, self._since_ms)
            if waited > _LATE_MS:
                self._lost = True
                raise SensorError("timeout")
            if waited > _STUCK_MS:
                # A sample of which a failed transfer has read a part is to be read to its end.
                self._bus.readfrom_mem_into(self._address, _REG_DATA, self._data)
            return False
        data = self._data
        # To the end of control 1: there is no CRC, and an absent chip does not say that.
        self._bus.readfrom_mem_into(self._address, _REG_DATA, data)
        if data[_REG_CONTROL_1] != _MODE:
            self._lost = True
            raise SensorError("id")
        self._since_ms = now
        self.t_ms = now
        self.x_nt = nanotesla(_signed(data, 0))
        self.y_nt = nanotesla(_signed(data, 2))
        self.z_nt = nanotesla(_signed(data, 4))
        self.valid = not status & _OVERFLOW
        return True

    def _set_up(self) -> None:
        self._look_for_others()
        if self._read(_REG_ID) != _ID:
            raise SensorError("id")
        self._write(_REG_CONTROL_2, _SOFT_RESET)
        self._clock.wait_ms(_START_MS)
        self._write(_REG_CONTROL_2, _NO_INTERRUPT)
        self._write(_REG_PERIOD, 0x01)
        self._write(_REG_CONTROL_1, _MODE)
        # An id of ones is one of no chip, too: that it keeps what it was told is the proof.
        if self._read(_REG_CONTROL_1) != _MODE:
            raise SensorError("id")
        self._since_ms = self._clock.ticks_ms()
        self._lost = False

    def _look_for_others(self) -> None:
        """Raise OtherChipError where no chip answers but one that is sold under this one's name."""
        try:
            self._read(_REG_ID)
            silent = None
        except OSError as error:
            silent = error
        for address, register, value, name in _OTHERS:
            if silent is None and address != self._address:
                continue
            try:
                self._bus.readfrom_mem_into(address, register, self._byte)
            except OSError:
                continue
            if self._byte[0] == value:
                raise OtherChipError(name)
        if silent is not None:
            raise silent

    def _read(self, register: int) -> int:
        self._bus.readfrom_mem_into(self._address, register, self._byte)
        return self._byte[0]

    def _write(self, register: int, value: int) -> None:
        self._byte[0] = value
        self._bus.writeto_mem(self._address, register, self._byte)


def _signed(data, place: int) -> int:
    value = data[place] | (data[place + 1] << 8)
    return value - 0x10000 if value & 0x8000 else value


DRIVER = QMC5883L

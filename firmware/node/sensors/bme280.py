"""Bosch BME280: temperature, humidity, pressure (BST-BME280-DS002 rev. 1.6).

Used in forced mode: asleep between measurements, so it does not heat itself. Integer
compensation of section 4.2.3 (pressure with 64 bit): the same result on every machine; what it
takes of a 32-bit heap in big integers is small and gone at the next collection.
"""

import struct

from node.sensors import SensorError
from node.wire.const import const

_REG_CALIB_TP = const(0x88)
_REG_ID = const(0xD0)
_REG_RESET = const(0xE0)
_REG_CALIB_H = const(0xE1)
_REG_CTRL_HUM = const(0xF2)
_REG_STATUS = const(0xF3)
_REG_CTRL_MEAS = const(0xF4)
_REG_CONFIG = const(0xF5)
_REG_DATA = const(0xF7)

_ID = const(0x60)
_RESET = const(0xB6)
_STATUS_MEASURING = const(0x08)
_STATUS_IM_UPDATE = const(0x01)
_MODE = const(0x03)
_FORCED = const(0x01)

# Oversampling (section 5.4.3): temperature x2, humidity x2, and pressure x16 because only that
# has its full 20 bits (0.16 Pa) with the filter off; once a minute the current does not matter.
_OSRS_H = const(2)
_OSRS_T = const(2)
_OSRS_P = const(5)
_CTRL_MEAS = const((_OSRS_T << 5) | (_OSRS_P << 2))

# Section 9.1: 1.25 + 2.3·2 + (2.3·16 + 0.575) + (2.3·2 + 0.575) ms at most.
_MEASURE_MS = const(49)
_LATE_MS = const(50)
_STARTUP_MS = const(2)
_POLLS = const(10)

_SKIPPED_TP = const(0x80000)
_SKIPPED_H = const(0x8000)


def temperature(words: tuple, raw: int) -> int:
    """Return `t_fine`: the temperature in 1/5120 °C from the 20-bit raw value (section 4.2.3)."""
    t1, t2, t3 = words[0], words[1], words[2]
    var1 = (((raw >> 3) - (t1 << 1)) * t2) >> 11
    delta = (raw >> 4) - t1
    return var1 + ((((delta * delta) >> 12) * t3) >> 14)


def centidegrees(t_fine: int) -> int:
    """Return `t_fine` in 0.01 °C (section 4.2.3)."""
    return (t_fine * 5 + 128) >> 8


def pressure(words: tuple, raw: int, t_fine: int) -> int:
    """Return the pressure in 1/256 Pa from the 20-bit raw value (section 4.2.3, 64-bit form).

    Raises SensorError "calibration" where the words would have it divide by zero.
    """
    _, _, _, p1, p2, p3, p4, p5, p6, p7, p8, p9 = words[:12]
    var1 = t_fine - 128000
    var2 = var1 * var1 * p6 + ((var1 * p5) << 17) + (p4 << 35)
    var1 = ((var1 * var1 * p3) >> 8) + ((var1 * p2) << 12)
    var1 = (((1 << 47) + var1) * p1) >> 33
    if var1 == 0:
        raise SensorError("calibration")
    p = (((1048576 - raw) << 31) - var2) * 3125 // var1
    var1 = (p9 * (p >> 13) * (p >> 13)) >> 25
    return ((p + var1 + ((p8 * p) >> 19)) >> 8) + (p7 << 4)


def humidity(words: tuple, raw: int, t_fine: int) -> int:
    """Return the relative humidity in 1/1024 % from the 16-bit raw value (section 4.2.3)."""
    h1, h2, h3, h4, h5, h6 = words[12:]
    v = t_fine - 76800
    slope = (((v * h6) >> 10) * (((v * h3) >> 11) + 32768)) >> 10
    slope = ((slope + 2097152) * h2 + 8192) >> 14
    v = (((raw << 14) - (h4 << 20) - h5 * v + 16384) >> 15) * slope
    v -= ((((v >> 15) * (v >> 15)) >> 7) * h1) >> 4
    return min(max(v, 0), 419430400) >> 12


def calibration(tp: bytearray, h: bytearray) -> tuple:
    """Return the words T1…T3, P1…P9, H1…H6 from registers 0x88…0xA1 and 0xE1…0xE7 (table 16).

    Raises SensorError "calibration" where the bus read as zeros or ones.
    """
    words = struct.unpack_from("<HhhHhhhhhhhh", tp)
    # Both would be 0 from a bus held low and 0xFFFF from an absent chip on a lenient bus.
    if words[0] in (0, 0xFFFF) or words[3] in (0, 0xFFFF):
        raise SensorError("calibration")
    h2, h3, e4, e5, e6, h6 = struct.unpack_from("<hBbBbb", h)
    return words + (tp[25], h2, h3, (e4 << 4) | (e5 & 0x0F), (e6 << 4) | (e5 >> 4), h6)


class BME280:
    """The chip at `address` (0x76 or 0x77) of an I2C bus."""

    BUS = "i2c"
    FIELDS = ("temperature_c", "humidity_pct", "pressure_pa")

    def __init__(self, bus, address: int, clock) -> None:
        self._bus = bus
        self._address = address
        self._clock = clock
        self._byte = bytearray(1)
        self._data = bytearray(8)
        if self._read(_REG_ID) != _ID:
            raise SensorError("id")
        # A chip left in any mode by a restart of the node starts again from its defaults.
        self._write(_REG_RESET, _RESET)
        for _ in range(_POLLS):
            clock.wait_ms(_STARTUP_MS)
            if not self._read(_REG_STATUS) & _STATUS_IM_UPDATE:
                break
        else:
            raise SensorError("timeout")
        tp = bytearray(26)
        h = bytearray(7)
        bus.readfrom_mem_into(address, _REG_CALIB_TP, tp)
        bus.readfrom_mem_into(address, _REG_CALIB_H, h)
        self._words = calibration(tp, h)
        self._write(_REG_CONFIG, 0)

    async def measure(self) -> tuple:
        """Return temperature (°C), relative humidity (%) and pressure (Pa) of one conversion."""
        # ctrl_hum takes effect only with the write to ctrl_meas that follows (section 5.4.3).
        self._write(_REG_CTRL_HUM, _OSRS_H)
        self._write(_REG_CTRL_MEAS, _CTRL_MEAS | _FORCED)
        # The busy bit is not set yet just after the trigger: it counts only after the time that
        # a conversion takes. The mode going back to sleep is the proof that there was one.
        await self._clock.sleep_ms(_MEASURE_MS)
        start = self._clock.ticks_ms()
        while self._read(_REG_STATUS) & _STATUS_MEASURING or self._read(_REG_CTRL_MEAS) & _MODE:
            if self._clock.ticks_diff(self._clock.ticks_ms(), start) > _LATE_MS:
                raise SensorError("timeout")
            await self._clock.sleep_ms(5)
        data = self._data
        self._bus.readfrom_mem_into(self._address, _REG_DATA, data)
        # There is no CRC: a chip that was cut off within the burst has left ones in it.
        if self._read(_REG_ID) != _ID:
            raise SensorError("id")
        raw_p = (data[0] << 12) | (data[1] << 4) | (data[2] >> 4)
        raw_t = (data[3] << 12) | (data[4] << 4) | (data[5] >> 4)
        raw_h = (data[6] << 8) | data[7]
        if raw_p == _SKIPPED_TP or raw_t == _SKIPPED_TP or raw_h == _SKIPPED_H:
            raise SensorError("skipped")
        t_fine = temperature(self._words, raw_t)
        return (
            centidegrees(t_fine) / 100,
            humidity(self._words, raw_h, t_fine) / 1024,
            pressure(self._words, raw_p, t_fine) / 256,
        )

    def _read(self, register: int) -> int:
        self._bus.readfrom_mem_into(self._address, register, self._byte)
        return self._byte[0]

    def _write(self, register: int, value: int) -> None:
        self._byte[0] = value
        self._bus.writeto_mem(self._address, register, self._byte)


DRIVER = BME280

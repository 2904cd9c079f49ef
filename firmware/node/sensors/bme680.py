"""Bosch BME680: temperature, humidity, pressure, gas (BST-BME680-DS001 rev. 1.9).

One forced measurement after the other, each with the heater at 320 °C for 150 ms. Compensation
as in sections 3.3 and 3.4 in floating point: in single precision it is within 0.03 Pa, while the
whole numbers of the datasheet are off by up to 6 Pa.
"""

import struct

from node.sensors import SensorError
from node.wire.cbor import UNDEFINED
from node.wire.const import const

_REG_HEATER_CALIB = const(0x00)
_REG_FIELD = const(0x1D)
_REG_RES_HEAT_0 = const(0x5A)
_REG_GAS_WAIT_0 = const(0x64)
_REG_CTRL_GAS_1 = const(0x71)
_REG_CTRL_HUM = const(0x72)
_REG_CTRL_MEAS = const(0x74)
_REG_CONFIG = const(0x75)
_REG_CALIB_1 = const(0x89)
_REG_ID = const(0xD0)
_REG_RESET = const(0xE0)
_REG_CALIB_2 = const(0xE1)
_REG_VARIANT = const(0xF0)

_ID = const(0x61)
_GAS_LOW = const(0x00)  # 0x01 is a BME688, whose gas register and formula are others
_RESET = const(0xB6)
_NEW_DATA = const(0x80)
_BUSY = const(0x60)
_MODE = const(0x03)
_FORCED = const(0x01)
_RUN_GAS = const(0x10)
_GAS_VALID = const(0x20)
_HEAT_STABLE = const(0x10)

# As for the BME280: pressure x16 has its 20 bits with the filter off.
_OSRS_H = const(2)
_OSRS_T = const(2)
_OSRS_P = const(5)
_CTRL_MEAS = const((_OSRS_T << 5) | (_OSRS_P << 2))

_HEATER_C = const(320)
_HEATER_MS = const(150)
_GAS_WAIT = const(0x65)  # 37 · 4 = 148 ms (section 5.3.3.3)
# 20 conversions of 1.963 ms and 9 switchings of 0.477 ms (the maker's driver), and the heater.
_MEASURE_MS = const(45 + _HEATER_MS)
_LATE_MS = const(100)
_POLL_MS = const(5)
_STARTUP_MS = const(10)
_ROOM_C = 25.0
_SKIPPED_TP = const(0x80000)
_SKIPPED_H = const(0x8000)

# Per mille by the range of the gas converter (section 3.4.1).
_GAS_1 = (0, 0, 0, 0, 0, -10, 0, -8, 0, 0, -2, -5, 0, -10, 0, 0)
_GAS_2 = (0, 0, 0, 0, 1, 7, 0, -8, -1, 0, 0, 0, 0, 0, 0, 0)


class Words:
    """The calibration, from registers 0x89…0xA1, 0xE1…0xF0 and 0x00…0x04 (table 20).

    Raises SensorError "calibration" where the bus read as zeros or ones.
    """

    def __init__(self, one: bytearray, two: bytearray, heater: bytearray) -> None:
        self.t2, self.t3 = struct.unpack_from("<hb", one, 1)
        self.p1, self.p2, self.p3 = struct.unpack_from("<Hhb", one, 5)
        self.p4, self.p5, self.p7, self.p6 = struct.unpack_from("<hhbb", one, 11)
        self.p8, self.p9, self.p10 = struct.unpack_from("<hhB", one, 19)
        self.h2 = (two[0] << 4) | (two[1] >> 4)
        self.h1 = (two[2] << 4) | (two[1] & 0x0F)
        self.h3, self.h4, self.h5, self.h6, self.h7 = struct.unpack_from("<bbbBb", two, 3)
        self.t1, self.gh2, self.gh1, self.gh3 = struct.unpack_from("<Hhbb", two, 8)
        self.heat_value = struct.unpack_from("b", heater, 0)[0]
        self.heat_range = (heater[2] >> 4) & 3
        self.gas_error = struct.unpack_from("b", heater, 4)[0] >> 4
        if self.t1 in (0, 0xFFFF) or self.p1 in (0, 0xFFFF):
            raise SensorError("calibration")

    def temperature(self, raw: int) -> float:
        """Return `t_fine`: the temperature in 1/5120 °C from the 20-bit raw value (3.3.1)."""
        delta = raw / 131072 - self.t1 / 8192
        return (raw / 16384 - self.t1 / 1024) * self.t2 + delta * delta * self.t3 * 16

    def pressure(self, raw: int, t_fine: float) -> float:
        """Return the pressure in Pa from the 20-bit raw value (3.3.2).

        Raises SensorError "calibration" where the words would have it divide by zero.
        """
        var1 = t_fine / 2 - 64000
        var2 = var1 * var1 * (self.p6 / 131072) + var1 * self.p5 * 2
        var2 = var2 / 4 + self.p4 * 65536
        var1 = (self.p3 * var1 * var1 / 16384 + self.p2 * var1) / 524288
        var1 = (1 + var1 / 32768) * self.p1
        if var1 == 0:
            raise SensorError("calibration")
        p = (1048576 - raw - var2 / 4096) * 6250 / var1
        cube = p / 256
        cube = cube * cube * cube * (self.p10 / 131072)
        return (
            p + (self.p9 / 2147483648 * p * p + p * (self.p8 / 32768) + cube + self.p7 * 128) / 16
        )

    def humidity(self, raw: int, t_fine: float) -> float:
        """Return the relative humidity in % from the 16-bit raw value (3.3.3)."""
        t = t_fine / 5120
        h = raw - self.h1 * 16 - self.h3 / 2 * t
        h *= self.h2 / 262144 * (1 + self.h4 / 16384 * t + self.h5 / 1048576 * t * t)
        h += (self.h6 / 16384 + self.h7 / 2097152 * t) * h * h
        return min(max(h, 0.0), 100.0)

    def gas(self, raw: int, gas_range: int) -> float:
        """Return the resistance in Ω from the 10-bit raw value and its range."""
        span = (1340 + 5 * self.gas_error) * (1 + _GAS_1[gas_range] / 1000)
        step = 0.125e-6 * (1 << gas_range) * (1 + _GAS_2[gas_range] / 1000)
        return 1 / (step * ((raw - 512) / span + 1))

    def heater(self, celsius: float, ambient_c: float) -> int:
        """Return what goes into `res_heat` for a temperature of the plate (3.3.5).

        The datasheet's whole numbers take the ambient temperature a hundred times too small.
        """
        x = (self.gh1 / 16 + 49) * (1 + (self.gh2 / 32768 * 0.0005 + 0.00235) * celsius)
        x += self.gh3 / 1024 * ambient_c
        x *= 4 / (4 + self.heat_range) / (1 + self.heat_value * 0.002)
        return min(max(int(3.4 * (x - 25) + 0.5), 0), 255)


class BME680:
    """The chip at `address` (0x76 or 0x77) of an I2C bus."""

    BUS = "i2c"
    FIELDS = ("temperature_c", "humidity_pct", "pressure_pa", "gas_ohm")

    def __init__(self, bus, address: int, clock) -> None:
        self._bus = bus
        self._address = address
        self._clock = clock
        self._byte = bytearray(1)
        self._data = bytearray(15)
        self._ambient_c = _ROOM_C
        if self._read(_REG_ID) != _ID or self._read(_REG_VARIANT) != _GAS_LOW:
            raise SensorError("id")
        # A chip that hangs in forced mode, or was left in it, starts again from its defaults.
        self._write(_REG_RESET, _RESET)
        clock.wait_ms(_STARTUP_MS)
        one, two, heater = bytearray(25), bytearray(15), bytearray(5)
        bus.readfrom_mem_into(address, _REG_CALIB_1, one)
        bus.readfrom_mem_into(address, _REG_CALIB_2, two)
        bus.readfrom_mem_into(address, _REG_HEATER_CALIB, heater)
        self._words = Words(one, two, heater)
        self._write(_REG_CONFIG, 0)
        self._write(_REG_GAS_WAIT_0, _GAS_WAIT)
        self._write(_REG_CTRL_GAS_1, _RUN_GAS)

    async def measure(self) -> tuple:
        """Return temperature (°C), humidity (%), pressure (Pa) and gas resistance (Ω).

        The resistance is UNDEFINED where the heater has not come to its temperature.
        """
        self._write(_REG_RES_HEAT_0, self._words.heater(_HEATER_C, self._ambient_c))
        self._write(_REG_CTRL_HUM, _OSRS_H)
        self._write(_REG_CTRL_MEAS, _CTRL_MEAS | _FORCED)
        await self._clock.sleep_ms(_MEASURE_MS)
        start = self._clock.ticks_ms()
        # New data may be that of the time before: the mode going back to sleep is the proof.
        while self._read(_REG_FIELD) & (_NEW_DATA | _BUSY) != _NEW_DATA or (
            self._read(_REG_CTRL_MEAS) & _MODE
        ):
            if self._clock.ticks_diff(self._clock.ticks_ms(), start) > _LATE_MS:
                raise SensorError("timeout")
            await self._clock.sleep_ms(_POLL_MS)
        data = self._data
        self._bus.readfrom_mem_into(self._address, _REG_FIELD, data)
        # There is no CRC: a chip that was cut off within the burst has left ones in it.
        if self._read(_REG_ID) != _ID:
            raise SensorError("id")
        raw_p = (data[2] << 12) | (data[3] << 4) | (data[4] >> 4)
        raw_t = (data[5] << 12) | (data[6] << 4) | (data[7] >> 4)
        raw_h = (data[8] << 8) | data[9]
        if raw_p == _SKIPPED_TP or raw_t == _SKIPPED_TP or raw_h == _SKIPPED_H:
            raise SensorError("skipped")
        words = self._words
        t_fine = words.temperature(raw_t)
        self._ambient_c = t_fine / 5120
        gas = UNDEFINED
        if data[14] & (_GAS_VALID | _HEAT_STABLE) == _GAS_VALID | _HEAT_STABLE:
            gas = words.gas((data[13] << 2) | (data[14] >> 6), data[14] & 0x0F)
        return (
            t_fine / 5120,
            words.humidity(raw_h, t_fine),
            words.pressure(raw_p, t_fine),
            gas,
        )

    def _read(self, register: int) -> int:
        self._bus.readfrom_mem_into(self._address, register, self._byte)
        return self._byte[0]

    def _write(self, register: int, value: int) -> None:
        self._byte[0] = value
        self._bus.writeto_mem(self._address, register, self._byte)


DRIVER = BME680

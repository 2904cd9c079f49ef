"""Bosch BME680: temperature, humidity, pressure, gas (BST-BME680-DS001 rev. 1.9), on I2C.

Its converters give the raw values that the compensation formulas turn into the truth, in the
resolution that the oversampling allows. The plate of the gas sensor has the resistance of the
surroundings at 320 °C, and more when it is colder. In a gap of the weather the chip does not
answer: it has nothing true to say.
"""

import math
import random
import struct
from dataclasses import dataclass
from typing import Self

from citynode.virtual.chips import Air, Around, Clock
from citynode.virtual.chips.bosch import PairTarget, nearest

_HEATER_CALIB, _FIELD, _RES_HEAT, _GAS_WAIT = 0x00, 0x1D, 0x5A, 0x64
_CTRL_GAS_0, _CTRL_GAS_1, _CTRL_HUM, _CTRL_MEAS, _CONFIG = 0x70, 0x71, 0x72, 0x74, 0x75
_CALIB_1, _ID, _RESET, _CALIB_2, _VARIANT = 0x89, 0xD0, 0xE0, 0xE1, 0xF0
_CHIP_ID, _RESET_WORD = 0x61, 0xB6
_NEW, _GAS_MEASURING, _MEASURING = 0x80, 0x40, 0x20
_RUN_GAS, _HEAT_OFF = 0x10, 0x08
_OVERSAMPLING = (0, 1, 2, 4, 8, 16, 16, 16)
_SKIPPED, _SKIPPED_H = 0x80000, 0x8000
_US = 1_000
_MS = 1_000_000
_STARTUP_NS = 2 * _MS
_CONVERSION_NS, _SWITCH_NS = 1963 * _US, 477 * _US
_HEATER_NEEDS_NS = 25 * _MS  # "approximately 20 to 30 ms" (section 3.3.5)
_REFERENCE_C = 320.0
# Deviations of the ranges of the gas converter in per cent (section 3.4.1).
_GAS_1 = {5: -1.0, 7: -0.8, 10: -0.2, 11: -0.5, 13: -1.0}
_GAS_2 = {4: 0.1, 5: 0.7, 7: -0.8, 8: -0.1}


@dataclass(frozen=True, slots=True)
class Words:
    """The calibration of one chip (table 20), and the formulas of sections 3.3 and 3.4."""

    t: tuple[int, int, int] = (26041, 26469, 3)
    p: tuple[int, ...] = (36673, -10515, 88, 7310, -129, 30, 46, -3177, -2379, 30)
    h: tuple[int, ...] = (676, 1029, 0, 45, 20, 120, -100)
    gh: tuple[int, int, int] = (-30, -24754, 18)
    heat_value: int = 48
    heat_range: int = 1
    gas_error: int = 0

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        """Make words that differ from chip to chip as those of one batch do."""
        plain = cls()
        return cls(
            t=(plain.t[0] + rng.randint(-200, 200), plain.t[1] + rng.randint(-100, 100), 3),
            p=(
                plain.p[0] + rng.randint(-400, 400),
                plain.p[1] + rng.randint(-60, 60),
                *plain.p[2:],
            ),
            h=(plain.h[0] + rng.randint(-30, 30), plain.h[1] + rng.randint(-20, 20), *plain.h[2:]),
            gh=(-30 + rng.randint(-4, 4), -24754 + rng.randint(-900, 900), 18),
            heat_value=rng.randint(30, 60),
            heat_range=rng.randint(0, 2),
            gas_error=rng.randint(-4, 4),
        )

    def registers_1(self) -> bytes:
        """Return what 0x89 to 0xA1 hold."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9, p10 = self.p
        _, t2, t3 = self.t
        return struct.pack("<xhbxHhbxhhbbxxhhBx", t2, t3, p1, p2, p3, p4, p5, p7, p6, p8, p9, p10)

    def registers_2(self) -> bytes:
        """Return what 0xE1 to 0xEF hold; H1 and H2 share a register."""
        h1, h2, h3, h4, h5, h6, h7 = self.h
        gh1, gh2, gh3 = self.gh
        head = bytes((h2 >> 4, (h2 & 15) << 4 | h1 & 15, h1 >> 4))
        return head + struct.pack("<bbbBbHhbb", h3, h4, h5, h6, h7, self.t[0], gh2, gh1, gh3)[:12]

    def registers_heater(self) -> bytes:
        """Return what 0x00 to 0x04 hold."""
        return struct.pack(
            "bxBxB", self.heat_value, self.heat_range << 4, self.gas_error << 4 & 0xF0
        )

    def t_fine(self, raw: int) -> float:
        """Return the temperature in 1/5120 °C."""
        t1, t2, t3 = self.t
        return (raw / 16384 - t1 / 1024) * t2 + (raw / 131072 - t1 / 8192) ** 2 * t3 * 16

    def pascal(self, raw: int, t_fine: float) -> float:
        """Return the pressure in Pa."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9, p10 = self.p
        x = t_fine / 2 - 64000
        offset = (x * x * p6 / 131072 + x * p5 * 2) / 4 + p4 * 65536
        slope = (1 + (p3 * x * x / 16384 + p2 * x) / 524288 / 32768) * p1
        p = (1048576 - raw - offset / 4096) * 6250 / slope
        cubic = (p / 256) ** 3 * p10 / 131072
        return p + (p9 * p * p / 2147483648 + p * p8 / 32768 + cubic + p7 * 128) / 16

    def percent(self, raw: int, t_fine: float) -> float:
        """Return the relative humidity in %, not yet cropped to 0 to 100."""
        h1, h2, h3, h4, h5, h6, h7 = self.h
        t = t_fine / 5120
        x = raw - (h1 * 16 + h3 / 2 * t)
        x *= h2 / 262144 * (1 + h4 / 16384 * t + h5 / 1048576 * t * t)
        return x + (h6 / 16384 + h7 / 2097152 * t) * x * x

    def ohm(self, raw: int, gas_range: int) -> float:
        """Return the resistance of the plate in Ω."""
        width = (1340.0 + 5.0 * self.gas_error) * (1.0 + _GAS_1.get(gas_range, 0.0) / 100)
        unit = 8e6 / (1 << gas_range) / (1.0 + _GAS_2.get(gas_range, 0.0) / 100)
        return unit / ((raw - 512.0) / width + 1.0)

    def plate_c(self, setting: int, ambient_c: float) -> float:
        """Return how hot a value of `res_heat` makes the plate in °C (3.3.5, from behind)."""
        gh1, gh2, gh3 = self.gh
        x = (setting / 3.4 + 25) * (4 + self.heat_range) / 4 * (1 + self.heat_value * 0.002)
        x = (x - gh3 / 1024 * ambient_c) / (gh1 / 16 + 49)
        return (x - 1) / (gh2 / 32768 * 0.0005 + 0.00235)


class BME680(PairTarget):
    """The chip at `address` (0x76 or 0x77); `rng` draws its calibration and its speed.

    `variant` 1 is a BME688. `faults` breaks it: "dead", "stays-forced" (it never ends a
    measurement until a reset), "cold" (its heater is broken).
    """

    def __init__(
        self,
        clock: Clock,
        air: Air,
        around: Around,
        rng: random.Random,
        address: int = 0x76,
        *,
        variant: int = 0,
        words: Words | None = None,
    ) -> None:
        self.address = address
        self.variant = variant
        self.words = words or Words.draw(rng)
        self.faults: set[str] = set()
        self._slowness = rng.uniform(0.95, 1.0)
        self._clock = clock
        self._air = air
        self._around = around
        self.power_up()

    def power_up(self) -> None:
        """Start from the NVM: all settings and results as in table 19."""
        self._registers = bytearray(256)
        self._ready_ns = self._clock.now_ns() + _STARTUP_NS
        self._end_ns: int | None = None
        self._start_ns = self._gas_ns = 0
        self._number = 0
        self._hung = False
        self._new = False
        self._results = struct.pack(">HBHBH", *(_SKIPPED >> 4, 0) * 2, _SKIPPED_H) + bytes(5)
        self._plate_c = 0.0

    @property
    def plate_c(self) -> float:
        """How hot the plate was in the last measurement (°C)."""
        return self._plate_c

    # -- the bus --------------------------------------------------------------------------------

    def begin(self, read: bool) -> bool:
        """Acknowledge the address, except in a gap of the weather."""
        now = self._clock.now_ns()
        if "dead" in self.faults or self._air(now) is None:
            return False
        self._run(now)
        self._expects_register = True
        self._shadow = self._field() if read else b""
        return True

    # -- registers ------------------------------------------------------------------------------

    def _store(self, register: int, value: int) -> None:
        now = self._clock.now_ns()
        if register == _RESET:
            if value == _RESET_WORD:
                self.power_up()
        elif 0x50 <= register <= _CTRL_HUM or register in (_CTRL_MEAS, _CONFIG):
            if register == _CTRL_MEAS and self._end_ns is not None:
                return  # a running measurement is not disturbed
            self._registers[register] = value
            if register == _CTRL_MEAS and value & 3 == 1:
                self._begin(max(now, self._ready_ns))

    def _load(self, register: int) -> int:
        if register == _ID:
            return _CHIP_ID
        if register == _VARIANT:
            return self.variant
        for first, block in (
            (_FIELD, self._shadow),
            (_CALIB_1, self.words.registers_1()),
            (_CALIB_2, self.words.registers_2()),
            (_HEATER_CALIB, self.words.registers_heater()),
        ):
            if first <= register < first + len(block):
                return block[register - first]
        return self._registers[register]

    def _field(self) -> bytes:
        now = self._clock.now_ns()
        status = _NEW if self._new else 0
        if self._end_ns is not None and now >= self._start_ns:
            status |= _MEASURING | (_GAS_MEASURING if now >= self._gas_ns else 0)
        status |= self._registers[_CTRL_GAS_1] & 0x0F
        return bytes((status, self._number & 0xFF)) + self._results

    # -- measuring ------------------------------------------------------------------------------

    def _begin(self, start_ns: int) -> None:
        times = [_OVERSAMPLING[code] for code in self._codes()]
        took = round((sum(times) * _CONVERSION_NS + 9 * _SWITCH_NS) * self._slowness)
        self._start_ns = start_ns
        self._gas_ns = start_ns + took
        self._end_ns = self._gas_ns + (self._heating_ns() if self._heats() else 0)
        self._new = False
        self._hung = "stays-forced" in self.faults

    def _codes(self) -> tuple[int, int, int]:
        """Return the oversampling of temperature, pressure and humidity."""
        meas = self._registers[_CTRL_MEAS]
        return meas >> 5, meas >> 2 & 7, self._registers[_CTRL_HUM] & 7

    def _heats(self) -> bool:
        return bool(self._registers[_CTRL_GAS_1] & _RUN_GAS) and not (
            self._registers[_CTRL_GAS_0] & _HEAT_OFF
        )

    def _profile(self) -> int:
        return min(9, self._registers[_CTRL_GAS_1] & 0x0F)

    def _heating_ns(self) -> int:
        wait = self._registers[_GAS_WAIT + self._profile()]
        return ((wait & 0x3F) << 2 * (wait >> 6)) * _MS

    def _run(self, now: int) -> None:
        if self._end_ns is None or now < self._end_ns or self._hung:
            return
        start, self._end_ns = self._start_ns, None
        self._registers[_CTRL_MEAS] &= ~3
        air, around = self._air(start), self._around(start)
        if air is None or around is None:
            return
        words = self.words
        osrs_t, osrs_p, osrs_h = self._codes()
        t = nearest(words.t_fine, air.temperature_c * 5120, 0xFFFFF, _step(osrs_t))
        fine = words.t_fine(t)
        p = nearest(lambda x: -words.pascal(x, fine), -air.pressure_pa, 0xFFFFF, _step(osrs_p))
        humidity = min(100.0, max(0.0, air.humidity_pct))
        h = nearest(lambda x: words.percent(x, fine), humidity, 0xFFFF, 1)
        t, p = t if osrs_t else _SKIPPED, p if osrs_p else _SKIPPED
        h = h if osrs_h else _SKIPPED_H
        gas = self._convert_gas(around.gas_ohm, air.temperature_c) if self._heats() else b"\0\0"
        self._results = (
            struct.pack(">HBHBH", p >> 4, (p & 15) << 4, t >> 4, (t & 15) << 4, h) + bytes(3) + gas
        )
        self._number += 1
        self._new = True

    def _convert_gas(self, ohm: float, ambient_c: float) -> bytes:
        """Return the gas registers: 10 bits, valid, stable, range."""
        self._plate_c = ambient_c
        setting = self._registers[_RES_HEAT + self._profile()]
        if "cold" not in self.faults:
            self._plate_c = self.words.plate_c(setting, ambient_c)
        stable = self._plate_c > 150 and self._heating_ns() >= _HEATER_NEEDS_NS
        ohm *= math.exp((_REFERENCE_C - self._plate_c) / 120)
        best = (1 << 20, 0, 0)
        for gas_range in range(16):
            # The resistance falls with the raw value.
            raw = nearest(lambda x, r=gas_range: -self.words.ohm(x, r), -ohm, 1023, 1)  # type: ignore[misc]
            best = min(best, (abs(raw - 512), raw, gas_range))
        _, raw, gas_range = best
        return bytes((raw >> 2, (raw & 3) << 6 | 0x20 | (0x10 if stable else 0) | gas_range))


def _step(osrs: int) -> int:
    """Return the step of 20 bits that the oversampling leaves (filter off)."""
    return 1 << 20 - (15 + max(1, _OVERSAMPLING[osrs]).bit_length())

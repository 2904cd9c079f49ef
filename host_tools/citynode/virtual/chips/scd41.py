"""Sensirion SCD41: CO2, temperature, humidity (SCD4x datasheet, version 1.6), on I2C.

The cell counts molecules, so that its reading follows the air's pressure; the chip takes out what
it is told of that (section 3.7). The chip warms itself by what its temperature offset takes off as
delivered. In a gap of the weather it does not answer: it has nothing true to say.
"""

import random
from dataclasses import dataclass

from citynode.virtual.chips import Air, Around, Clock
from citynode.virtual.chips.sensirion import MS, WordTarget

_START, _READ, _STOP, _READY = 0x21B1, 0xEC05, 0x3F86, 0xE4B8
_SET_OFFSET, _GET_OFFSET, _SET_ALTITUDE, _GET_ALTITUDE = 0x241D, 0x2318, 0x2427, 0x2322
_PRESSURE, _RECALIBRATE = 0xE000, 0x362F
_SET_ASC, _GET_ASC, _SET_TARGET, _GET_TARGET = 0x2416, 0x2313, 0x243A, 0x233F
_START_LOW_POWER, _PERSIST, _SERIAL, _SELF_TEST = 0x21AC, 0x3615, 0x3682, 0x3639
_FACTORY, _REINIT, _VARIANT = 0x3632, 0x3646, 0x202F
_SHOT, _RHT_SHOT, _POWER_DOWN, _WAKE_UP = 0x219D, 0x2196, 0x36E0, 0x36F6
_SET_INITIAL, _GET_INITIAL, _SET_STANDARD, _GET_STANDARD = 0x2445, 0x2340, 0x244E, 0x234B

# While it measures periodically, all else is refused (section 3.6 and table 9).
_WHILE_MEASURING = frozenset((_READ, _STOP, _READY, _PRESSURE))
_ALL = _WHILE_MEASURING | {
    _START, _START_LOW_POWER, _SET_OFFSET, _GET_OFFSET, _SET_ALTITUDE, _GET_ALTITUDE, _RECALIBRATE,
    _SET_ASC, _GET_ASC, _SET_TARGET, _GET_TARGET, _PERSIST, _SERIAL, _SELF_TEST, _FACTORY, _REINIT,
    _VARIANT, _SHOT, _RHT_SHOT, _POWER_DOWN, _WAKE_UP, _SET_INITIAL, _GET_INITIAL, _SET_STANDARD,
    _GET_STANDARD,
}  # fmt: skip
_SEA_LEVEL_PA = 101_325.0
_SELF_HEATING_C = 4.0
# Section 3.8.1: before a forced recalibration the sensor must have run for three minutes.
_SETTLED_NS = 180_000 * MS
# How low the first single shots after a start are (fault "low-first-shots").
_FIRST_SHOTS = (0.78, 0.93)


@dataclass(slots=True)
class Settings:
    """What can be set; `persist_settings` keeps all but the pressure, and the FRC is always kept.

    Temperature offset in °C, altitude in m, pressure in hPa (0: by the altitude), target and
    correction of the calibration in ppm.
    """

    offset_c: float = 4.0
    altitude_m: int = 0
    pressure_hpa: int = 0
    asc: bool = True
    target_ppm: int = 400
    initial_h: int = 44
    standard_h: int = 156
    correction_ppm: int = 0


class SCD41(WordTarget):
    """The chip; `rng` draws its serial number, `error_ppm` is what a recalibration takes away.

    `variant` is the upper half-byte of its feature word: 0 an SCD40, 1 an SCD41, 5 an SCD43.
    `faults` breaks it: "dead", "bad-crc", "low-first-shots", "never-ready" and
    "reinit-forgets-frc".
    """

    def __init__(
        self,
        clock: Clock,
        air: Air,
        around: Around,
        rng: random.Random,
        address: int = 0x62,
        *,
        variant: int = 1,
        error_ppm: int = 0,
    ) -> None:
        super().__init__(clock, address)
        self.serial = rng.getrandbits(48)
        self.variant = variant
        self.error_ppm = error_ppm
        self.kept = Settings()
        self._air = air
        self._around = around
        self.power_up()

    def power_up(self) -> None:
        """Start idle, from the settings that were persisted."""
        self.start_over()
        self.settings = Settings(
            offset_c=self.kept.offset_c,
            altitude_m=self.kept.altitude_m,
            asc=self.kept.asc,
            target_ppm=self.kept.target_ppm,
            initial_h=self.kept.initial_h,
            standard_h=self.kept.standard_h,
            correction_ppm=self.kept.correction_ppm,
        )
        self.asleep = False
        self._period_ns = 0
        self._since_ns = 0
        self._running_ns: int | None = None  # since when it measures, for the recalibration
        self._shots = 0
        self._last_given = 0
        self._pending: tuple[int, int, int] | None = None
        self.busy(30)

    # -- the bus --------------------------------------------------------------------------------

    def present(self, now: int) -> bool:
        """Not without weather."""
        return self._air(now) is not None

    def takes(self, command: int) -> bool:
        """Acknowledge what the state allows; asleep, the chip does not even acknowledge waking."""
        if self.asleep:
            if command == _WAKE_UP:
                self.asleep = False
                self._shots = 0
                self.busy(30)
            return False
        if command not in _ALL or (command in (_SHOT, _RHT_SHOT) and self.variant == 0):
            return False
        return not self._period_ns or command in _WHILE_MEASURING

    def carry_out(self, command: int, arguments: list[int]) -> None:
        """Do what a command says (section 3.5 and following)."""
        if arguments:
            self._set(command, arguments[0])
        elif command in (_START, _START_LOW_POWER):
            self._period_ns = (5_000 if command == _START else 30_000) * MS
            self._since_ns = self._clock.now_ns()
            self._last_given = 0
            self._pending = None
            self._ran()
        elif command == _READ:
            self._give()
        elif command == _STOP:
            self._period_ns = 0
            self.busy(500)
        elif command == _READY:
            self.answer(0x8000 | 6 * self._ready())
        elif command in (_SHOT, _RHT_SHOT):
            self._shoot(command == _SHOT)
        elif command == _POWER_DOWN:
            self.asleep = True
        else:
            self._manage(command)

    def _set(self, command: int, value: int) -> None:
        settings = self.settings
        if command == _SET_OFFSET:
            settings.offset_c = value * 175 / 65535
        elif command == _SET_ALTITUDE:
            settings.altitude_m = value
        elif command == _PRESSURE:
            settings.pressure_hpa = value
        elif command == _SET_ASC:
            settings.asc = value == 1
        elif command == _SET_TARGET:
            settings.target_ppm = value
        elif command == _SET_INITIAL:
            settings.initial_h = value
        elif command == _SET_STANDARD:
            settings.standard_h = value
        elif command == _RECALIBRATE:
            self._recalibrate(value)
            return
        self.busy(1)

    def _manage(self, command: int) -> None:
        settings = self.settings
        now = {
            _GET_OFFSET: round(settings.offset_c * 65535 / 175),
            _GET_ALTITUDE: settings.altitude_m,
            _PRESSURE: settings.pressure_hpa or 1013,
            _GET_ASC: int(settings.asc),
            _GET_TARGET: settings.target_ppm,
            _GET_INITIAL: settings.initial_h,
            _GET_STANDARD: settings.standard_h,
            _VARIANT: self.variant << 12 | 0x440,
        }
        if command in now:
            self.answer(now[command])
        elif command == _SERIAL:
            self.answer(self.serial >> 32, self.serial >> 16 & 0xFFFF, self.serial & 0xFFFF)
        elif command == _PERSIST:
            correction = self.kept.correction_ppm
            self.kept = Settings(**{name: getattr(settings, name) for name in settings.__slots__})
            self.kept.correction_ppm = correction
            self.busy(800)
        elif command == _SELF_TEST:
            self.busy(10_000)
            self.answer(0, after_ms=10_000)
        elif command == _FACTORY:
            self.kept = Settings()
            self.power_up()
            self.busy(1200)
        elif command == _REINIT:
            if "reinit-forgets-frc" in self.faults:
                self.kept.correction_ppm = 0
            shots = self._shots
            self.power_up()
            self._shots = shots

    # -- measuring ------------------------------------------------------------------------------

    def _ran(self) -> None:
        if self._running_ns is None:
            self._running_ns = self._clock.now_ns()

    def _shoot(self, with_co2: bool) -> None:
        """Measure once; the result can be read when the time is over, until it is read."""
        took_ms = 5000 if with_co2 else 50
        factor = 1.0
        if with_co2:
            self._ran()
            if "low-first-shots" in self.faults and self._shots < len(_FIRST_SHOTS):
                factor = _FIRST_SHOTS[self._shots]
            self._shots += 1
        result = self._convert(self._clock.now_ns() + took_ms * MS, factor)
        self._pending = result if with_co2 or result is None else (0, *result[1:])
        self.busy(took_ms)

    def _ready(self) -> bool:
        if "never-ready" in self.faults:
            return False
        if self._period_ns:
            return self._number() > self._last_given
        return self._pending is not None

    def _number(self) -> int:
        return (self._clock.now_ns() - self._since_ns) // self._period_ns

    def _give(self) -> None:
        """Give a measurement once; without one the read that follows is not acknowledged."""
        if not self._ready():
            return
        if self._period_ns:
            number = self._number()
            self._last_given = number
            self._pending = self._convert(self._since_ns + number * self._period_ns, 1.0)
        if self._pending is not None:
            self.answer(*self._pending)
            self._pending = None

    def _convert(self, at_ns: int, factor: float) -> tuple[int, int, int] | None:
        # The weather of the moment at which the command came is known even if its end is not.
        air = self._air(at_ns) or self._air(self._clock.now_ns())
        around = self._around(at_ns) or self._around(self._clock.now_ns())
        if air is None or around is None:
            return None
        believed_pa = 100.0 * self.settings.pressure_hpa
        if not believed_pa:
            # The barometric formula of the standard atmosphere (ISO 2533).
            believed_pa = _SEA_LEVEL_PA * (1 - 2.25577e-5 * self.settings.altitude_m) ** 5.25588
        co2 = (around.co2_ppm + self.error_ppm) * air.pressure_pa / believed_pa * factor
        co2 += self.kept.correction_ppm
        celsius = air.temperature_c + _SELF_HEATING_C - self.settings.offset_c
        return (
            min(40_000, max(0, round(co2))),
            _raw((celsius + 45) / 175),
            _raw(air.humidity_pct / 100),
        )

    def _recalibrate(self, target_ppm: int) -> None:
        """Section 3.8.1: fails unless the sensor has measured for three minutes before."""
        now = self._clock.now_ns()
        self.busy(400)
        result = self._convert(now, 1.0)
        if self._running_ns is None or now - self._running_ns < _SETTLED_NS or result is None:
            self.answer(0xFFFF, after_ms=400)
            return
        correction = target_ppm - result[0]
        self.kept.correction_ppm += correction
        self.answer(correction + 0x8000, after_ms=400)


def _raw(share: float) -> int:
    return min(65535, max(0, round(share * 65535)))

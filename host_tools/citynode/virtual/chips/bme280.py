"""Bosch BME280: temperature, humidity, pressure (BST-BME280-DS002 rev. 1.6), on I2C.

Its converters give the raw values that the compensation formulas turn into the true weather, in
the resolution that the oversampling allows; noise and self-heating are left out. In a gap of the
weather the chip does not answer: it has nothing true to say.
"""

import random
import struct
from dataclasses import dataclass
from typing import Self

from citynode.virtual.chips import Air, Clock
from citynode.virtual.chips.bosch import PairTarget, nearest
from citynode.virtual.world.weather import Conditions

_CALIB_TP, _ID, _RESET, _CALIB_H = 0x88, 0xD0, 0xE0, 0xE1
_CTRL_HUM, _STATUS, _CTRL_MEAS, _CONFIG, _DATA = 0xF2, 0xF3, 0xF4, 0xF5, 0xF7
_CHIP_ID = 0x60
_RESET_WORD = 0xB6
_MEASURING, _IM_UPDATE = 0x08, 0x01
_SLEEP, _NORMAL = 0, 3  # both 1 and 2 are forced mode (table 25)
_MODE = 0x03
_SKIPPED = 0x80000
_SKIPPED_H = 0x8000

_US = 1_000
_MS = 1_000_000
_STARTUP_NS = 1_500 * _US  # 2 ms at most (table 1)
# The measuring bit comes up only when the analog part has started (robert-hh/BME280, PR 19).
_BUSY_AFTER_NS = 500 * _US
_STANDBY_NS = tuple(round(ms * _MS) for ms in (0.5, 62.5, 125, 250, 500, 1000, 10, 20))
_OVERSAMPLING = (0, 1, 2, 4, 8, 16, 16, 16)
_FILTER = (1, 2, 4, 8, 16, 16, 16, 16)
# A filter of 16 has forgotten all but a millionth of what was this many conversions ago.
_MEMORY = 215


@dataclass(frozen=True, slots=True)
class Words:
    """The calibration of one chip (table 16), and the formulas of section 8.1 that use it."""

    t: tuple[int, int, int] = (27504, 26435, -1000)
    p: tuple[int, ...] = (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
    h: tuple[int, int, int, int, int, int] = (75, 361, 0, 313, 50, 30)

    @classmethod
    def draw(cls, rng: random.Random) -> Self:
        """Make words that differ from chip to chip as those of one batch do."""
        plain = cls()
        t1, t2, t3 = plain.t
        h1, h2, h3, h4, h5, h6 = plain.h
        return cls(
            t=(t1 + rng.randint(-300, 300), t2 + rng.randint(-250, 250), t3 + rng.randint(-50, 50)),
            p=(
                plain.p[0] + rng.randint(-400, 400),
                plain.p[1] + rng.randint(-60, 60),
                *plain.p[2:],
            ),
            h=(h1, h2 + rng.randint(-12, 12), h3, h4 + rng.randint(-20, 20), h5, h6),
        )

    def registers_tp(self) -> bytes:
        """Return what 0x88 to 0xA1 hold."""
        return struct.pack("<HhhHhhhhhhhhxB", *self.t, *self.p, self.h[0])

    def registers_h(self) -> bytes:
        """Return what 0xE1 to 0xE7 hold; H4 and H5 share a register."""
        _, h2, h3, h4, h5, h6 = self.h
        nibbles = (h4 & 0x0F) | (h5 & 0x0F) << 4
        return struct.pack("<hBbBbb", h2, h3, h4 >> 4, nibbles, h5 >> 4, h6)

    def t_fine(self, raw: int) -> float:
        """Return the temperature in 1/5120 °C."""
        t1, t2, t3 = self.t
        return (raw / 16384 - t1 / 1024) * t2 + (raw / 131072 - t1 / 8192) ** 2 * t3

    def pascal(self, raw: int, t_fine: float) -> float:
        """Return the pressure in Pa."""
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self.p
        x = t_fine / 2 - 64000
        offset = (x * x * p6 / 32768 + x * p5 * 2) / 4 + p4 * 65536
        slope = (1 + (p3 * x * x / 524288 + p2 * x) / 524288 / 32768) * p1
        p = (1048576 - raw - offset / 4096) * 6250 / slope
        return p + (p9 * p * p / 2147483648 + p * p8 / 32768 + p7) / 16

    def percent(self, raw: int, t_fine: float) -> float:
        """Return the relative humidity in %, not yet cropped to 0 to 100."""
        h1, h2, h3, h4, h5, h6 = self.h
        x = t_fine - 76800
        slope = h2 / 65536 * (1 + h6 / 67108864 * x * (1 + h3 / 67108864 * x))
        h = (raw - (h4 * 64 + h5 / 16384 * x)) * slope
        return h * (1 - h1 * h / 524288)


@dataclass(frozen=True, slots=True)
class _Settings:
    """What one conversion does: oversampling as factors (0: skipped), filter coefficient."""

    t: int
    p: int
    h: int
    filter: int

    @property
    def duration_ns(self) -> int:
        """The typical time of a conversion (section 9.1)."""
        us = 1000 + 2000 * self.t
        us += 2000 * self.p + 500 if self.p else 0
        us += 2000 * self.h + 500 if self.h else 0
        return us * _US


class BME280(PairTarget):
    """The chip at `address` (0x76 or 0x77); `rng` draws its calibration and its speed."""

    def __init__(self, clock: Clock, air: Air, rng: random.Random, address: int = 0x76) -> None:
        self.address = address
        self.words = Words.draw(rng)
        self._slowness = rng.uniform(1.0, 1.12)  # from typical to nearly the maximum
        self._clock = clock
        self._air = air
        self.power_up()

    def power_up(self) -> None:
        """Start from the NVM: all settings and results as in table 18."""
        self._ready_ns = self._clock.now_ns() + _STARTUP_NS
        self._ctrl_hum = self._osrs_h = self._ctrl_meas = self._config = 0
        self._next_mode: int | None = None
        self._running: _Settings | None = None
        self._start_ns = self._end_ns = 0
        self._raw = (_SKIPPED, _SKIPPED, _SKIPPED_H)
        self._filtered: tuple[float, float] | None = None

    # -- the bus --------------------------------------------------------------------------------

    def begin(self, read: bool) -> bool:
        """Acknowledge the address, except in a gap of the weather."""
        now = self._clock.now_ns()
        if self._air(now) is None:
            return False
        self._run(now)
        self._expects_register = True
        # A burst reads one conversion: the results are frozen from its start to its stop (4.1).
        self._shadow = self._results() if read else b""
        return True

    # -- registers ------------------------------------------------------------------------------

    def _store(self, register: int, value: int) -> None:
        now = self._clock.now_ns()
        self._run(now)
        if register == _RESET:
            if value == _RESET_WORD:
                self.power_up()
        elif register == _CTRL_HUM:
            self._ctrl_hum = value & 0x07
        elif register == _CONFIG:
            # Section 5.4.6: in normal mode a write may be ignored. Here it is.
            if self._ctrl_meas & _MODE != _NORMAL:
                self._config = value & 0xFD
        elif register == _CTRL_MEAS:
            # Only now the humidity's setting takes effect (section 5.4.3).
            self._osrs_h = self._ctrl_hum
            if self._running is None or now < self._start_ns:
                self._ctrl_meas = value
                self._enter(now)
            else:
                # Section 3.3.1: a new mode waits for the end of the conversion; only one waits.
                if self._next_mode is None:
                    self._next_mode = value & _MODE
                self._ctrl_meas = value & ~_MODE | self._ctrl_meas & _MODE

    def _load(self, register: int) -> int:
        now = self._clock.now_ns()
        if register == _ID:
            return _CHIP_ID
        if register == _CTRL_HUM:
            return self._ctrl_hum
        if register == _STATUS:
            self._run(now)
            busy = self._running is not None and now - self._start_ns >= _BUSY_AFTER_NS
            copying = now < self._ready_ns
            return (_MEASURING if busy else 0) | (_IM_UPDATE if copying else 0)
        if register == _CTRL_MEAS:
            self._run(now)
            return self._ctrl_meas
        if register == _CONFIG:
            return self._config
        for first, block in (
            (_DATA, self._shadow),
            (_CALIB_TP, self.words.registers_tp()),
            (_CALIB_H, self.words.registers_h()),
        ):
            if first <= register < first + len(block):
                return block[register - first]
        return 0

    def _results(self) -> bytes:
        p, t, h = self._raw
        return struct.pack(">HBHBH", p >> 4, (p & 15) << 4, t >> 4, (t & 15) << 4, h)

    # -- conversions ----------------------------------------------------------------------------

    def _enter(self, now: int) -> None:
        """Begin what the mode asks for."""
        if self._ctrl_meas & _MODE == _SLEEP:
            self._running = None
            return
        self._begin_conversion(max(now, self._ready_ns))

    def _begin_conversion(self, start_ns: int) -> None:
        self._running = _Settings(
            t=_OVERSAMPLING[self._ctrl_meas >> 5],
            p=_OVERSAMPLING[self._ctrl_meas >> 2 & 7],
            h=_OVERSAMPLING[self._osrs_h],
            filter=_FILTER[self._config >> 2 & 7],
        )
        self._start_ns = start_ns
        self._end_ns = start_ns + round(self._running.duration_ns * self._slowness)

    def _run(self, now: int) -> None:
        """Catch up with the time: finish the conversions that have ended by `now`."""
        if self._running is not None and self._ctrl_meas & _MODE == _NORMAL:
            period = self._end_ns - self._start_ns + _STANDBY_NS[self._config >> 5]
            missed = (now - self._end_ns) // period - _MEMORY
            if missed > 0 and self._next_mode is None:
                self._start_ns += missed * period
                self._end_ns += missed * period
        while self._running is not None and now >= self._end_ns:
            self._finish(self._running)
            ended = self._end_ns
            mode = self._ctrl_meas & _MODE
            if self._next_mode is not None:
                self._ctrl_meas = self._ctrl_meas & ~_MODE | self._next_mode
                self._next_mode = None
                self._enter(ended)
            elif mode == _NORMAL:
                start = ended + _STANDBY_NS[self._config >> 5]
                self._begin_conversion(start)
                if now < start:
                    break
            else:
                self._ctrl_meas &= ~_MODE
                self._running = None

    def _finish(self, settings: _Settings) -> None:
        air = self._air(self._start_ns)
        if air is None:
            return  # nothing to convert; the old results stay, and nobody gets to read them
        t = _convert_t(self.words, air, settings)
        t_fine = self.words.t_fine(t)
        p = _convert_p(self.words, air, settings, t_fine)
        if settings.filter > 1 and settings.t and settings.p:
            old = self._filtered or (float(t), float(p))
            n = settings.filter
            self._filtered = (old[0] * (n - 1) + t) / n, (old[1] * (n - 1) + p) / n
            t, p = round(self._filtered[0]), round(self._filtered[1])
        self._raw = (
            p if settings.p else _SKIPPED,
            t if settings.t else _SKIPPED,
            _convert_h(self.words, air, t_fine) if settings.h else _SKIPPED_H,
        )


def _bits(oversampling: int, filtered: int) -> int:
    """Return the resolution of pressure and temperature (tables 20 and 21)."""
    return 20 if filtered > 1 else 15 + max(1, oversampling).bit_length()


def _convert_t(words: Words, air: Conditions, settings: _Settings) -> int:
    step = 1 << 20 - _bits(settings.t, settings.filter)
    wanted = air.temperature_c * 5120
    raw = nearest(words.t_fine, wanted, 0xFFFFF, step)
    return raw if raw != _SKIPPED else raw + step


def _convert_p(words: Words, air: Conditions, settings: _Settings, t_fine: float) -> int:
    step = 1 << 20 - _bits(settings.p, settings.filter)
    # The higher the pressure, the lower the raw value.
    raw = nearest(lambda x: -words.pascal(x, t_fine), -air.pressure_pa, 0xFFFFF, step)
    return raw if raw != _SKIPPED else raw + step


def _convert_h(words: Words, air: Conditions, t_fine: float) -> int:
    wanted = min(100.0, max(0.0, air.humidity_pct))
    raw = nearest(lambda x: words.percent(x, t_fine), wanted, 0xFFFF, 1)
    return raw if raw != _SKIPPED_H else raw + 1

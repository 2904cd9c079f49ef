"""What sensors find beside the weather: gases, particles, rain in drops and wind in gusts.

CO2, particles and vapours are made up from the engine's seed, the same for the same time. Rain and
wind are those of the weather: their totals and means are its own, and what is not known there is
not known here.
"""

import math
import random
from dataclasses import dataclass

from citynode.virtual.world.weather import Weather

_DAY_S = 86400.0
_GOLDEN = 0x9E3779B97F4A7C15
# A gust: long enough to hold the 3 s means of the anemometers (WMO-No. 8, part I, 5.1.2) that
# begin at any instant of a half second.
_GUST_S = 4.0
_WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is in the air and around it at one moment.

    CO2 in ppm; mass of the particles up to 1, 2.5, 4 and 10 µm in µg/m³; resistance of a heated
    metal oxide in Ω; temperature of the surface that an infrared thermometer sees in °C.
    """

    co2_ppm: float
    pm1_ugm3: float
    pm25_ugm3: float
    pm4_ugm3: float
    pm10_ugm3: float
    gas_ohm: float
    surface_c: float


class Climate:
    """The surroundings at any time, around a weather; `rng` draws what is particular to a place."""

    def __init__(self, weather: Weather, rng: random.Random) -> None:
        self._weather = weather
        self._seed = rng.getrandbits(64)
        self._waves = tuple(
            (days * _DAY_S * rng.uniform(0.9, 1.1), rng.uniform(0, math.tau))
            for days in (5.3, 2.1, 0.37, 0.083)
        )

    def at(self, unix_s: float) -> Surroundings | None:
        """Return the surroundings at a time (s since 1970), None in a gap of the weather."""
        air = self._weather.at(unix_s)
        if air is None:
            return None
        drift = sum(math.sin(math.tau * unix_s / p + phase) for p, phase in self._waves) / 4
        day = unix_s / _DAY_S
        # Two rush hours; nights are still, and what the city gives off stays near the ground.
        rush = max(0.0, math.sin(2 * math.tau * (day - 5.0 / 24))) ** 2
        night = 0.5 + 0.5 * math.cos(math.tau * (day - 4.0 / 24))
        pm25 = 11.0 * math.exp(0.9 * drift) + 5.0 * rush + 2.0 * night
        pm25 /= 1.0 + 0.3 * (air.rain_mm_h or 0.0)
        sun = air.solar_wm2 or 0.0
        return Surroundings(
            co2_ppm=424.0 + 35.0 * night + 25.0 * rush + 18.0 * drift,
            pm1_ugm3=0.66 * pm25,
            pm25_ugm3=pm25,
            pm4_ugm3=1.22 * pm25,
            pm10_ugm3=1.35 * pm25 + 3.0 * rush,
            gas_ohm=90_000.0 * math.exp(-0.5 * rush - 0.6 * drift),
            # Asphalt: 1000 W/m² make it some 25 °C warmer than the air, a clear night a bit colder.
            surface_c=air.temperature_c + 0.025 * sun - 1.5 * night,
        )

    def rain_mm(self, start_s: float, end_s: float) -> float | None:
        """Return what rained between two times (s since 1970) that are at most a minute apart.

        The rate is a straight line over so short a time. None where it is not known.
        """
        rates = [self._weather.at(time) for time in (start_s, end_s)]
        known = [air.rain_mm_h for air in rates if air is not None and air.rain_mm_h is not None]
        return None if len(known) < 2 else (known[0] + known[1]) / 2 * (end_s - start_s) / 3600

    def wind_ms(self, unix_s: float) -> tuple[float | None, float]:
        """Return the speed of the wind (m/s), None where it is not known, and until when (s).

        Each minute has one gust of the weather's gust speed, at a place in it that chance has
        chosen; what it adds is taken from the rest, so that the minute's mean is the weather's. A
        gust that the mean has no room for is as fast as there is room for.
        """
        window = math.floor(unix_s / _WINDOW_S)
        start = window * _WINDOW_S + self._share(window) * (_WINDOW_S - _GUST_S)
        ends = (start, start + _GUST_S, (window + 1) * _WINDOW_S)
        until = next(end for end in ends if unix_s < end)
        air = self._weather.at((window + 0.5) * _WINDOW_S) or self._weather.at(unix_s)
        if air is None or air.wind_ms is None:
            return None, until
        mean = air.wind_ms
        gust = min(max(mean, air.gust_ms or mean), mean * _WINDOW_S / _GUST_S)
        if start <= unix_s < start + _GUST_S:
            return gust, until
        return (mean * _WINDOW_S - gust * _GUST_S) / (_WINDOW_S - _GUST_S), until

    def wind_from_deg(self, unix_s: float) -> float | None:
        """Return where the wind comes from (°), None where it is not known."""
        air = self._weather.at(unix_s)
        return None if air is None else air.wind_from_deg

    def _share(self, number: int) -> float:
        """Return a number from 0 to 1 that belongs to a whole number, the same at each call."""
        x = (number * _GOLDEN ^ self._seed) & (1 << 64) - 1
        x = (x ^ x >> 31) * 0xBF58476D1CE4E5B9 & (1 << 64) - 1
        return (x ^ x >> 29) / (1 << 64)

"""Climate and traffic records every five minutes: of a real month of weather, or of a made one.

`CITYNODE_WEATHER` names a CSV of one of Bochum's weather stations; else it is the one in
`shared/data` beside the checkout; where neither is there, the weather is made here, with the same
resolution. What the station does not measure (CO2, particulates, battery, traffic) is always made.
"""

import csv
import math
import os
import random
from datetime import datetime
from pathlib import Path

FILE = "shared/data/bochum-weather-2024-06.csv"
INTERVAL_S = 300
DAYS = 30
NAMES = ("outdoor_temperature", "outdoor_humidity", "pressure_absolute")


def source():
    """Return the path of the weather's file, None where there is none."""
    given = os.environ.get("CITYNODE_WEATHER")
    path = Path(given) if given else Path(__file__).resolve().parents[4] / FILE
    return path if given or path.is_file() else None


def weather():
    """Return `(t, °C, %, Pa)` in the order of time."""
    path = source()
    if path is None:
        return list(_made())
    rows = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            t = int(datetime.fromisoformat(row["datetime"]).timestamp())
            temperature, humidity, pressure = (float(row[name]) for name in NAMES)
            rows[t] = (t, temperature, humidity, round(100 * pressure))
    return [rows[t] for t in sorted(rows)]


def _made():
    chance = random.Random(1)
    slow, front = 0.0, 0.0
    for number in range(DAYS * 288):
        hour = number / 12 % 24
        slow = 0.98 * slow + chance.gauss(0, 0.12)
        front = 0.9995 * front + chance.gauss(0, 5)
        temperature = 17 + 5 * math.sin((hour - 9) / 24 * 2 * math.pi) + slow
        humidity = min(99.0, 100 - 3 * (temperature - 8))
        yield (
            1717200000 + number * INTERVAL_S,
            round(temperature, 1),
            float(round(humidity)),
            10 * round((100500 + front) / 10),
        )


def climate(*, fine=False):
    """Return `(t, values)`; `fine`: as a sensor with the resolution of its field has it.

    The station's values have 0.1 °C, 1 % and 10 Pa.
    """
    chance = random.Random(2)
    co2 = dust = 0.0
    for t, temperature, humidity, pressure in weather():
        day = (t / 86400 % 1) * 2 * math.pi
        co2 = 0.9 * co2 + chance.gauss(0, 3)
        dust = 0.98 * dust + chance.gauss(0, 0.04)
        pm25 = 9 * math.exp(dust) * (1 + 0.3 * math.cos(day - 2)) + chance.gauss(0, 0.15)
        pm10 = 1.5 * pm25 + chance.gauss(0, 0.25)
        if fine:
            temperature += chance.gauss(0, 0.03)
            humidity = min(100.0, humidity + chance.gauss(0, 0.2))
            pressure += round(chance.gauss(0, 3))
        yield (
            t,
            {
                "temperature_c": round(temperature, 2),
                "humidity_pct": round(humidity, 1),
                "pressure_pa": pressure,
                "co2_ppm": round(430 + 25 * math.cos(day - 1.3) + co2),
                "pm25_ugm3": round(max(0.0, pm25), 1),
                "pm10_ugm3": round(max(0.0, pm10), 1),
                "battery_v": round(3.9 + 0.15 * math.sin(day - 2.4), 2),
            },
        )


def traffic():
    """Return `(t, values)` of a street with two ways, at most 1500 vehicles an hour."""
    chance = random.Random(3)
    for number in range(DAYS * 288):
        hour = number / 12 % 24
        flow = max(0.03, math.sin((hour - 5) / 17 * math.pi)) if 5 < hour < 22 else 0.03
        values = {"interval_s": INTERVAL_S}
        for way in (1, 2):
            for kind, mean in (("bikes", 8), ("cars", 62), ("heavy", 5)):
                values[f"{kind}_{way}"] = _poisson(chance, mean * flow)
        for way, mean in ((1, 44), (2, 47)):
            speed = chance.gauss(mean, 1.2)
            values[f"speed_{way}_kmh"] = round(2 * speed) / 2
            values[f"v85_{way}_kmh"] = round(2 * (speed + chance.gauss(8.5, 0.7))) / 2
        values["occupancy_pct"] = round(2 * (12 * flow + chance.gauss(1.5, 0.4))) / 2
        values["battery_v"] = round(3.9 + 0.1 * math.sin(hour / 4), 2)
        yield 1717200000 + number * INTERVAL_S, values


def _poisson(chance, mean):
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count += 1
        product *= chance.random()
    return count


def windows(records, size):
    """Yield every run of `size` records `(seq, t, …)` that are an interval apart."""
    run = []
    for record in records:
        if run and record[1] != run[-1][1] + INTERVAL_S:
            run = []
        run.append(record)
        if len(run) == size:
            yield run
            run = []

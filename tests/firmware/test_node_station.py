"""The whole node with all of its sensors, on every board file: records against the truth."""

import math
import os
from statistics import fmean

import pytest
import station
from citynode.boards import board_ids, load_board
from citynode.errors import CitynodeError
from citynode.profiles import check_wiring, load_profile
from citynode.virtual.world.weather import Conditions, Weather
from citynode.wire.schema import CLIMATE, EVENT, HEALTH, SENSOR_FAULT, SUSPECT, WEATHER

# The whole day of each board is run by CITYNODE_BENCHMARK=full: half an hour of a machine.
HOURS = 24.0 if os.environ.get("CITYNODE_BENCHMARK") == "full" else 0.75
pytestmark = pytest.mark.slow


class Day:
    """A showery day: all of it changes, so that nothing looks like a stuck sensor."""

    def at(self, unix_s):
        wave = math.sin(unix_s / 900)
        return Conditions(
            temperature_c=12 + 3 * wave,
            humidity_pct=70 - 10 * wave,
            pressure_pa=100800 + 150 * wave,
            rain_mm_h=max(0.0, 20 * math.sin(unix_s / 500)),
            wind_ms=5 + 2 * wave,
            gust_ms=9 + 3 * wave,
            wind_from_deg=(unix_s / 60) % 360,
        )


def fitting(board):
    """Return the profile of the station with the sensors that a board has places for."""
    profile = load_profile("climate-station")
    fits = []
    for sensor in profile.sensors:
        if sensor.chip == "windvane" and load_board(board).chip == "esp32c3":
            sensor = sensor.model_copy(update={"options": {"supply_uv": 2_600_000}})
        try:
            check_wiring(load_board(board), profile.model_copy(update={"sensors": (sensor,)}))
        except CitynodeError:
            continue
        fits.append(sensor)
    return profile.model_copy(update={"sensors": tuple(fits), "health_s": 900})


@pytest.mark.parametrize("board", board_ids())
def test_a_station_measures_the_world_without_a_leak(board):
    profile = fitting(board)
    ran = station.run(board, profile, HOURS, weather=Weather(Day()))
    world, ns = ran.world, ran.ns
    assert [r.values for r in ran.records if r.kind == EVENT and r.values["code"] != "restart"][
        1:
    ] == []
    climate = [r for r in ran.records if r.kind == CLIMATE and r.t]
    assert len(climate) >= 12 * HOURS - 1
    for record in climate:
        assert not record.status & (SENSOR_FAULT | SUSPECT)
        # The mean of five readings of two minutes before and after its middle.
        middle = world.air(ns(record.t - 120))
        around = world.around(ns(record.t))
        values = record.values
        assert values["temperature_c"] == pytest.approx(middle.temperature_c, abs=0.1)
        assert values["humidity_pct"] == pytest.approx(middle.humidity_pct, abs=0.5)
        assert values["pressure_pa"] == pytest.approx(middle.pressure_pa, abs=5)
        assert values["temperature_min_c"] <= values["temperature_c"] <= values["temperature_max_c"]
        assert values["co2_ppm"] == pytest.approx(around.co2_ppm, abs=2)
        for name in ("pm1_ugm3", "pm25_ugm3", "pm10_ugm3"):
            # It is read some ten seconds after the instant, and rain changes it quickly.
            assert values[name] == pytest.approx(getattr(around, name), abs=3, rel=0.2)
    weather = [r for r in ran.records if r.kind == WEATHER and r.t]
    assert len(weather) == len(climate)
    fallen = blown = truly = 0.0
    for record in weather[1:]:
        start, end = record.t - 300, record.t
        truly += sum(world.rain_mm(ns(t), ns(t + 60)) for t in range(start, end, 60))
        fallen += record.values["rain_mm"]
        seconds = [world.wind_ms(ns(t + 0.5))[0] for t in range(start, end)]
        blown = sum(seconds) / len(seconds)
        assert record.values["wind_ms"] == pytest.approx(blown, abs=0.15)
        three = max(sum(seconds[n : n + 3]) / 3 for n in range(len(seconds) - 2))
        assert record.values["gust_ms"] == pytest.approx(three, abs=0.5)
        if "windvane" in {sensor.chip for sensor in profile.sensors}:
            off = record.values["wind_from_deg"] - world.wind_from_deg(ns(record.t - 150))
            assert abs((off + 180) % 360 - 180) <= 12
    assert truly > 1
    assert fallen == pytest.approx(truly, abs=0.6)
    free = [r.values["heap_free_b"] for r in ran.records if r.kind == HEALTH][2:]
    assert len(free) >= 4 * HOURS - 3
    # What is in queues at the moment of the look differs; nothing becomes less by and by.
    assert max(free) - min(free) <= 128
    third = max(1, len(free) // 3)
    assert fmean(free[-third:]) > fmean(free[:third]) - 32

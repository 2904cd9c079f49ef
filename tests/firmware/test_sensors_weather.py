"""Rain gauge, anemometer, vane: drivers on MicroPython against models, and their weather."""

import itertools
import math
import random
import statistics

import pytest
from citynode.virtual.chips.anemometer import Anemometer
from citynode.virtual.chips.contact import Contact
from citynode.virtual.chips.raingauge import RainGauge
from citynode.virtual.chips.windvane import WindVane
from citynode.virtual.world.climate import Climate
from citynode.virtual.world.weather import Conditions, Weather
from sensors_bench import ANALOG, MS, PULSES, Bench

HEAR = """
def hear(ms):  # interrupts come when they happen, and not all at the end
    end = now() + ms
    while now() < end:
        do("next", end - now())
"""
RAIN = f"""{HEAR}
from node.sensors.pulses import Debounced
from node.sensors.raingauge import RainGauge
debounced = Debounced(Pin({PULSES}, Pin.IN, Pin.PULL_UP), clock, RainGauge.DEAD_MS)
gauge = RainGauge(debounced, clock)
"""
WIND = """
from node.sensors.anemometer import Anemometer
from node.sensors.pulses import Debounced
def blow(cups, ms, each):
    for _ in range(ms // each):
        clock.wait_ms(each)
        cups.step()
"""
WITH_COUNTER = (1, 26)


@pytest.fixture
def bench():
    with Bench() as bench:
        yield bench


def drive(bench):
    return lambda level: bench.pins.drive(PULSES, level)


@pytest.mark.parametrize("faults", [(), ("bounces",)])
def test_rain_is_counted_once_a_tip(bench, faults):
    # 60 mm/h: a tip each 17 s.
    rain = RainGauge(bench.time, lambda a, b: 60 * (b - a) / 3.6e12, drive(bench), random.Random(1))
    rain.contact.faults.update(faults)
    bench.on("tips", lambda: rain.contact.closings)
    got = bench.numbers(
        RAIN
        + """
for _ in range(3):
    hear(120000)
    say(finished(gauge.measure())[0], do("tips"))
say(*finished(gauge.measure()), do("tips"))
"""
    )
    assert sum(row[0] for row in got) == pytest.approx(0.2794 * got[-1][1], abs=1e-4)
    assert got[-1][1] == pytest.approx(6 * 60 / 60 / 0.2794, abs=2)
    assert got[0][0] > 1.5
    assert got[3][0] == 0  # told once


def test_a_counter_alone_counts_bounces(bench):
    # What the debouncing is for: the same contact on a PCNT.
    contact = Contact(bench.time, drive(bench), random.Random(2))
    contact.faults.add("bounces")
    for number in range(20):
        contact.close(bench.time.ns + (1 + number) * 5_000 * MS, 100 * MS)
    got = bench.numbers(
        RAIN
        + f"""
from machine import Counter
counter = RainGauge(Counter(0, Pin({PULSES}), edge=Counter.FALLING), clock)
hear(120000)
say(finished(gauge.measure())[0], finished(counter.measure())[0])
""",
        release=WITH_COUNTER,
    )
    assert got[0][0] == pytest.approx(20 * 0.2794, abs=1e-4)
    assert got[0][1] > 1.5 * got[0][0]


def test_debounced_over_days_and_at_the_end_of_16_bits(bench):
    bench.pins.drive(PULSES, 1)
    bench.on("close", lambda: bench.pins.pulse(PULSES))
    lines = bench.run(
        RAIN
        + """
# Ticks wrap after 12.4 days, and their differences after half of that.
for days in (1, 6, 7, 12, 13, 25):
    clock.wait_ms(days * 86400000)
    do("close")
    clock.wait_ms(1)
    do("close")
    clock.wait_ms(1)
    print(finished(gauge.measure())[0] == 0.2794)
debounced.closed()  # it has woken the chip, and is one of them
clock.wait_ms(400)
do("close")
clock.wait_ms(1)
print(debounced.value())
class Near:
    count = 65530
    def value(self):
        return Near.count
gauge = RainGauge(Near(), clock, 0.5)
Near.count = 4
print(finished(gauge.measure()))
"""
    )
    assert lines == ["True"] * 6 + ["7", "(5.0,)"]


def test_wind_mean_and_gust(bench):
    # 4 m/s with 5 s of 13 m/s in the second minute.
    start = bench.time.ns

    def wind(ns):
        speeds = ((80, 4.0), (85, 13.0), (1000, 4.0))
        return next((v, start + s * 10**9) for s, v in speeds if ns < start + s * 10**9)

    Anemometer(bench.time, wind, drive(bench), random.Random(1))
    got = bench.numbers(
        WIND
        + f"""
from machine import Counter
cups = Anemometer(Counter(0, Pin({PULSES}), edge=Counter.FALLING), clock)
for _ in range(3):
    blow(cups, 60000, 500)
    say(*finished(cups.measure()))
""",
        release=WITH_COUNTER,
    )
    # A pulse more or less: 0.011 m/s in a minute, 0.22 m/s in 3 s.
    assert [row[0] for row in got] == pytest.approx([4.0, 4.75, 4.0], abs=0.012)
    assert [row[1] for row in got] == pytest.approx([4.0, 13.0, 4.0], abs=0.23)


@pytest.mark.parametrize("speed", [0.9, 6.0, 33.0])
def test_wind_by_interrupts_from_a_contact_that_bounces(bench, speed):
    cups = Anemometer(bench.time, lambda ns: (speed, ns + 10**9), drive(bench), random.Random(1))
    cups.contact.faults.add("bounces")
    got = bench.numbers(
        HEAR
        + WIND
        + f"""
pin = Pin({PULSES}, Pin.IN, Pin.PULL_UP)
cups = Anemometer(Debounced(pin, clock, Anemometer.DEAD_MS, both=True), clock)
for _ in range(8):
    hear(500)
    cups.step()
say(*finished(cups.measure()))
"""
    )
    # One closing more or less.
    assert got[0] == pytest.approx((speed, speed), abs=0.23)


def test_wind_without_steps_has_a_mean_and_no_gust(bench):
    Anemometer(bench.time, lambda ns: (25.0, ns + 10**9), drive(bench), random.Random(1))
    lines = bench.run(
        WIND
        + f"""
pin = Pin({PULSES}, Pin.IN, Pin.PULL_UP)
cups = Anemometer(Debounced(pin, clock, Anemometer.DEAD_MS, both=True), clock)
for _ in range(200):
    clock.wait_ms(10)
mean, gust = finished(cups.measure())
print(abs(mean - 25) < 0.4, gust)
print(finished(cups.measure()))
"""
    )
    assert lines == ["True None", "(None, None)"]


def test_vane_in_all_directions_and_with_its_cable_cut(bench):
    deg = [0.0]
    vane = WindVane(bench.time.now_ns, lambda ns: deg[0])
    bench.adc.connect(ANALOG, vane.volts)
    bench.watch_faults(vane)
    bench.on("turn", lambda value: deg.__setitem__(0, value))
    lines = bench.run(
        f"""
from node.sensors.windvane import WindVane
adc = ADC(Pin({ANALOG}), atten=ADC.ATTN_11DB)
vane = WindVane(adc, clock)
turned = WindVane(adc, clock, north_deg=90.)
for i in range(32):
    do("turn", 11.25 * i + 0.5)
    say(finished(vane.measure())[0], finished(turned.measure())[0])
for fault in ("open", "short"):
    do("fault", fault, True)
    print(kind(vane.measure))
    do("fault", fault, False)
# On its way from north to north-north-east: the mean of these would be south-west.
class Moving:
    values = [2532000, 2532000, 1309000]
    def read_uv(self):
        return Moving.values.pop(0)
print(finished(WindVane(Moving(), clock).measure())[0])
"""
    )
    for i, line in enumerate(lines[:32]):
        true = 11.25 * i + 0.5
        got, turned = map(float, line.split())
        assert abs((got - true + 180) % 360 - 180) <= 11.25
        assert turned == (got - 90) % 360
    assert lines[32:] == ["skipped", "skipped", "0.0"]


# -- the weather's rain and wind --------------------------------------------------------------


def climate_of(samples, seed=1):
    return Climate(Weather.from_samples(samples), random.Random(seed))


def test_rain_and_wind_have_the_weathers_totals_and_means():
    chance = random.Random(4)
    hours = 2
    samples = [
        (300.0 * i, Conditions(20.0, 50.0, 1e5, rain_mm_h=chance.choice((0.0, 2.4, 12.0)),
                               wind_ms=chance.uniform(0, 8), gust_ms=chance.uniform(2, 16),
                               wind_from_deg=chance.uniform(0, 360)))
        for i in range(12 * hours + 1)
    ]  # fmt: skip
    weather = Weather.from_samples(samples)
    climate = Climate(weather, random.Random(1))
    rain = sum(climate.rain_mm(10 * i, 10 * i + 10) for i in range(360 * hours))
    rates = [air.rain_mm_h for _, air in samples]
    assert rain == pytest.approx(sum(a + b for a, b in itertools.pairwise(rates)) / 24)

    speeds = [climate.wind_ms(t / 4)[0] for t in range(4 * 3600 * hours)]
    winds = [air.wind_ms for _, air in samples]
    mean = statistics.fmean((a + b) / 2 for a, b in itertools.pairwise(winds))
    assert statistics.fmean(speeds) == pytest.approx(mean, rel=0.002)
    # The highest 3 s of each minute are the weather's gust, where its mean has room for it.
    for minute in range(0, 60 * hours, 7):
        air = weather.at(60 * minute + 30)
        part = speeds[240 * minute : 240 * minute + 240]
        gust = max(statistics.fmean(part[i : i + 12]) for i in range(229))
        assert gust == pytest.approx(min(max(air.gust_ms, air.wind_ms), 15 * air.wind_ms), rel=0.01)
    assert climate.wind_from_deg(150.0) is not None


def test_surroundings_repeat_and_know_nothing_in_a_gap():
    air = Conditions(20.0, 50.0, 1e5)
    one, same, other = climate_of([(0, air)]), climate_of([(0, air)]), climate_of([(0, air)], 2)
    assert one.at(0) == same.at(0) != other.at(0)
    assert one.at(1) is None
    assert one.rain_mm(0, 1) is one.wind_from_deg(0) is None
    assert one.wind_ms(0)[0] is one.wind_ms(100)[0] is None
    made_up = Climate(Weather.synthetic(3), random.Random(3))
    year = [made_up.at(3600.0 * hour) for hour in range(0, 8760, 5)]
    for name, least, most in (
        ("co2_ppm", 380, 600), ("pm25_ugm3", 1, 60), ("gas_ohm", 2e4, 3e5), ("surface_c", -20, 65),
    ):  # fmt: skip
        values = [getattr(around, name) for around in year]
        assert least < min(values) < statistics.fmean(values) < max(values) < most
        assert not math.isclose(min(values), max(values), rel_tol=0.05)
    assert all(a.pm1_ugm3 < a.pm25_ugm3 < a.pm4_ugm3 < a.pm10_ugm3 for a in year)

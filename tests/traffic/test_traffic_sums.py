"""Aggregation and calibration; runs on CPython and on MicroPython."""

from node.traffic.aggregate import Aggregate
from node.traffic.calibrate import (
    NO_FAR_SIDE,
    NOISY,
    OK,
    SATURATED,
    TOO_FEW,
    UNSTEADY,
    FieldCalibration,
    RangeCalibration,
)
from node.traffic.passage import BIKE, CAR, HEAVY, UNKNOWN, Passage
from traffic_signals import VOID, Chance, cuts, field


def passage(direction, kind, kmh, occupied_ms=400):
    return Passage(0, direction, int(kmh * 1000 / 3.6), 0, kind, 90, occupied_ms)


def test_an_interval_adds_up_and_the_next_begins_empty():
    total = Aggregate(2)
    for direction, kind, kmh in (
        (1, BIKE, 18), (1, CAR, 50), (1, CAR, 52), (1, UNKNOWN, 0), (2, HEAVY, 80), (0, CAR, 54),
    ):  # fmt: skip
        total.add(passage(direction, kind, kmh))
    told = total.values(300)
    assert told[:7] == (300, 1, 4, 0, 0, 0, 1)
    assert abs(told[7] - (18 + 50 + 52 + 54) / 4) < 0.02
    assert abs(told[8] - 80) < 0.02
    assert 54 <= told[9] <= 55
    assert 79 <= told[10] <= 81
    assert abs(told[11] - 100 * 2.4 / 300 / 2) < 1e-6
    assert total.values(300) == (300, 0, 0, 0, 0, 0, 0, None, None, None, None, 0.0)


def test_v85_is_within_a_step_of_the_sorted_one():
    chance = Chance(3)
    for n in (1, 2, 7, 100, 3000):
        total = Aggregate()
        speeds = []
        for _ in range(n):
            kmh = max(50 + chance.noise(8), 3)
            speeds.append(kmh)
            total.add(passage(2, CAR, kmh))
        speeds.sort()
        exact = speeds[max(-(-85 * n // 100) - 1, 0)]
        assert abs(total.values(300)[10] - exact) <= 1.5, n


def test_counts_and_occupancy_have_a_limit():
    total = Aggregate()
    fast = Passage(0, 1, 70000, 0, CAR, 90, 1 << 20)
    for _ in range(66000):
        total.add(fast)
    told = total.values(300)
    assert (told[2], told[11]) == (65535, 100.0)
    assert 250 <= told[9] <= 251
    assert total.values(0)[11] is None


def test_a_far_side_is_found_in_traffic():
    for far, noise in (((8730, 700), 15), ((2499, 3000), 4), ((11950, 300), 40)):
        seen = RangeCalibration()
        for t, mm, strength in cuts([(5, 9), (12, 16)], 30, far, sigma=noise):
            seen.feed(t, mm, strength)
        verdict, mm, told, valid, period = seen.result()
        assert (verdict, period) == (OK, 10)
        assert abs(mm - far[0]) <= 5
        assert abs(told - noise) <= max(noise // 3, 2)
        assert valid > 95


def test_what_is_wrong_with_a_range_is_told():
    nothing, moving, short = RangeCalibration(), RangeCalibration(), RangeCalibration()
    chance = Chance(5)
    for i in range(3000):
        nothing.feed(10 * i, VOID[0], VOID[1])
        moving.feed(10 * i, 500 + chance.below(20000), 500)
        if i < 20:
            short.feed(10 * i, 3000, 500)
    assert nothing.result()[0] == NO_FAR_SIDE
    assert moving.result()[0] == UNSTEADY
    assert short.result()[0] == TOO_FEW


def test_a_field_is_found_in_traffic():
    seen = FieldCalibration()
    for sample in field([(4, 10, 2.0, 100), (9, 10, 2.0, 100)], 30, sigma=30):
        seen.feed(*sample)
    verdict, base, noise, period = seen.result()
    assert (verdict, period) == (OK, 10)
    for told, true in zip(base, (19000, 1000, -45000)):  # noqa: B905
        assert abs(told - true) < 40
    assert 20 <= noise <= 40


def test_what_is_wrong_with_a_field_is_told():
    loud, full, short = FieldCalibration(), FieldCalibration(30000), FieldCalibration()
    for sample in field([], 12, sigma=4000):
        loud.feed(*sample)
        full.feed(*sample)
        if sample[0] < 900:
            short.feed(*sample)
    assert loud.result()[0] == NOISY
    assert full.result()[0] == SATURATED
    assert short.result()[0] == TOO_FEW

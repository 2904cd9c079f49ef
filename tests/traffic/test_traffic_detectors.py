"""What the detectors say of plain signals; runs on CPython and on MicroPython."""

from node.traffic.across import Across, AcrossPair
from node.traffic.along import Along
from node.traffic.kinds import SENSORS, make
from node.traffic.magnet import Magnet, MagnetPair
from node.traffic.passage import BIKE, CAR, HEAVY, UNKNOWN, kind_of_length
from node.traffic.radar import Radar
from traffic_signals import VOID, Chance, cuts, feed, field, reports, runs

CAR_AM2 = 100  # of each of two dipoles


def near(value, wanted, percent):
    return abs(value - wanted) * 100 <= wanted * percent


# -- magnetometers -------------------------------------------------------------------------------


def test_one_magnetometer_counts_at_any_rate_and_offset():
    cars = [(4 + 3 * i, 10 + 5 * i, 2.0, CAR_AM2) for i in range(4)]
    bases = ((0, 0, 0), (19000, 1000, -45000), (-120000, 90000, 60000))
    for rate, base in ((10, bases[0]), (40, bases[1]), (100, bases[2]), (250, bases[1])):
        found = feed(Magnet(2000), field(cars, 16, rate=rate, base=base))
        assert len(found) == 4, (rate, base, len(found))
        for car, passage in zip(cars, found):  # noqa: B905 - not in MicroPython
            assert abs(passage.t_ms - 1000 * car[0]) < 300
            assert (passage.direction, passage.speed_mms, passage.kind) == (1, 0, UNKNOWN)


def test_the_neighbour_lane_is_not_counted():
    cars = [(4 + 4 * i, 12, 2.0 if i % 2 else 5.5, CAR_AM2) for i in range(6)]
    assert len(feed(Magnet(2000, 3500), field(cars, 28, rate=50))) == 3
    assert (
        len(feed(Magnet(2000, 0), field(cars, 28, rate=50))) > 3
    )  # a lane that is not known to be there


def test_warmth_is_followed_and_a_parked_car_comes_and_goes():
    cars = [(t, 12, 2.0, CAR_AM2) for t in (5, 60, 95)]
    detector = Magnet(2000, 0, 1, 150, 15000)
    found = []
    for t, x, y, z in field(cars, 103, rate=40):
        warm = t // 250  # 4 nT a second
        parked = 2500 if 35000 <= t < 80000 else 0
        passage = detector.feed(t, x + warm, y - warm, z + parked)
        if passage is not None:
            found.append(passage.t_ms)
    # The parked one counts once, when it came; what passes it is seen, too.
    assert len(found) == 4, found
    assert [(ms + 500) // 1000 for ms in (found[0], found[2], found[3])] == [5, 60, 95]


def test_two_magnetometers_tell_speed_direction_and_class():
    for speed in (3.0, 14.0, 40.0):
        for sign in (1, -1):
            # The way of a vehicle is in the sign of its speed.
            found = feed(
                MagnetPair(2000, 1500), field([(6, sign * speed, 1.5, 200)], 12, (0.0, 2.0))
            )
            assert len(found) == 1, speed
            passage = found[0]
            assert passage.direction == (1 if sign > 0 else 2)
            assert near(passage.speed_mms, speed * 1000, 3), (speed, passage.speed_mms)
            assert passage.kind == CAR
            assert passage.confidence > 80


def test_a_vehicle_that_only_one_of_two_sees_has_no_speed():
    samples = []
    for row in field([(5, 10, 1.5, CAR_AM2)], 14, (0.0,)):
        samples.append(row + (19000, 1000, -45000))  # noqa: RUF005 - not in MicroPython
    found = feed(MagnetPair(2000, 1500), samples)
    assert [(each.speed_mms, each.direction) for each in found] == [(0, 0)]
    assert found[0].confidence < 50


# -- a beam across -------------------------------------------------------------------------------


def test_a_beam_across_counts_with_and_without_a_far_side():
    times = [(6 + 2 * i, 6.3 + 2 * i) for i in range(8)]
    for far in (VOID, (9000, 800), (3000, 2000)):
        for rate in (10, 100) if far == VOID else (50,):
            found = feed(Across(), cuts(times, 24, far, rate=rate))
            assert len(found) == 8, (far, rate)
            assert abs(found[0].t_ms - 6150) < 150


def test_readings_that_are_none_are_none():
    chance = Chance(7)
    found = []
    detector = Across(40000, (4750,))
    for t, mm, strength in cuts([(6, 6.5), (9, 9.5)], 14, (9000, 800)):
        # Half of them are weak, overflown or missing.
        lot = chance.below(6)
        if lot == 0:
            mm, strength = 300, 99
        elif lot == 1:
            mm, strength = 700, 65535
        elif lot == 2:
            mm, strength = 0, 500
        passage = detector.feed(t, mm, strength)
        if passage is not None:
            found.append(passage)
    assert len(found) == 2


def test_a_drop_is_no_vehicle_and_a_gap_in_one_does_not_make_two():
    assert len(feed(Across(40000, (4750,)), cuts([(6, 6.01), (8, 8.01)], 12))) == 0
    assert len(feed(Across(40000, (4750,)), cuts([(6, 6.5), (6.6, 7.4)], 12))) == 1


def test_two_lanes_are_two_directions_also_behind_each_other():
    times = [(5, 6.2, 6000), (5.4, 5.8, 2000), (9, 9.4, 2000), (12, 12.4, 5600)]
    found = feed(Across(40000, (4750, 8250), (1, 2)), cuts(times, 16, (12000, 900)))
    assert sorted([each.direction for each in found]) == [1, 1, 2, 2]


def test_what_is_left_out_of_a_recording_is_not_bridged():
    samples = []
    for sample in cuts([(2, 2.3), (3, 3.3), (9, 9.3)], 12):
        if sample[1] < 40000:
            samples.append(sample)
    samples.append((20000, 0, 0))
    assert len(feed(Across(), samples)) == 3


def test_a_standing_car_becomes_the_far_side():
    found = feed(
        Across(40000, (), (1,), False, 10000), cuts([(5, 40), (50, 50.4)], 60, (9000, 900))
    )
    assert len(found) == 2
    assert found[1].t_ms // 1000 == 50


def test_a_beam_from_above_tells_heights():
    times = [(6, 6.5, 4300), (9, 9.5, 2200), (12, 12.4, 3900)]
    found = feed(Across(8000, (), (1,), True), cuts(times, 16, (5800, 900)))
    assert [each.kind for each in found] == [CAR, HEAVY, CAR]


def test_two_beams_tell_speed_and_length():
    for start_1, start_2, lasts, way in ((6, 6.2, 0.45, 1), (6.2, 6, 1.2, 2), (6, 6.2, 0.18, 1)):
        first = cuts([(start_1, start_1 + lasts)], 12)
        second = cuts([(start_2, start_2 + lasts)], 12, seed=2)
        samples = [a + b[1:] for a, b in zip(first, second)]  # noqa: B905
        found = feed(AcrossPair(2000), samples)
        assert len(found) == 1
        assert near(found[0].speed_mms, 10000, 6)
        assert found[0].direction == way
        assert near(found[0].length_mm, lasts * 10000, 10)
        assert found[0].kind == (BIKE if lasts < 0.2 else CAR if lasts < 1 else HEAVY)


# -- a lidar along the lane ----------------------------------------------------------------------


def test_along_tells_speed_and_direction_at_any_rate():
    for rate in (20, 100, 250):
        for speed in (4000, 25000):
            lasts = 8000 / speed
            for way in (1, 2):
                first, change = (22000, -speed) if way == 1 else (13000, speed)
                found = feed(Along(), runs([(3, 3 + lasts, first, change, 0.4)], 8, rate=rate))
                assert len(found) == 1, (rate, speed, way, len(found))
                assert found[0].direction == way
                assert near(found[0].speed_mms, speed, 5), (rate, speed, found[0].speed_mms)


def test_the_angle_makes_the_speed_smaller():
    flat = feed(Along(0), runs([(3, 3.6, 20000, -12000, 0.3)], 8))[0].speed_mms
    turned = feed(Along(20), runs([(3, 3.6, 20000, -12000, 0.3)], 8))[0].speed_mms
    assert near(turned, flat * 0.9397, 1)


def test_vehicles_that_follow_and_that_meet_are_two():
    follow = [(3, 3.6, 22000, -12000, 0.3), (5, 5.6, 22000, -12000, 0.3)]
    assert [each.direction for each in feed(Along(), runs(follow, 12))] == [1, 1]
    found = []
    detector = Along()
    for number in range(1200):
        t = number / 100
        mm, strength = VOID
        # The far one goes away behind the near one, which hides it for a while.
        if 3 <= t < 5:
            mm, strength = int(14000 + 9000 * (t - 3)), 900
        if 3.5 <= t < 4:
            mm, strength = int(12000 - 10000 * (t - 3.5)), 2500
        passage = detector.feed(number * 10, mm, strength)
        if passage is not None:
            found.append(passage)
    assert sorted([each.direction for each in found]) == [1, 2]
    for passage in found:
        assert near(passage.speed_mms, 10000 if passage.direction == 1 else 9000, 6)


def test_a_wall_and_a_parked_car_are_background():
    assert feed(Along(), runs([], 30, (5850, 480))) == []
    found = feed(Along(), runs([(12, 12.5, 5200, -9000, 0)], 20, (5850, 480)))
    assert [each.direction for each in found] == [1]


# -- radar ---------------------------------------------------------------------------------------


def test_radar_tells_speed_and_direction_and_needs_two_hits():
    rows = [(2, 4, 13900, 500), (6, 8, -8300, 300), (10, 10.1, 15000, 400)]
    found = feed(Radar(), reports(rows, 20))
    assert [(each.direction, each.speed_mms) for each in found] == [(1, 13900), (2, 8300)]


def test_radar_merges_what_was_hidden_and_parts_what_follows():
    hidden = [(2, 3, 14000, 500), (3.8, 5, 14000, 600)]
    assert len(feed(Radar(), reports(hidden, 14))) == 1
    follow = [(2, 3, 14000, 300), (3, 3.5, 13900, 900), (3.5, 4.2, 13800, 60), (4.2, 5, 14000, 900)]
    assert len(feed(Radar(), reports(follow, 14))) == 2
    meet = [(2, 5, 14000, 500), (2.5, 5, -12000, 500)]
    assert sorted([each.direction for each in feed(Radar(), reports(meet, 14))]) == [1, 2]


def test_radar_beside_the_road_is_corrected():
    assert feed(Radar(940), reports([(2, 4, 9400, 500)], 12))[0].speed_mms == 10000


# -- all -----------------------------------------------------------------------------------------


def test_classes_by_length():
    rows = ((0, UNKNOWN), (-5, UNKNOWN), (1800, BIKE), (4500, CAR), (6800, CAR), (12000, HEAVY))
    for length, kind in rows:
        assert kind_of_length(length) == kind


def test_every_sensor_has_a_detector_for_its_mounting():
    given = {"lane": 3000, "lanes": 2, "angle": 15}
    for sensor in SENSORS:
        for mount in ("across", "along"):
            assert hasattr(make(sensor, mount, given), "feed")
    assert isinstance(make("tf02pro", "along", {}), Along)
    assert isinstance(make("tf02pro", "across", {"spacing": 2000}), AcrossPair)
    assert isinstance(make("mmc5983", "", {"spacing": 2000}), MagnetPair)
    assert isinstance(make("ops243", "", {}), Radar)

"""The detectors on ten minutes of the virtual road, and the road itself."""

import itertools
import math

import pytest
import traffic_road as road
from citynode.virtual.world import road_sensors
from citynode.virtual.world.chance import Chance
from citynode.virtual.world.road import Parked, Road
from citynode.virtual.world.road_sensors import Site
from node.traffic.magnet import MagnetPair

SECONDS = 600


@pytest.mark.parametrize(
    ("run", "count", "speed"),
    [
        (road.magnet_two(1.75, 40, 2.0), 0.01, 0.03),
        (road.across(3.0, 2, 12.0), 0.03, None),
        (road.across_two(3.0, 2.0), 0.01, 0.05),
        (road.along(3.0, 8), 0.01, 0.05),
        (road.along(3.0, 12, 2), 0.03, 0.05),
        (road.radar(3.0, 15), 0.01, 0.03),
    ],
    ids=["two magnetometers", "two lanes", "two beams", "along", "along, two lanes", "radar"],
)  # fmt: skip
def test_mixed_flow(run, count, speed):
    score = run(7, SECONDS)
    assert score.vehicles > 50
    # One vehicle more or less is no per cent of so few.
    assert abs(score.counted - score.vehicles) <= max(count * score.vehicles, 1)
    assert score.wrong_way <= 1
    if speed is not None:
        assert score.speed_mean <= speed
        assert len(score.errors) >= 0.94 * score.vehicles


def samples(seed, sensor, **site):
    made = Site(road.make_road("", 5, 60), Chance(seed), duration_s=20, **site)
    return list(itertools.islice(sensor(made), 2000))


@pytest.mark.parametrize(
    "sensor",
    [
        lambda site: road_sensors.magnetometers(site, (0.0, 1.0)),
        road_sensors.across_lidar,
        road_sensors.along_lidar,
        road_sensors.ultrasonic,
        road_sensors.radar,
    ],
    ids=["field", "across", "along", "ultrasonic", "radar"],
)
def test_a_seed_makes_a_road_and_its_noise(sensor):
    first = samples(1, sensor)
    assert samples(1, sensor) == first
    assert samples(2, sensor) != first
    times = [each[0] for each in first]
    assert times == sorted(times)


def test_traffic_is_as_ordered():
    made = Road.made(Chance(3), per_day=(6000, 3000), directions=(1, -1))
    for lane, wanted in ((0, 6000), (1, 3000)):
        vehicles = road.of_lane(made.vehicles, lane)
        assert 0.8 * wanted < len(vehicles) < 1.1 * wanted
        assert {each.direction for each in vehicles} == {1 if lane == 0 else -1}
        for last, each in itertools.pairwise(vehicles):
            for place in (-50, 0, 50):
                # From tail to front, anywhere in view.
                gone = last.t_s + (place + last.length_m / 2) / last.speed_ms
                come = each.t_s + (place - each.length_m / 2) / each.speed_ms
                assert come - gone > 0.3
    shares = [sum(each.kind == kind for each in made.vehicles) for kind in road.KINDS]
    assert shares[1] > 5 * shares[2] > 5 * 0.5 * shares[0] > 0


def test_the_dipole_is_that_of_physics():
    # On the axis twice the field of the side, both with 1/r³: 200 A·m² at 2 m are 5 µT.
    x, y, z = road_sensors.dipole_nt((200.0, 0.0, 0.0), 2.0, 0.0, 0.0)
    assert (x, y, z) == (pytest.approx(5000), 0, 0)
    assert road_sensors.dipole_nt((200.0, 0.0, 0.0), 0.0, 2.0, 0.0)[0] == pytest.approx(-2500)
    far = road_sensors.dipole_nt((200.0, 0.0, 0.0), 4.0, 0.0, 0.0)
    assert math.hypot(*far) == pytest.approx(5000 / 8)


def test_a_parked_car_does_not_blind_the_magnetometers():
    made = road.make_road("", 9, 300, lane_m=2.0, per_day=9000)
    made.parked.append(Parked(60.0, 260.0, 1.0, 1.5, (40.0, 20.0, -80.0)))
    detector = MagnetPair(2000, 2000, 0, 150, 20000)
    site = Site(made, Chance(9), duration_s=300)
    found = road.collect(detector, road_sensors.magnetometers(site, (0.0, 2.0)))
    behind = [each for each in made.vehicles if 95 < each.t_s < 250]
    seen = [each for each in found if 95000 < each.t_ms < 250000]
    score = road.judge(behind, seen, ways={1: 1}, ignore=("bike",))
    assert score.vehicles > 10
    assert score.missed <= 1
    assert score.false <= 1

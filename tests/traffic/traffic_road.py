"""Detectors on the virtual road: what they tell against what has driven there."""

import math
from dataclasses import dataclass, field

from citynode.virtual.world import road_sensors
from citynode.virtual.world.chance import Chance
from citynode.virtual.world.road import BIKE, CAR, HEAVY, LANE_M, Road
from citynode.virtual.world.road_sensors import Site
from node.traffic.across import Across, AcrossPair
from node.traffic.along import Along
from node.traffic.magnet import Magnet, MagnetPair
from node.traffic.radar import Radar

KINDS = (BIKE, CAR, HEAVY)
NEAR_S = 0.8  # of the vehicle's own time a passage has to be


@dataclass
class Score:
    """What a detector made of a road."""

    vehicles: int = 0
    counted: int = 0
    missed: int = 0
    false: int = 0
    wrong_way: int = 0
    with_way: int = 0
    errors: list = field(default_factory=list)  # of the speed, relative, signed
    classes: dict = field(default_factory=dict)  # (true, told) to how many

    @property
    def count_error(self):
        return (self.counted - self.vehicles) / self.vehicles

    @property
    def wrong_share(self):
        return self.wrong_way / max(self.with_way, 1)

    @property
    def speed_mean(self):
        return sum(map(abs, self.errors)) / max(len(self.errors), 1)

    @property
    def speed_p95(self):
        ranked = sorted(map(abs, self.errors))
        return ranked[int(len(ranked) * 0.95)] if ranked else float("nan")

    @property
    def class_right(self):
        told = {key: n for key, n in self.classes.items() if key[1] != "-"}
        return sum(n for (true, said), n in told.items() if true == said) / max(
            sum(told.values()), 1
        )


def judge(vehicles, passages, *, ways, ignore=(), at_s=lambda vehicle: vehicle.t_s):
    """Match passages to vehicles in time. `ways`: direction of the road to that of the detector.

    `ignore`: classes that the sensor is not asked for (they neither count nor are false).
    """
    score = Score()
    rows = sorted(((at_s(each), each) for each in vehicles), key=lambda row: row[0])
    taken = [False] * len(rows)
    begin = 0
    for passage in sorted(passages, key=lambda each: each.t_ms):
        t_s = passage.t_ms / 1000
        room = NEAR_S + passage.occupied_ms / 2000
        while begin < len(rows) and rows[begin][0] < t_s - 60:
            begin += 1
        best, least = None, 1e9
        for i in range(begin, len(rows)):
            if rows[i][0] > t_s + room:
                break
            off = abs(rows[i][0] - t_s)
            if taken[i] or off > room:
                continue
            if passage.direction and ways[rows[i][1].direction] != passage.direction:
                off += 0.5 * room
            if off < least:
                best, least = i, off
        if best is None:
            score.false += 1
            score.counted += 1
            continue
        taken[best] = True
        vehicle = rows[best][1]
        if vehicle.kind in ignore:
            continue
        score.counted += 1
        if passage.direction:
            score.with_way += 1
            score.wrong_way += passage.direction != ways[vehicle.direction]
        if passage.speed_mms:
            score.errors.append(passage.speed_mms / 1000 / vehicle.speed_ms - 1)
        told = KINDS[passage.kind] if passage.kind < 3 else "-"
        key = (vehicle.kind, told)
        score.classes[key] = score.classes.get(key, 0) + 1
    for done, (_, vehicle) in zip(taken, rows, strict=True):
        if vehicle.kind not in ignore:
            score.vehicles += 1
            score.missed += not done
    return score


def collect(detector, samples):
    """Feed all samples; return the passages."""
    feed = detector.feed
    found = []
    for sample in samples:
        passage = feed(*sample)
        if passage is not None:
            found.append(passage)
    return found


def of_lane(vehicles, lane):
    return [each for each in vehicles if each.lane == lane]


def make_road(name, seed, seconds, *, lanes=1, lane_m=3.0, per_day=6000, ways=None, start_s=None):
    if start_s is None:
        start_s = 0 if seconds >= 86400 else 7 * 3600
    ways = ways or ((1,) if lanes == 1 else (1, -1))
    return Road.made(
        Chance(seed),
        duration_s=seconds,
        start_s=start_s,
        per_day=(per_day,) * lanes,
        directions=ways,
        lane_m=lane_m,
    )


# -- the settings of the table: name, and what makes (score) of seed and seconds -------------------


def magnet_one(lane_m, noise_nt):
    def run(seed, seconds):
        road = make_road("", seed, seconds, lanes=2, lane_m=lane_m)
        site = Site(road, Chance(seed), duration_s=seconds)
        detector = Magnet(int(lane_m * 1000), int(LANE_M * 1000))
        samples = road_sensors.magnetometers(site, (0.0,), noise_nt=noise_nt)
        found = collect(detector, samples)
        return judge(of_lane(road.vehicles, 0), found, ways={1: 1, -1: 2}, ignore=(BIKE,))

    return run


def magnet_two(lane_m, noise_nt, spacing_m, lanes=1):
    def run(seed, seconds):
        road = make_road("", seed, seconds, lanes=lanes, lane_m=lane_m)
        site = Site(road, Chance(seed), duration_s=seconds)
        neighbour = int(LANE_M * 1000) if lanes == 2 else 0
        detector = MagnetPair(int(spacing_m * 1000), int(lane_m * 1000), neighbour)
        samples = road_sensors.magnetometers(site, (0.0, spacing_m), noise_nt=noise_nt)
        found = collect(detector, samples)
        return judge(of_lane(road.vehicles, 0), found, ways={1: 1, -1: 2}, ignore=(BIKE,))

    return run


def across(lane_m, lanes=1, far_m=0.0):
    def run(seed, seconds):
        road = make_road("", seed, seconds, lanes=lanes, lane_m=lane_m)
        road.rain = [(0.4 * seconds, 0.45 * seconds)]
        site = Site(road, Chance(seed), duration_s=seconds)
        edges = tuple(int((lane_m + LANE_M * (i + 0.5)) * 1000) for i in range(lanes))
        detector = Across(40000, edges, (1, 2)[:lanes])
        found = collect(detector, road_sensors.across_lidar(site, far_m=far_m))
        return judge(road.vehicles, found, ways={1: 1, -1: 2})

    return run


def across_two(lane_m, spacing_m):
    def run(seed, seconds):
        road = make_road("", seed, seconds, lane_m=lane_m)
        sites = [Site(road, Chance(seed), jitter_ms=0.0, duration_s=seconds) for _ in "12"]
        first = road_sensors.across_lidar(sites[0])
        second = road_sensors.across_lidar(sites[1], offset_m=spacing_m)
        detector = AcrossPair(int(spacing_m * 1000), 40000, int((lane_m + LANE_M / 2) * 1000))
        samples = ((t, d, s, d2, s2) for (t, d, s), (_, d2, s2) in zip(first, second, strict=True))
        return judge(road.vehicles, collect(detector, samples), ways={1: 1, -1: 2})

    return run


def ultrasonic(lane_m):
    def run(seed, seconds):
        road = make_road("", seed, seconds, lane_m=lane_m)
        site = Site(road, Chance(seed), rate_hz=10, jitter_ms=5, duration_s=seconds)
        detector = Across(4500, (int((lane_m + LANE_M / 2) * 1000),))
        found = collect(detector, road_sensors.ultrasonic(site))
        return judge(road.vehicles, found, ways={1: 1, -1: 2})

    return run


def along(lane_m, angle_deg, lanes=1, way=-1):
    def run(seed, seconds):
        ways = (way,) if lanes == 1 else (way, -way)
        road = make_road("", seed, seconds, lanes=lanes, lane_m=lane_m, ways=ways)
        site = Site(road, Chance(seed), duration_s=seconds)
        detector = Along(angle_deg)
        found = collect(detector, road_sensors.along_lidar(site, angle_deg=angle_deg))
        slope = math.tan(math.radians(angle_deg))

        def seen(vehicle):
            # When its middle is where the beam crosses the lane.
            return vehicle.t_s + vehicle.direction * vehicle.y_m / slope / vehicle.speed_ms

        return judge(road.vehicles, found, ways={1: 2, -1: 1}, at_s=seen)

    return run


def radar(lane_m, yaw_deg, lanes=1, way=-1):
    def run(seed, seconds):
        ways = (way,) if lanes == 1 else (way, -way)
        road = make_road("", seed, seconds, lanes=lanes, lane_m=lane_m, ways=ways)
        site = Site(road, Chance(seed), rate_hz=20, jitter_ms=5, duration_s=seconds)
        detector = Radar(int(1000 * math.cos(math.radians(max(yaw_deg - 10, 0)))), 50)
        slope = math.tan(math.radians(max(yaw_deg, 5)))
        found = collect(detector, road_sensors.radar(site, yaw_deg=yaw_deg))

        def seen(vehicle):
            return vehicle.t_s + vehicle.direction * vehicle.y_m / slope / vehicle.speed_ms

        return judge(road.vehicles, found, ways={1: 2, -1: 1}, at_s=seen)

    return run

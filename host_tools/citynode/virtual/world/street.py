"""A road that goes on day after day, and what a board's traffic sensors see of it.

What is seen is a function of the engine's time (ns), as the models of chips ask for it: times may
go back by a sample, not more. Of the vehicles two days are kept.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from citynode.virtual.world import road_sensors
from citynode.virtual.world.chance import Chance
from citynode.virtual.world.clock import NS
from citynode.virtual.world.road import DAY_S, Parked, Road, Vehicle, moment
from citynode.virtual.world.road_sensors import Near, Triple

_VOID_MM = 40000  # what is farther than any reach
_NOON_S = 43200.0
_LOOP_M = 2.0  # of a loop, along the lane


class Street:
    """The road before one board; `vehicles(…)` is the truth about it.

    `start_s`: time of day at the engine's time 0; `per_day`: vehicles a day in each lane;
    `lanes`: directions of the lanes, the nearest first, +1 for those that pass the first sensor
    first and drive away from one that looks along the road.
    """

    def __init__(
        self,
        chance: Chance,
        *,
        start_s: float,
        lane_m: float,
        lanes: Sequence[int],
        per_day: float = 6000.0,
    ) -> None:
        self._chance = chance
        self._start_s = start_s
        self._lane_m = lane_m
        self._lanes = tuple(lanes)
        self._per_day = per_day
        self._days: dict[int, Road] = {}
        self.sensors: list[object] = []  # the models that look at it

    def day(self, number: int) -> Road:
        """Return what drives in a day (86,400 s) from the engine's start on; times are from there.

        Those before the last one are forgotten.
        """
        road = self._days.get(number)
        if road is None:
            road = self._days[number] = self._made(number)
            for old in [each for each in self._days if each < number - 1]:
                del self._days[old]
        return road

    def vehicles(self, from_s: float, to_s: float, lane: int | None = None) -> list[Vehicle]:
        """Return the vehicles that were at x = 0 between two times since the start."""
        days = range(int(from_s // DAY_S), int(to_s // DAY_S) + 1)
        return [
            each
            for number in days
            for each in self.day(number).vehicles
            if from_s <= each.t_s < to_s and lane in (None, each.lane)
        ]

    def _made(self, number: int) -> Road:
        chance = Chance(self._chance.rng(f"day {number}").getrandbits(64))
        road = Road.made(
            chance,
            start_s=self._start_s,
            per_day=(self._per_day,) * len(self._lanes),
            directions=self._lanes,
            lane_m=self._lane_m,
        )
        begin_s = number * DAY_S
        road.vehicles = [replace(each, t_s=each.t_s + begin_s) for each in road.vehicles]
        rng = chance.rng("rain and parked cars")
        for _ in range(rng.randint(0, 3)):
            at_s = begin_s + rng.uniform(0, DAY_S)
            road.rain.append((at_s, at_s + rng.uniform(600, 3600)))
        # On the strip behind the sensors, during the day.
        for _ in range(rng.randint(0, 2)):
            at_s = begin_s + rng.uniform(0, _NOON_S)
            size = rng.uniform(110, 260)
            place = rng.uniform(-4, 4), rng.uniform(-2.6, -2.0)
            road.parked.append(
                Parked(at_s, at_s + rng.uniform(1800, _NOON_S), *place, moment(rng, size))
            )
        return road


class _Sight:
    """What one sensor sees: it follows the street from day to day."""

    reach_m = 0.0

    def __init__(self, street: Street, rng: random.Random) -> None:
        self._street = street
        self._rng = rng
        self._number = 0
        self._road = street.day(0)
        self._near = Near(self._road.vehicles, self.reach_m)

    def _at(self, ns: int) -> tuple[float, road_sensors.Vehicles]:
        """Return the time since the start (s), and who is near."""
        t_s = ns / NS
        if t_s >= (self._number + 1) * DAY_S:
            self._number = int(t_s // DAY_S)
            self._road = self._street.day(self._number)
            self._near.load(self._road.vehicles)
        return t_s, self._near.at(t_s)


class FieldSight(_Sight):
    """A magnetometer on the ground at x = `place_m`, with noise of `noise_nt` on each axis."""

    reach_m = road_sensors.FIELD_M

    def __init__(
        self,
        street: Street,
        rng: random.Random,
        place_m: float = 0.0,
        noise_nt: float = 40.0,
        drift_nt: float = 1500.0,
    ) -> None:
        super().__init__(street, rng)
        self._place_m = place_m
        self._noise_nt, self._drift_nt = noise_nt, drift_nt
        self._offset = road_sensors.earth_nt(rng)

    def __call__(self, ns: int) -> Triple:
        """Return the field (x, y, z in nT)."""
        t_s, vehicles = self._at(ns)
        gauss, noise = self._rng.gauss, self._noise_nt
        iron = road_sensors.field_nt(vehicles, self._road.parked, t_s, self._place_m)
        warm = road_sensors.warmth_nt(t_s, self._drift_nt)
        x, y, z = (
            a + b + c + gauss(0, noise) for a, b, c in zip(self._offset, warm, iron, strict=True)
        )
        return x, y, z


class AcrossSight(_Sight):
    """A lidar across the road at x = `place_m`; `far_m`: where its beam ends, 0: nowhere."""

    reach_m = road_sensors.ACROSS_M + 10

    def __init__(
        self, street: Street, rng: random.Random, place_m: float = 0.0, far_m: float = 0.0
    ) -> None:
        super().__init__(street, rng)
        self._place_m, self._far_m = place_m, far_m

    def __call__(self, ns: int) -> tuple[float, int]:
        """Return distance (mm, 0 where nothing is seen) and strength."""
        t_s, vehicles = self._at(ns)
        mm, strength = road_sensors.across_mm(
            vehicles, self._road, self._rng, t_s, self._far_m, self._place_m
        )
        return (mm if mm < _VOID_MM else 0), strength


class OverheadSight(_Sight):
    """A lidar or ultrasonic `height_m` above the first lane."""

    reach_m = road_sensors.ACROSS_M

    def __init__(self, street: Street, rng: random.Random, height_m: float) -> None:
        super().__init__(street, rng)
        self._height_m = height_m

    def __call__(self, ns: int) -> tuple[float, int]:
        """Return distance (mm) and strength."""
        t_s, vehicles = self._at(ns)
        top = max(
            (
                each.height_m
                for _, each in vehicles
                if not each.lane and abs(each.middle(t_s)) * 2 < each.length_m
            ),
            default=0.0,
        )
        return max((self._height_m - top) * 1000 + self._rng.gauss(0, 10), 0.0), 2000


class AlongSight(_Sight):
    """A lidar along the road, towards +x, at an angle to it."""

    reach_m = road_sensors.ALONG_M

    def __init__(self, street: Street, rng: random.Random, angle_deg: float) -> None:
        super().__init__(street, rng)
        self._rays = road_sensors.rays_of(angle_deg)

    def __call__(self, ns: int) -> tuple[float, int]:
        """Return distance (mm, 0 where nothing is seen) and strength."""
        t_s, vehicles = self._at(ns)
        mm, strength = road_sensors.along_mm(vehicles, self._rays, self._rng, t_s)
        return (mm if mm < _VOID_MM else 0), strength


class SoundSight(_Sight):
    """An ultrasonic sensor across the road."""

    reach_m = road_sensors.SOUND_M

    def __init__(self, street: Street, rng: random.Random, far_m: float = 0.0) -> None:
        super().__init__(street, rng)
        self._far_m = far_m

    def __call__(self, ns: int) -> tuple[float, int]:
        """Return distance (mm, 0 where nothing is seen) and strength."""
        t_s, vehicles = self._at(ns)
        return road_sensors.sound_mm(vehicles, self._rng, t_s, self._far_m), 2000


class PresenceSight(SoundSight):
    """A presence radar across the road: the nearest thing that moves, up to 6 m."""

    def __call__(  # type: ignore[override]
        self, ns: int
    ) -> tuple[tuple[float, int] | None, tuple[float, int] | None]:
        """Return moving and still target: distance (mm) and energy (%)."""
        t_s, vehicles = self._at(ns)
        mm = road_sensors.sound_mm(vehicles, self._rng, t_s, 0.0, 6.0)
        return ((mm, 80) if mm else None), None


class TargetsSight(_Sight):
    """A Doppler radar that looks towards +x, turned to the road by `yaw_deg`."""

    reach_m = road_sensors.RADAR_M + 10

    def __init__(self, street: Street, rng: random.Random, yaw_deg: float) -> None:
        super().__init__(street, rng)
        self._yaw_deg = yaw_deg

    def __call__(self, ns: int) -> list[tuple[float, int]]:
        """Return the radial speed (mm/s) and magnitude of each target."""
        t_s, vehicles = self._at(ns)
        seen = road_sensors.targets_mms(vehicles, self._rng, t_s, self._yaw_deg)
        return [(speed, int(echo)) for speed, echo in seen]


def drive_over(
    street: Street,
    call_at: Callable[[int, Callable[[], object]], object],
    passes: Callable[[int, int], object],
) -> None:
    """Have `passes(at_ns, for_ns)` called for each vehicle of the first lane, a little before."""

    def later(number: int, place: int) -> None:
        vehicles = [each for each in street.day(number).vehicles if not each.lane]
        if place == len(vehicles):
            call_at(round((number + 1) * DAY_S * NS), lambda: later(number + 1, 0))
            return
        each = vehicles[place]
        stay_s = (each.length_m + _LOOP_M) / each.speed_ms
        come_ns = round((each.t_s - stay_s / 2) * NS)

        def pass_by() -> None:
            passes(come_ns, round(stay_s * NS))
            later(number, place + 1)

        call_at(come_ns, pass_by)

    later(0, 0)

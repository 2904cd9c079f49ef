"""A road and what drives on it, the same for the same seed, with the ground truth beside it.

x runs along the road and y across it, away from the sensors, which stand at the origin. A vehicle
in direction +1 drives towards larger x. Vehicles arrive one by one (Poisson) and, behind traffic
lights, in platoons; within 60 m nobody gets nearer than 0.7 s to the one ahead. In platoons the
time from tail to front is 1 to 2.7 s (Highway Capacity Manual: 1.8 to 2 s from front to front at
saturation). Lengths, heights and widths end at what StVZO § 32 allows.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from citynode.virtual.world.chance import Chance

LANE_M = 3.5
DAY_S = 86400.0
KMH = 1 / 3.6

BIKE, CAR, HEAVY = "bike", "car", "heavy"

# Share of the hours in a day's traffic of an urban main road, per mille.
_HOURS = (
    8, 5, 4, 4, 7, 18, 42, 68, 66, 52, 48, 50, 53, 54, 58, 66, 74, 76, 68, 54, 42, 34, 27, 22,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """A sort of vehicle: class, share, length, height and width (m), magnetic moment (A·m²).

    `dipoles`: where along the vehicle (0 front … 1 tail) how much of the moment is; `gap`: part of
    the length, from the front, where a beam at knee height passes through (behind a tractor).
    """

    kind: str
    share: float
    length: tuple[float, float]
    height: tuple[float, float]
    width: float
    moment: tuple[float, float]
    dipoles: tuple[tuple[float, float], ...]
    speed: float = 1.0
    gap: tuple[float, float] | None = None


# Moments are of the order that is estimated from roadside fields, 10² A·m² for a car, growing with
# the mass of iron (dipole model: Wahlström and Gustafsson, IEEE TSP 62(3), 2014). Engine and axles
# are where the iron is.
_FRONT_ENGINE = ((0.16, 0.5), (0.5, 0.2), (0.82, 0.3))
_VAN = ((0.14, 0.45), (0.5, 0.2), (0.8, 0.35))
_LORRY = ((0.1, 0.4), (0.35, 0.15), (0.6, 0.15), (0.8, 0.3))
_TRAILER = ((0.07, 0.35), (0.25, 0.15), (0.5, 0.1), (0.78, 0.25), (0.88, 0.15))
_BUS = ((0.2, 0.3), (0.5, 0.2), (0.85, 0.5))
SHAPES = (
    Shape(CAR, 0.74, (3.6, 4.9), (1.42, 1.75), 1.8, (110, 260), _FRONT_ENGINE),
    Shape(CAR, 0.09, (5.0, 6.2), (1.9, 2.7), 2.0, (220, 420), _VAN),
    Shape(HEAVY, 0.05, (7.8, 12.0), (3.0, 4.0), 2.5, (500, 1100), _LORRY, 0.94),
    Shape(HEAVY, 0.03, (14.5, 16.5), (3.6, 4.0), 2.5, (800, 1500), _TRAILER, 0.92, (0.16, 0.21)),
    Shape(HEAVY, 0.03, (11.9, 12.1), (3.0, 3.1), 2.5, (500, 900), _BUS, 0.9),
    Shape(BIKE, 0.04, (1.7, 1.9), (1.6, 1.8), 0.6, (0.5, 3), ((0.5, 1.0),), 0.4),
    Shape(BIKE, 0.02, (2.0, 2.3), (1.3, 1.6), 0.8, (10, 25), ((0.45, 1.0),), 1.05),
)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle, and with it the truth about its passage.

    `t_s`: when its middle is at x = 0; `y_m`: its middle across the road; `moment`: direction of
    its magnetisation times its size (A·m²); `reflects`: how well it does, 1 on average.
    """

    t_s: float
    lane: int
    direction: int
    kind: str
    shape: Shape
    length_m: float
    height_m: float
    speed_ms: float
    y_m: float
    moment: tuple[float, float, float]
    reflects: float

    def middle(self, t_s: float) -> float:
        """Return where its middle is at a time (m)."""
        return self.direction * self.speed_ms * (t_s - self.t_s)

    def along(self, share: float) -> float:
        """Return how far a point of it (0 front … 1 tail) is from its middle, towards +x (m)."""
        return self.direction * (0.5 - share) * self.length_m


@dataclass(frozen=True, slots=True)
class Parked:
    """A parked car: from when to when, and where its middle is."""

    start_s: float
    end_s: float
    x_m: float
    y_m: float
    moment: tuple[float, float, float]


@dataclass
class Road:
    """What drives on a road: `vehicles`, in the order of their times, is the ground truth."""

    vehicles: list[Vehicle]
    parked: list[Parked] = field(default_factory=list)
    rain: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def made(
        cls,
        chance: Chance,
        *,
        duration_s: float = DAY_S,
        start_s: float = 0.0,
        per_day: Sequence[float] = (6000.0,),
        directions: Sequence[int] = (1,),
        lane_m: float = 3.0,
        speed_ms: float = 50 * KMH,
        platoons: float = 0.4,
        kinds: Sequence[str] = (BIKE, CAR, HEAVY),
    ) -> "Road":
        """Make a road with a lane for each of `directions`; the first one's middle is at `lane_m`.

        `per_day`: vehicles a day in each lane; `start_s`: time of day that it starts at;
        `platoons`: share of the vehicles that come in platoons of three to eight.
        """
        vehicles: list[Vehicle] = []
        for lane, (flow, direction) in enumerate(zip(per_day, directions, strict=True)):
            rng = chance.rng(f"road lane {lane}")
            y_m = lane_m + lane * LANE_M
            vehicles += _drive(
                rng, lane, direction, y_m, flow, start_s, duration_s, speed_ms, platoons, kinds
            )
        vehicles.sort(key=lambda each: each.t_s)
        return cls(vehicles)

    def rains(self, t_s: float) -> bool:
        """Return whether it rains."""
        return any(start <= t_s < end for start, end in self.rain)


def moment(rng: random.Random, size: float) -> tuple[float, float, float]:
    """Draw a magnetisation (A·m²): most is induced, along the Earth's field, the rest is chance."""
    return (
        size * (0.35 + rng.gauss(0, 0.3)),
        size * rng.gauss(0, 0.3),
        size * (-0.85 + rng.gauss(0, 0.2)),
    )


def _drive(
    rng: random.Random,
    lane: int,
    direction: int,
    y_m: float,
    per_day: float,
    start_s: float,
    duration_s: float,
    speed_ms: float,
    platoons: float,
    kinds: Sequence[str],
) -> list[Vehicle]:
    """Let vehicles drive down one lane."""
    shapes = [shape for shape in SHAPES if shape.kind in kinds]
    shares = [shape.share for shape in shapes]
    per_platoon = 5.5
    # Events are platoons or single vehicles; this many vehicles come with one on average.
    chance_platoon = platoons / (per_platoon - platoons * (per_platoon - 1))
    per_event = 1 + chance_platoon * (per_platoon - 1)
    vehicles: list[Vehicle] = []
    last: Vehicle | None = None
    t_s = 0.0
    while True:
        hour = int((start_s + t_s) / 3600) % 24
        t_s += rng.expovariate(per_day * _HOURS[hour] / sum(_HOURS) / 3600 / per_event)
        size = rng.randint(3, 8) if rng.random() < chance_platoon else 1
        for _ in range(size):
            shape = rng.choices(shapes, shares)[0]
            vehicle = _vehicle(rng, shape, lane, direction, y_m, t_s, speed_ms)
            vehicle = vehicle if last is None else _behind(rng, last, vehicle)
            if vehicle.t_s > duration_s - 10:
                return vehicles
            if vehicle.t_s > 10:
                vehicles.append(vehicle)
            last = vehicle
            t_s = vehicle.t_s + 1.0


def _vehicle(
    rng: random.Random, shape: Shape, lane: int, direction: int, y: float, t_s: float, speed: float
) -> Vehicle:
    part = rng.random()
    low, high = shape.length
    size = shape.moment[0] + (shape.moment[1] - shape.moment[0]) * part
    return Vehicle(
        t_s,
        lane,
        direction,
        shape.kind,
        shape,
        low + (high - low) * part,
        rng.uniform(*shape.height),
        max(speed * shape.speed * (1 + rng.gauss(0, 0.12)), 2.5),
        y + rng.gauss(0, 0.2),
        moment(rng, size * rng.uniform(0.8, 1.2)),
        math.exp(rng.gauss(0, 0.5)),
    )


def _behind(rng: random.Random, last: Vehicle, vehicle: Vehicle) -> Vehicle:
    """Keep the distance, here and 60 m before and behind: nobody drives through another."""
    clear_m = (last.length_m + vehicle.length_m) / 2
    speed = vehicle.speed_ms
    t_s = max(vehicle.t_s, last.t_s + clear_m / last.speed_ms + 1.5 * rng.uniform(0.7, 1.8))
    if speed > last.speed_ms:
        there_s = last.t_s + (60 + clear_m) / last.speed_ms + 0.7
        speed = max(last.speed_ms, min(speed, 60 / max(there_s - t_s, 0.1)))
    else:
        t_s = max(t_s, last.t_s - 60 / last.speed_ms + (60 + clear_m) / speed + 0.7)
    return replace(vehicle, t_s=t_s, speed_ms=speed)

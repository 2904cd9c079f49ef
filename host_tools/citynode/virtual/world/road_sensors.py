"""Sensors beside a virtual road: what they measure of it, sample by sample.

* Field: dipoles (Biot-Savart's far field, 1/r³) on the Earth's field at Bochum (49 µT, 67° down);
  noise of the QMC5883L (2 mG) and the MMC5983MA (0.4 mG) from their datasheets; thermal drift.
* Lidar: a beam of three rays; noise by strength from the TF-Luna's manual; the strength falls with
  the distance squared and on surfaces that are grazed; TF02-Pro tells 45 m when it sees nothing.
* Ultrasonic: the nearest thing in a cone of 15°, 10 times a second (A02YYUW).
* Doppler radar: radial speed of what is in the beam of 20° (OPS243), magnitude with 1/r⁴.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from citynode.virtual.world.chance import Chance
from citynode.virtual.world.road import Parked, Road, Vehicle

_EARTH_NT = (19000.0, 1000.0, -45000.0)
_VOID_CM = 4500
_WEAKEST = 60  # what the TF02-Pro needs to tell a distance
_MOST = 60000
# How far from x = 0 a sensor sees anything (m).
FIELD_M, ACROSS_M, ALONG_M, SOUND_M, RADAR_M = 14.0, 2.0, 45.0, 4.0, 60.0

Vehicles = Sequence[tuple[float, Vehicle]]


@dataclass
class Site:
    """Where a sensor stands and how it samples: rate (Hz), jitter of the times (ms, sigma)."""

    road: Road
    chance: Chance
    rate_hz: float = 100.0
    jitter_ms: float = 1.0
    duration_s: float = 86400.0

    def times(self, name: str) -> tuple[Iterator[tuple[float, int]], random.Random]:
        """Return the sampling times, true (s) and as the node tells them (ms), and a chance."""
        rng = self.chance.rng(name)
        return self._times(rng), rng

    def _times(self, rng: random.Random) -> Iterator[tuple[float, int]]:
        period = 1 / self.rate_hz
        last = -1
        for number in range(int(self.duration_s * self.rate_hz)):
            t_s = number * period + rng.random() * self.jitter_ms / 500
            told = max(int(t_s * 1000), last)
            last = told
            yield t_s, told


class Near:
    """The vehicles that are within `reach_m` of x = 0; times must not go back."""

    def __init__(self, vehicles: Sequence[Vehicle], reach_m: float) -> None:
        self._reach_m = reach_m
        self._active: list[tuple[float, Vehicle]] = []
        self._until = math.inf
        self.load(vehicles)

    def load(self, vehicles: Sequence[Vehicle]) -> None:
        """Go on with other vehicles, all of which are still to come; those that are near stay."""
        reach_m = self._reach_m
        self._rows = sorted(
            (
                (
                    each.t_s - (reach_m + each.length_m / 2) / each.speed_ms,
                    each.t_s + (reach_m + each.length_m / 2) / each.speed_ms,
                    each,
                )
                for each in vehicles
            ),
            key=lambda row: row[0],
        )
        self._next = 0
        self._from = self._rows[0][0] if self._rows else math.inf

    def at(self, t_s: float) -> list[tuple[float, Vehicle]]:
        """Return (when it has gone, vehicle) of all that are near."""
        if t_s >= self._from:
            rows = self._rows
            while self._next < len(rows) and rows[self._next][0] <= t_s:
                self._active.append(rows[self._next][1:])
                self._next += 1
            self._from = rows[self._next][0] if self._next < len(rows) else math.inf
            self._until = min((end for end, _ in self._active), default=math.inf)
        if t_s > self._until:
            self._active = [row for row in self._active if row[0] >= t_s]
            self._until = min((end for end, _ in self._active), default=math.inf)
        return self._active


def dipole_nt(
    moment: tuple[float, float, float], x: float, y: float, z: float, share: float = 1.0
) -> tuple[float, float, float]:
    """Return the field (nT) of a moment (A·m²) at a place (m): µ0/4π·(3(m·r)r/r⁵ − m/r³)."""
    square = x * x + y * y + z * z
    r3 = 100.0 * share / (square * math.sqrt(square))  # µ0/4π is 100 nT·m/A
    dot = 3 * (moment[0] * x + moment[1] * y + moment[2] * z) / square
    return (
        r3 * (dot * x - moment[0]),
        r3 * (dot * y - moment[1]),
        r3 * (dot * z - moment[2]),
    )


Triple = tuple[float, float, float]


def field_nt(vehicles: Vehicles, parked: Sequence[Parked], t_s: float, place_m: float) -> Triple:
    """Return what the iron that is near adds to the Earth's field (nT) on the ground at y = 0."""
    bx = by = bz = 0.0
    for _, vehicle in vehicles:
        middle = vehicle.middle(t_s)
        for at, share in vehicle.shape.dipoles:
            dx, dy, dz = dipole_nt(
                vehicle.moment,
                place_m - middle - vehicle.along(at),
                -vehicle.y_m,
                -0.4,
                share,
            )
            bx += dx
            by += dy
            bz += dz
    for car in parked:
        if car.start_s <= t_s < car.end_s:
            dx, dy, dz = dipole_nt(car.moment, place_m - car.x_m, -car.y_m, -0.4)
            bx += dx
            by += dy
            bz += dz
    return bx, by, bz


def earth_nt(rng: random.Random) -> Triple:
    """Draw the field that a magnetometer sees without vehicles, with its own offset in it (nT)."""
    x, y, z = (value + rng.gauss(0, 3000) for value in _EARTH_NT)
    return x, y, z


def warmth_nt(t_s: float, drift_nt: float) -> Triple:
    """Return what the warmth adds at a time (nT): by the day, and by clouds."""
    warm = drift_nt * math.sin(t_s / 13751.0) + 0.1 * drift_nt * math.sin(t_s / 190.0)
    return warm, -warm * 0.7, warm * 0.4


def magnetometers(
    site: Site, places_m: Sequence[float], *, noise_nt: float = 40.0, drift_nt: float = 1500.0
) -> Iterator[tuple[int, ...]]:
    """Yield (ms, x, y, z of each sensor in nT) of magnetometers along the road at these x.

    They are at y = 0, on the ground; `drift_nt`: half of what the day's warmth does to an axis.
    """
    times, rng = site.times("magnetometers")
    near = Near(site.road.vehicles, FIELD_M)
    gauss = rng.gauss
    offsets = [earth_nt(rng) for _ in places_m]
    parked = site.road.parked
    for t_s, told in times:
        row = [told]
        warm = warmth_nt(t_s, drift_nt)
        vehicles = near.at(t_s)
        for place, offset in zip(places_m, offsets, strict=True):
            iron = field_nt(vehicles, parked, t_s, place)
            row += [
                int(a + b + c + gauss(0, noise_nt))
                for a, b, c in zip(offset, warm, iron, strict=True)
            ]
        yield tuple(row)


def _solid(vehicle: Vehicle, from_middle: float) -> bool:
    """Return whether a beam at knee height, across, hits the vehicle so far from its middle."""
    share = 0.5 - vehicle.direction * from_middle / vehicle.length_m
    if not 0 <= share <= 1:
        return False
    gap = vehicle.shape.gap
    return gap is None or not gap[0] <= share <= gap[1]


def _spread_mm(strength: float) -> float:
    """Return the noise of a lidar by strength (TF-Luna manual)."""
    if strength >= 2000:
        return 5.0
    if strength >= 1000:
        return 10.0
    return 20.0 if strength >= 400 else 30.0


def across_lidar(
    site: Site, *, far_m: float = 0.0, offset_m: float = 0.0, dropout: float = 0.002
) -> Iterator[tuple[int, int, int]]:
    """Yield (ms, mm, strength) of a lidar across the road at x = `offset_m`, 0.7 m above it.

    `far_m`: distance of a wall behind the road, 0 for none. In rain drops are seen now and then.
    """
    times, rng = site.times(f"across {offset_m}")
    near = Near(site.road.vehicles, ACROSS_M + abs(offset_m))
    for t_s, told in times:
        seen = across_mm(near.at(t_s), site.road, rng, t_s, far_m, offset_m, dropout)
        yield told, *seen


def across_mm(
    vehicles: Vehicles,
    road: Road,
    rng: random.Random,
    t_s: float,
    far_m: float = 0.0,
    offset_m: float = 0.0,
    dropout: float = 0.002,
) -> tuple[int, int]:
    """Return what a lidar across tells (mm, strength) of the vehicles that are near."""
    chance = rng.random
    best = far_m
    strength = min(3000 * (10 / far_m) ** 2, _MOST) if far_m else 0.0
    for _, vehicle in sorted(vehicles, key=lambda row: row[1].y_m):
        front = vehicle.y_m - vehicle.shape.width / 2
        spot = front * 0.026  # half of 3°
        middle = vehicle.middle(t_s) - offset_m
        hits = sum(_solid(vehicle, -middle + d) for d in (-spot, 0.0, spot))
        if hits:
            best = front
            strength = min(1500 * vehicle.reflects * (5 / front) ** 2 * hits / 3, _MOST)
            break
    drawn = chance()
    if drawn > 0.997 and road.rains(t_s):
        return int(300 + 2500 * chance()), int(80 + 120 * chance())
    if strength < _WEAKEST or drawn < dropout:
        return _VOID_CM * 10, int(20 + 30 * drawn)
    seen = strength * (1 + rng.gauss(0, 0.05))
    mm = best * 1000 + rng.gauss(0, _spread_mm(seen))
    return round(mm / 10) * 10, max(int(seen), 0)


def along_lidar(site: Site, *, angle_deg: float = 8.0) -> Iterator[tuple[int, int, int]]:
    """Yield (ms, mm, strength) of a lidar that looks along the road, towards +x, at an angle."""
    times, rng = site.times("along")
    near = Near(site.road.vehicles, ALONG_M)
    rays = rays_of(angle_deg)
    for t_s, told in times:
        yield told, *along_mm(near.at(t_s), rays, rng, t_s)


Rays = Sequence[tuple[float, float, float]]


def rays_of(angle_deg: float) -> Rays:
    """Return the rays of a beam at an angle: share, cosine and sine of each."""
    rays = []
    for share, off in ((0.25, -1.0), (0.5, 0.0), (0.25, 1.0)):
        angle = math.radians(angle_deg + off)
        rays.append((share, math.cos(angle), math.sin(angle)))
    return rays


def along_mm(vehicles: Vehicles, rays: Rays, rng: random.Random, t_s: float) -> tuple[int, int]:
    """Return what a lidar along the road tells (mm, strength) of the vehicles that are near."""
    seen = total = strongest = nearest = 0.0
    for share, cosine, sine in rays if vehicles else ():
        distance, strength = _ray(vehicles, t_s, cosine, sine)
        if distance and distance < 40:
            if nearest and abs(distance - nearest) > 1.5:
                # Two surfaces in one spot: the stronger one is told.
                if share * strength > strongest:
                    seen = total = 0.0
                else:
                    continue
            strongest = max(strongest, share * strength)
            nearest = distance
            seen += share * strength
            total += share * strength * distance
    if seen < _WEAKEST:
        return _VOID_CM * 10, int(seen)
    told_strength = min(seen * (1 + rng.gauss(0, 0.05)), _MOST)
    mm = total / seen * 1000 + rng.gauss(0, _spread_mm(told_strength))
    return round(mm / 10) * 10, int(told_strength)


def _ray(vehicles: Vehicles, t_s: float, cosine: float, sine: float) -> tuple[float, float]:
    """Return where a ray ends (m) and how strong the echo is; (0, 0) if nowhere."""
    best = strength = 0.0
    for _, vehicle in vehicles:
        half_l, half_w = vehicle.length_m / 2, vehicle.shape.width / 2
        middle = vehicle.middle(t_s)
        xa, ya = middle - half_l, vehicle.y_m - half_w
        low_x, high_x = xa / cosine, (middle + half_l) / cosine
        low_y, high_y = ya / sine, (vehicle.y_m + half_w) / sine
        low = max(low_x, low_y)
        if low > min(high_x, high_y) or low <= 0.3 or (best and low >= best):
            continue
        best = low
        if low_x > low_y:
            # The face: its corners are round, 0.3 m.
            side = min(low * sine - ya, vehicle.y_m + half_w - low * sine)
            best += max(0.3 - side, 0.0) ** 2 / 0.6 / cosine
            strength = 4000 * vehicle.reflects * (15 / low) ** 2
        else:
            strength = 4000 * vehicle.reflects * (15 / low) ** 2 * min(sine, 1) * 0.35
    return best, strength


def ultrasonic(
    site: Site, *, far_m: float = 0.0, reach_m: float = 4.5
) -> Iterator[tuple[int, int]]:
    """Yield (ms, mm) of an ultrasonic sensor across the road; 0 mm if there is no echo."""
    times, rng = site.times("ultrasonic")
    near = Near(site.road.vehicles, SOUND_M)
    for t_s, told in times:
        yield told, sound_mm(near.at(t_s), rng, t_s, far_m, reach_m)


def sound_mm(
    vehicles: Vehicles, rng: random.Random, t_s: float, far_m: float = 0.0, reach_m: float = 4.5
) -> int:
    """Return how far an ultrasonic sensor sees (mm), 0 if there is no echo."""
    best = far_m if far_m and far_m <= reach_m else math.inf
    for _, vehicle in vehicles:
        front = vehicle.y_m - vehicle.shape.width / 2
        beyond = max(abs(vehicle.middle(t_s)) - vehicle.length_m / 2, 0.0)
        if beyond <= front * 0.27:
            best = min(best, math.hypot(front, beyond))
    if best > reach_m or rng.random() < 0.01:
        return 0
    return int(best * 1000 + rng.gauss(0, 10))


def radar(
    site: Site, *, yaw_deg: float = 0.0, reach_m: float = RADAR_M
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Yield (ms, [(mm/s, magnitude)]) of a radar that looks towards +x, turned to the road by yaw.

    Of each direction it tells the strongest (as an OPS243 with one report for each); speeds of
    what comes nearer are positive, in steps of 0.06 m/s.
    """
    times, rng = site.times("radar")
    near = Near(site.road.vehicles, reach_m + 10)
    for t_s, told in times:
        seen = targets_mms(near.at(t_s), rng, t_s, yaw_deg, reach_m)
        yield told, [(round(v / 60) * 60, int(echo)) for v, echo in seen]


def targets_mms(
    vehicles: Vehicles,
    rng: random.Random,
    t_s: float,
    yaw_deg: float = 0.0,
    reach_m: float = RADAR_M,
) -> list[tuple[float, float]]:
    """Return the radial speed (mm/s) and magnitude of the strongest target of each direction."""
    yaw = math.radians(yaw_deg)
    found: dict[int, tuple[float, float]] = {}
    for _, vehicle in vehicles:
        # The end of the vehicle that faces the radar is what it sees.
        x = vehicle.middle(t_s) - vehicle.length_m / 2
        if x <= 0.5:
            continue
        angle = math.atan2(vehicle.y_m, x)
        r = math.hypot(x, vehicle.y_m)
        off = math.degrees(angle - yaw)
        if r > reach_m:
            continue
        gain = math.exp(-2.77 * (off / 20) ** 2) ** 2  # both ways, 20° at half power
        size = 0.3 if vehicle.kind == "bike" else vehicle.shape.width * vehicle.height_m
        echo = 2e8 * math.sqrt(size) * gain / r**2 / 100 * rng.uniform(0.6, 1.4)
        if echo < 2e8 / 60**2 / 100 * 0.4:
            continue
        radial = vehicle.speed_ms * math.cos(angle) * -vehicle.direction
        sign = 1 if radial > 0 else -1
        if sign not in found or echo > found[sign][1]:
            found[sign] = (1000 * (radial + rng.gauss(0, 0.04)), echo)
    return list(found.values())

"""Plain signals for the detectors; runs on CPython and on MicroPython."""

from node.traffic.across import Across, AcrossPair
from node.traffic.along import Along
from node.traffic.magnet import Magnet, MagnetPair
from node.traffic.passage import BIKE, CAR, HEAVY, UNKNOWN
from node.traffic.radar import Radar

VOID = (45000, 0)  # what a TF02-Pro tells when it sees nothing


class Chance:
    """Numerical Recipes' linear congruential generator: the same numbers everywhere."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        """Return 0 … n-1."""
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self.state >> 8) % n

    def noise(self, sigma):
        """Return about a normal number: the sum of four even ones."""
        total = 0
        for _ in range(4):
            total += self.below(2001) - 1000
        return sigma * total // 1155


def feed(detector, samples):
    """Feed all samples; return the passages."""
    found = []
    for sample in samples:
        passage = detector.feed(*sample)
        if passage is not None:
            found.append(passage)
    return found


def dipole(x, y, strength):
    """Return the field (nT) of an upright dipole of `strength` A·m² so far away (m)."""
    square = x * x + y * y + 0.16
    r3 = 100 * strength / square**1.5
    return (
        int(-r3 * 1.2 * x / square),
        int(-r3 * 1.2 * y / square),
        int(r3 * (1 - 0.48 / square)),
    )


def field(vehicles, seconds, places=(0.0,), rate=100, sigma=20, base=(19000, 1000, -45000), seed=1):
    """Yield samples of magnetometers at `places`: vehicles are (s, m/s, lateral m, A·m²)."""
    chance = Chance(seed)
    for number in range(seconds * rate):
        t = number / rate
        row = [number * 1000 // rate]
        for place in places:
            total = list(base)
            for when, speed, lateral, strength in vehicles:
                x = place - speed * (t - when)
                if -20 < x < 20:
                    # Two dipoles, as far apart as the axles of a car.
                    for off in (-1.3, 1.3):
                        part = dipole(x + off, lateral, strength)
                        for axis in range(3):
                            total[axis] += part[axis]
            for axis in range(3):
                row.append(total[axis] + chance.noise(sigma))
        yield tuple(row)


def cuts(times, seconds, far=VOID, near=(2000, 900), rate=100, sigma=15, seed=1):
    """Yield readings of a beam across: `times` are (from s, to s) or (from, to, mm)."""
    chance = Chance(seed)
    for number in range(seconds * rate):
        t = number / rate
        mm, strength = far
        for cut in times:
            if cut[0] <= t < cut[1]:
                mm, strength = cut[2] if len(cut) > 2 else near[0], near[1]
        yield number * 1000 // rate, mm + chance.noise(sigma), strength


def runs(vehicles, seconds, far=VOID, rate=100, sigma=10, seed=1):
    """Yield readings along the lane: (from s, to s, first mm, mm/s, side s) are the vehicles."""
    chance = Chance(seed)
    for number in range(seconds * rate):
        t = number / rate
        mm, strength = far
        for start, end, first, speed, side in vehicles:
            if start <= t < end:
                mm, strength = int(first + speed * (t - start)), 3000
            elif end <= t < end + side:
                mm, strength = int(first + speed * (end - start)), 180
        yield number * 1000 // rate, mm + chance.noise(sigma), strength


def reports(rows, seconds, period_ms=100):
    """Yield reports: rows are (from s, to s, mm/s, magnitude)."""
    for number in range(seconds * 1000 // period_ms):
        t = number * period_ms
        targets = []
        for start, end, speed, magnitude in rows:
            if start * 1000 <= t < end * 1000:
                targets.append((speed, magnitude))
        yield t, targets


def detectors():
    """Return each sort of detector, its name, and how many numbers a sample has after the time."""
    return (
        ("magnet", Magnet(2500, 3500), 3),
        ("pair", MagnetPair(1000, 2500), 6),
        ("across", Across(40000, (4750, 8250), (1, 2)), 2),
        ("overhead", Across(8000, (), (1,), True), 2),
        ("beams", AcrossPair(2000), 4),
        ("along", Along(8), 2),
        ("radar", Radar(), 0),
    )


def size(thing, depth=0):
    """Return how many numbers an object holds, in itself and in what it holds."""
    if isinstance(thing, (bool, int, float, str)) or thing is None:
        return 1
    if hasattr(thing, "__dict__"):
        total = 1
        for name in thing.__dict__:
            total += size(thing.__dict__[name], depth + 1)
        return total
    total = 1
    for item in thing:
        total += size(item, depth + 1)
    return total


def is_sound(passage):
    """Return whether a passage is within what its fields can be."""
    return (
        passage.direction in (0, 1, 2)
        and 0 <= passage.speed_mms <= 70000
        and passage.length_mm >= 0
        and passage.kind in (BIKE, CAR, HEAVY, UNKNOWN)
        and 0 <= passage.confidence <= 100
        and passage.occupied_ms >= 0
    )

"""Any samples at any times: no exception, bounded state, sound passages; on both interpreters."""

from node.traffic.calibrate import FieldCalibration, RangeCalibration
from traffic_signals import Chance, detectors, is_sound, size

ROUNDS = 1600


def any_time(chance, t):
    """Return the next time: jitter, gaps, the same again, and now and then a step back."""
    lot = chance.below(400)
    if lot == 0:
        return chance.below(1 << 30)
    if lot == 1:
        return t + chance.below(100000)
    if lot < 20:
        return t
    return t + 1 + chance.below(20)


def any_value(chance):
    """Return a sample's number: small, wild, at a limit, or as the last ones were."""
    lot = chance.below(12)
    if lot < 6:
        return chance.below(60000)
    if lot < 9:
        return 2000 + chance.below(100)
    if lot < 10:
        return -chance.below(1 << 20)
    return (0, -1, 65535, 1 << 30, -(1 << 30), 45000)[chance.below(6)]


def sample(chance, t, n):
    if n:
        return tuple([t] + [any_value(chance) for _ in range(n)])
    return t, [(any_value(chance), any_value(chance)) for _ in range(chance.below(4))]


def digest():
    """Return what all detectors tell of the same noise, as one number."""
    total = 0
    for name, detector, n in detectors():
        chance = Chance(len(name))
        t = 0
        largest = 0
        for number in range(ROUNDS):
            t = any_time(chance, t)
            passage = detector.feed(*sample(chance, t, n))
            if passage is not None:
                assert is_sound(passage), (name, passage.__dict__)
                total = (total * 31 + passage.t_ms + passage.direction + passage.kind) & 0xFFFFFFF
            if number % 700 == 350:
                largest = largest or size(detector)
                # A few passages may wait to be told; nothing else may grow.
                assert size(detector) <= largest + 60, name
    return total


def test_any_samples_are_borne_in_bounded_state():
    assert digest() > 0


def test_calibration_bears_any_samples():
    chance = Chance(11)
    distance, magnetic = RangeCalibration(), FieldCalibration()
    sizes = []
    t = 0
    for number in range(ROUNDS):
        t = any_time(chance, t)
        distance.feed(t, any_value(chance), any_value(chance))
        magnetic.feed(t, any_value(chance), any_value(chance), any_value(chance))
        if number % 500 == 499:
            sizes.append(size(distance) + size(magnetic))
    assert max(sizes) - min(sizes) <= 60
    assert isinstance(distance.result()[0], str)
    assert isinstance(magnetic.result()[0], str)

"""What a sample costs on the heap; runs on MicroPython."""

import gc

from traffic_signals import cuts, detectors, field, reports, runs


def signals():
    """Return samples for each sort of detector: half of them free, half with a vehicle."""
    car = [(3, 10, 1.5, 100)]
    beam = list(cuts([(2, 4)], 5))
    lane = list(runs([(2, 3, 20000, -9000, 1)], 5))
    return {
        "magnet": list(field(car, 5)),
        "pair": list(field(car, 5, (0.0, 1.0))),
        "across": beam,
        "overhead": beam,
        "beams": [a + a[1:] for a in beam],
        "along": lane,
        "radar": list(reports([(1, 4, 13000, 500)], 5, 10)),
    }


def allocated():
    """Return bytes per sample of each detector: the lane free, and with a vehicle there."""
    told = []
    rows = signals()
    for name, detector, _ in detectors():
        samples = rows[name]
        costs = []
        for part in (samples[:150], samples[150:350]):
            gc.collect()
            gc.disable()
            before = gc.mem_alloc()
            for sample in part:
                detector.feed(*sample)
            costs.append((gc.mem_alloc() - before) // len(part))
            gc.enable()
        told.append(" ".join([name, str(costs[0]), str(costs[1])]))
    return "; ".join(told)

"""Runs a detector on MicroPython: samples on stdin, passages on stdout, a line of numbers each.

Started by `replay.py` as `micropython replay_upy.py SENSOR MOUNT KEY=NUMBER …` with the firmware on
its path; the last line is "end" and the number of samples taken.
"""

import sys


def main() -> None:
    """Feed what comes in; tell what comes out."""
    kinds = __import__("node.traffic.kinds", None, None, ("make",))
    given = {}
    for word in sys.argv[3:]:
        key, value = word.split("=")
        given[key] = float(value) if "." in value else int(value)
    detector = kinds.make(sys.argv[1], sys.argv[2], given)
    speeds = kinds.SENSORS[sys.argv[1]][0] == kinds.SPEED
    number = 0
    for line in sys.stdin:
        sample = [int(word) for word in line.split()]
        if speeds:
            pairs = [(sample[i], sample[i + 1]) for i in range(1, len(sample), 2)]
            passage = detector.feed(sample[0], pairs)
        else:
            passage = detector.feed(*sample)
        number += 1
        if passage is not None:
            print(
                passage.t_ms,
                passage.direction,
                passage.speed_mms,
                passage.length_mm,
                passage.kind,
                passage.confidence,
                passage.occupied_ms,
            )
    print("end", number)


main()

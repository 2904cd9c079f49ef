"""What a sample costs the detectors, and how well they count.

As a test: bytecodes and heap for each sample. As a script: the table of docs/traffic.md,
`python tests/benchmarks/test_traffic.py [--hours 24] [part of a setting's name …]`.
"""

import argparse
import struct
import subprocess
import sys
import time
from pathlib import Path

from citynode.resources import firmware, micropython

HERE = Path(__file__).parent
TRAFFIC = HERE.parent / "traffic"
RUNNER = HERE.parent / "wire" / "run_micropython.py"
sys.path[:0] = [str(TRAFFIC), str(firmware())]

import traffic_road as road  # noqa: E402
from node.core.fields import Fields  # noqa: E402
from node.core.sights import Ranges  # noqa: E402
from node.core.traffic import Traffic  # noqa: E402
from node.sensors.mmc5983 import MMC5983  # noqa: E402
from node.sensors.tf02pro import TF02Pro  # noqa: E402
from node.traffic import kinds  # noqa: E402
from node.traffic.aggregate import Aggregate  # noqa: E402
from node.traffic.ring import FAST, Ring  # noqa: E402
from traffic_cost import signals  # noqa: E402
from traffic_signals import detectors  # noqa: E402

SEED = 2024
LIMIT_S = 120
# A million bytecodes a second is what MicroPython does on an ESP32, more or less: half of the time
# at 100 Hz are 5000 for a sample.
BUDGET = 5000
HEAP_BUDGET = 400  # bytes a sample, of twice the ESP32's size

SETTINGS = {
    "one magnetometer (MMC5983), 2.5 m, next lane 6 m": road.magnet_one(2.5, 40),
    "two magnetometers (MMC5983) 2 m apart, 2.5 m": road.magnet_two(2.5, 40, 2.0),
    "two magnetometers (MMC5983) 2 m apart, 2.5 m, next lane 6 m": road.magnet_two(2.5, 40, 2.0, 2),
    "two magnetometers (MMC5983) 1 m apart, 1.75 m": road.magnet_two(1.75, 40, 1.0),
    "two magnetometers (QMC5883L) 2 m apart, 1.75 m": road.magnet_two(1.75, 200, 2.0),
    "lidar across, 3 m, nothing behind": road.across(3.0),
    "lidar across, two lanes 3 and 6.5 m, wall 12 m": road.across(3.0, 2, 12.0),
    "two lidars across 2 m apart, 3 m": road.across_two(3.0, 2.0),
    "ultrasonic (A02YYUW) across, 2.75 m": road.ultrasonic(2.75),
    "lidar along, 8°, 3 m, coming": road.along(3.0, 8),
    "lidar along, 8°, 3 m, going": road.along(3.0, 8, way=1),
    "lidar along, 12°, two lanes 3 and 6.5 m": road.along(3.0, 12, 2),
    "radar, 15°, 3 m": road.radar(3.0, 15),
    "radar, 15°, two lanes 3 and 6.5 m": road.radar(3.0, 15, 2),
}
HEAD = (
    "| setting | vehicles | counting error | missed / false | wrong direction "
    "| speed error mean / p95 | class right |\n|---|---|---|---|---|---|---|"
)


def row(name, score):
    """Return a line of the table."""
    speed = f"{score.speed_mean:.1%} / {score.speed_p95:.1%}" if score.errors else "–"
    told = any(said != "-" for _, said in score.classes)
    wrong = f"{score.wrong_share:.2%}" if score.with_way else "–"
    return (
        f"| {name} | {score.vehicles} | {score.count_error:+.2%} | {score.missed} / {score.false} "
        f"| {wrong} | {speed} | {f'{score.class_right:.1%}' if told else '–'} |"
    )


def confusion(score):
    """Return the classes as lines: true class, then how many were told which."""
    kinds = [*road.KINDS, "-"]
    return "\n".join(
        f"    {true:6}"
        + "".join(f" {said}: {score.classes.get((true, said), 0)}" for said in kinds)
        for true in road.KINDS
    )


def bytecodes(feed, samples):
    """Return how many bytecodes CPython runs for each sample; MicroPython's are much the same."""
    counts = []

    def trace(frame, event, _):
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode":
            counts[-1] += 1
        return trace

    before = sys.gettrace()
    for sample in samples:
        counts.append(0)
        sys.settrace(trace)
        feed(*sample)
        sys.settrace(before)
    return counts


class Clock:
    """Milliseconds that go on with each sample."""

    def __init__(self):
        self.ms = 0

    def ticks_ms(self):
        return self.ms

    uptime_ms = ticks_ms

    @staticmethod
    def ticks_diff(a, b):
        return a - b

    @staticmethod
    def ticks_add(a, b):
        return a + b

    def wait_ms(self, ms):
        pass


class Bus:
    """An MMC5983 that has always just measured what `sample` is."""

    def __init__(self):
        self.sample = (0, 0, 0)

    def writeto_mem(self, address, register, data):
        pass

    def readfrom_mem_into(self, address, register, buffer):
        if len(buffer) == 1:
            buffer[0] = 0x30 if register == 0x2F else 0xFF
            return
        low = 0
        for axis, nt in enumerate(self.sample):
            counts = 0x20000 + nt * 512 // 3125
            buffer[2 * axis], buffer[2 * axis + 1] = counts >> 10, counts >> 2 & 0xFF
            low |= (counts & 3) << (6 - 2 * axis)
        buffer[6] = low


class Uart:
    """A TF lidar: answers to commands, then frames."""

    def __init__(self):
        self.data = b""

    def any(self):
        return len(self.data)

    def readinto(self, buffer):
        size = min(len(buffer), len(self.data))
        buffer[:size], self.data = self.data[:size], self.data[size:]
        return size

    def write(self, data):
        answer = b"\x5a\x07\x01\x00\x00\x01" if data[2] == 1 else data[:-1]
        self.data += answer + bytes((sum(answer) & 0xFF,))

    def frame(self, mm, strength):
        frame = struct.pack("<BBHHH", 0x59, 0x59, mm // 10, max(strength, 0), 2368)
        self.data += frame + bytes((sum(frame) & 0xFF,))


class NoTimer:
    def start(self, ms, call):
        self.call = call

    def stop(self):
        pass


def task(sight, ring, detector):
    """Return the node's task over a sight, without what it does once in an interval."""
    made = Traffic(
        "x", -1, ring, None, None, detector, Aggregate(), None, None, None, Clock(), None, None
    )
    made._sight = sight
    return made


def whole_tasks():
    """Yield the name of a node, and a function that takes a sample from its chips to its sums."""
    rows = signals()
    for name, count in (("one MMC5983", 1), ("two MMC5983", 2)):
        clock, timer, ring = Clock(), NoTimer(), Ring(FAST)
        buses = [Bus() for _ in range(count)]
        sight = Fields(ring, [MMC5983(bus, 0x30, clock) for bus in buses], timer)
        sight.start()
        detector = kinds.make("mmc5983", "", {"lane": 2500, "spacing": 1000 if count > 1 else 0})
        made = task(sight, ring, detector)

        def feed(t, *values, clock=clock, buses=buses, timer=timer, made=made):
            clock.ms = t
            for number, bus in enumerate(buses):
                bus.sample = values[3 * number : 3 * number + 3]
            timer.call(None)
            made._drain()

        yield name, feed, rows["pair" if count > 1 else "magnet"]
    for name, mount in (("TF02-Pro across", "across"), ("TF02-Pro along", "along")):
        clock, ring, uart = Clock(), Ring(FAST), Uart()
        sight = Ranges(ring, [TF02Pro(uart, clock)], clock, 10)
        made = task(sight, ring, kinds.make("tf02pro", mount, {"lane": 3000, "angle": 8}))

        def collect(t, mm, strength, clock=clock, uart=uart, sight=sight, made=made):
            clock.ms = t
            uart.frame(mm, strength)
            sight.collect()
            made._drain()

        yield name, collect, rows[mount]


def test_half_of_the_processor_is_free_for_the_whole_task():
    """From the bytes of the chips to the sums; on the bus it waits a part of the time, too."""
    print("\n| node | bytecodes a sample, lane free | vehicle there | at its end, once |")
    for name, feed, samples in whole_tasks():
        counts = bytecodes(feed, samples)
        free, busy = sum(counts[20:150]) / 130, sum(counts[200:300]) / 100
        print(f"| {name} | {free:.0f} | {busy:.0f} | {max(counts)} |")
        assert 100 < max(free, busy) < BUDGET, name


def test_half_of_the_processor_is_free_at_100_hz():
    print("\n| detector | bytecodes, lane free | vehicle there | the worst sample (its end) |")
    for name, detector, _ in detectors():
        counts = bytecodes(detector.feed, signals()[name])
        free, busy = sum(counts[20:150]) / 130, sum(counts[200:300]) / 100
        print(f"| {name} | {free:.0f} | {busy:.0f} | {max(counts)} |")
        assert 0 < max(free, busy) < BUDGET, name


def test_a_sample_leaves_little_on_the_heap():
    done = subprocess.run(
        [micropython(), "-X", "heapsize=4M", RUNNER, "traffic_cost:allocated"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env={"MICROPYPATH": f"{firmware()}:{TRAFFIC}:.frozen"},
        check=True,
    )
    print("\nbytes a sample on 64 bits, lane free and vehicle there:", done.stdout)
    rows = [row.split() for row in done.stdout.split(";")]
    assert len(rows) == len(detectors())
    for _, free, busy in rows:
        assert max(int(free), int(busy)) <= HEAP_BUDGET


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("names", nargs="*")
    asked = parser.parse_args()
    print(HEAD)
    for name, run in SETTINGS.items():
        if asked.names and not any(each in name for each in asked.names):
            continue
        start = time.monotonic()
        score = run(asked.seed, asked.hours * 3600)
        print(row(name, score), flush=True)
        print(confusion(score), file=sys.stderr)
        print(f"    {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()

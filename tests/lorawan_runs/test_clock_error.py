"""A node whose clock is as wrong as it is configured to bear hears every downlink; both radios."""

from itertools import product

import pytest
from citynode.virtual.rack import Rack
from run_site import NS, SX1262, SX1276, write_flash
from run_timing import Case, hear

PERCENT = 10_000  # ppm
# At both ends of what is configured, the default and the most: windows of a usual network's RX1
# after 1 s, and of The Things Network's after 5 s, with RX2 a second later.
INSIDE = [
    Case(sf, window, delay_s, sign * allowed, allowed)
    for sf, window, delay_s, allowed, sign in product(
        (7, 12), (1, 2), (1, 5), (PERCENT, 2 * PERCENT), (-1, 1)
    )
]
# Twice the error, where a symbol is short; a preamble of eight symbols bears 3 ms more.
OUTSIDE = [Case(7, window, 1, sign * 2 * PERCENT, PERCENT) for window in (1, 2) for sign in (-1, 1)]
# 15 s and 1 % are a window of 303 symbols, of which an SX1262 can do 248: 0.8 % of 15 s.
LONG = [Case(7, 1, 15, sign * ppm, PERCENT) for sign in (-1, 1) for ppm in (8000, 9500)]


@pytest.mark.parametrize(
    ("kind", "long"), [(SX1276, [True] * 4), (SX1262, [True, False, True, False])]
)
def test_downlinks_are_heard_within_the_configured_clock_error(tmp_path, kind, long):
    heard = hear(tmp_path, kind, [*INSIDE, *OUTSIDE, *LONG])
    assert [case for case, found in zip(INSIDE, heard, strict=False) if not found] == []
    rest = heard[len(INSIDE) :]
    assert rest == [False] * len(OUTSIDE) + long


def test_a_clock_is_as_wrong_as_it_was_made(tmp_path):
    program = b"""
import time
while True:
    time.sleep_ms(10_000)
    print("ticks", time.ticks_us())
"""
    write_flash(tmp_path, SX1276, files={"/main.py": program})
    rack = Rack(SX1276, state_dir=tmp_path, virtual_time=True)
    rack.open()
    try:
        rack.apps[0].clock_ppm = 10_000
        rack.engine.run(until=60 * NS)
        rack.apps[0].clock_ppm = -20_000
        rack.engine.run(until=125 * NS)
        rows = [line.split(" ") for line in rack.events.lines if " out ticks " in line]
    finally:
        rack.close()
    # 60 s of true time are 60.6 s of the first clock; then it is a slow one.
    for number, (at, *_, ticks) in enumerate(rows, 1):
        seconds = 10 * number
        true_s = seconds / 1.01 if seconds < 60.6 else 60 + (seconds - 60.6) / 0.98
        assert int(ticks) / 1e6 == pytest.approx(seconds, abs=0.001)
        assert int(at) / NS == pytest.approx(true_s, abs=0.001)
    assert len(rows) == 12

"""The time that transfers take on the wires of the buses."""

from _clock import us as now_us
from _native import time as _time


def spend(since_us, bits, baud):
    """Wait until so many bits that began at `since_us` are over."""
    left = since_us + bits * 1000000 // baud - now_us()
    if left > 0:
        _time.sleep_us(left)

"""The time that transfers take on the wires of the buses."""

from _clock import bus_us as now_us
from _clock import spend_us as _spend_us


def spend(since_us, bits, baud):
    """Wait until so many bits that began at `since_us` are over."""
    _spend_us(since_us + bits * 1000000 // baud - now_us())

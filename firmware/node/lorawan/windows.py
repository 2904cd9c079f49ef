"""When and for how long to listen: TS001 section 3.3, with the node's own timing error."""

from node.lorawan.actions import Rx
from node.lorawan.region import symbol_us


def open_window(settings, window: int, delay_ms: int, hz: int, sf: int, bw_khz: int) -> Rx:
    """Return a receive window that finds a preamble `delay_ms` after the end of transmission.

    The network sends at that moment of its own clock. A node whose clock is slow must not be
    late, so the window opens earlier by all that the clock may be wrong; and it stays open for
    the same again, for a clock that is fast, until enough of the preamble was there to be seen.
    """
    # 16 s times 20000 ppm still is a small integer this way.
    error_us = delay_ms * settings.clock_error_ppm // 1000 + settings.timing_error_us
    symbol = symbol_us(sf, bw_khz)
    symbols = settings.min_symbols - (-2 * error_us // symbol)
    return Rx(window, max(0, 1000 * delay_ms - error_us), hz, sf, bw_khz, symbols)

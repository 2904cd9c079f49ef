"""Counting the closings of a contact: each of them once, though it bounces."""


class Debounced:
    """A counter on `pin`, which has `irq(handler, trigger)`, `IRQ_FALLING` and `IRQ_RISING`.

    After an edge that counts all others are bounces for `dead_ms`. Where that is longer than the
    contact stays closed, closings count. Where it is shorter, `both` edges have to be seen, since
    a contact bounces when it opens, too: two of them are a closing.

    It is used as a machine.Counter is, of which it has `value()`; a PCNT counts bounces of
    milliseconds, since its filter ends at 13 µs.
    """

    def __init__(self, pin, clock, dead_ms: int, both: bool = False) -> None:
        self._clock = clock
        self._dead_ms = dead_ms
        self._shift = 1 if both else 0
        self._count = 0
        self._last_ms = clock.ticks_ms() - dead_ms
        pin.irq(self.closed, pin.IRQ_FALLING | pin.IRQ_RISING if both else pin.IRQ_FALLING)

    def closed(self, pin=None) -> None:
        """Count an edge, also one that somebody else has seen (it has woken the chip)."""
        now = self._clock.ticks_ms()
        # A negative difference is one of more than six days.
        if not 0 <= self._clock.ticks_diff(now, self._last_ms) < self._dead_ms:
            self._count = (self._count + 1) & 0x1FFFF
            self._last_ms = now

    def value(self) -> int:
        """Return the number of closings, modulo 65536."""
        return (self._count >> self._shift) & 0xFFFF


def pulses(now: int, before: int) -> int:
    """Return how many pulses two values of a counter of 16 bits are apart.

    The counter is never set: between reading and setting it would lose some.
    """
    return (now - before) & 0xFFFF

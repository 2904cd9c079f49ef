"""The moments at which the radio must not be late: who would hold up other tasks waits them out."""

from node.wire.const import const

# The longest that a task works without a pause: writing a record with the erasure of a sector.
_GUARD_MS = const(500)
# A short piece of work across the appointment may delay it: nothing follows at once.
_AFTER_MS = const(50)


class Quiet:
    """Keeps the time before an appointment free of long work."""

    def __init__(self, clock) -> None:
        self._clock = clock
        self._at_ms = -_AFTER_MS

    def plan(self, at_ms: int) -> None:
        """Say that `at_ms` of the uptime has to be met."""
        self._at_ms = at_ms

    async def wait(self) -> None:
        """Wait until there is time to work for half a second without a pause."""
        while True:
            left = self._at_ms - self._clock.uptime_ms()
            if not -_AFTER_MS < left <= _GUARD_MS:
                return
            await self._clock.sleep_ms(left + _AFTER_MS)

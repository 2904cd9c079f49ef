"""What magnetometers see, as samples in a Ring; as the classes of `core.sights`."""

from node.sensors import SensorError
from node.wire.const import const

_TICK_MS = const(10)


class Fields:
    """One or two magnetometers, read by a timer's interrupt at each of its ticks.

    `timer` has `start(ms, call)` and `stop()`.
    """

    pause_ms = 50
    gap_ms = 250

    def __init__(self, ring, chips, timer) -> None:
        self._ring = ring
        self._one = chips[0]
        self._two = chips[1] if len(chips) > 1 else None
        self._timer = timer
        self._call = self._tick
        self._first = True
        self._error = None
        self.nulls = hasattr(chips[0], "null")

    def start(self) -> None:
        """Begin to sample; a chip that has to be set up is, which blocks for a moment."""
        self._error = None
        self._one.read()
        if self._two is not None:
            self._two.read()
        self._timer.start(_TICK_MS, self._call)

    def stop(self) -> None:
        """End sampling."""
        self._timer.stop()

    def null(self) -> None:
        """Have the chips measure their own offsets."""
        self._timer.stop()
        self._one.null()
        if self._two is not None:
            self._two.null()
        self._timer.start(_TICK_MS, self._call)

    def _tick(self, _) -> None:
        one, two = self._one, self._two
        try:
            if two is None:
                if one.read():
                    self._ring.put(one.t_ms, one.x_nt, one.y_nt, one.z_nt)
                return
            # One comes a little later than the other: in turns, so that the means are the same.
            self._first = not self._first
            if self._first:
                new = one.read()
                two.read()
            else:
                two.read()
                new = one.read()
            if new:
                self._ring.put(one.t_ms, one.x_nt, one.y_nt, one.z_nt, two.x_nt, two.y_nt, two.z_nt)
        except (OSError, SensorError) as error:
            self._timer.stop()
            self._error = error

    def collect(self) -> bool:
        """Raise what the interrupt has met; the samples are in the ring already."""
        error = self._error
        if error is not None:
            self._error = None
            raise error
        return True

    def feed(self, detector):
        """Give the detector the sample."""
        rows, at = self._ring.rows, self._ring.at
        if self._two is None:
            return detector.feed(rows[at], rows[at + 1], rows[at + 2], rows[at + 3])
        return detector.feed(
            rows[at],
            rows[at + 1],
            rows[at + 2],
            rows[at + 3],
            rows[at + 4],
            rows[at + 5],
            rows[at + 6],
        )

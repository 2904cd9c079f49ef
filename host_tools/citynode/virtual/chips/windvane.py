"""Wind vane with eight reed contacts and resistors (Argent Data Systems 80422, usage notes)."""

from collections.abc import Callable

# The contacts' resistors in kΩ, from north clockwise in steps of 45°. Where the vane is between
# two of them, both contacts are closed.
_KILOOHM = (33.0, 8.2, 1.0, 2.2, 3.9, 16.0, 120.0, 64.9)
# Where the wind comes from at a time in ns (°), None where nobody knows.
Direction = Callable[[int], float | None]


class WindVane:
    """The vane with a pull-up (kΩ) to a supply (V); `faults`: "open", "short".

    It stays where it is in a gap of the weather.
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        direction: Direction,
        *,
        pull_up_kohm: float = 10.0,
        supply_v: float = 3.3,
    ) -> None:
        self.faults: set[str] = set()
        self._now_ns = now_ns
        self._direction = direction
        self._pull_up_kohm = pull_up_kohm
        self._supply_v = supply_v
        self._last_deg = 0.0

    def volts(self) -> float:
        """Return the voltage at the board's pin."""
        if "open" in self.faults:
            return self._supply_v
        if "short" in self.faults:
            return 0.0
        known = self._direction(self._now_ns())
        self._last_deg = self._last_deg if known is None else known
        half, between = divmod(round(self._last_deg / 22.5) % 16, 2)
        kiloohm = _KILOOHM[half]
        if between:
            other = _KILOOHM[(half + 1) % 8]
            kiloohm = kiloohm * other / (kiloohm + other)
        return self._supply_v * kiloohm / (kiloohm + self._pull_up_kohm)

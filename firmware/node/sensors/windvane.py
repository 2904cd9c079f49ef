"""Wind vane with eight reed contacts and resistors (Argent Data Systems 80422: 16 directions)."""

from node.sensors import SensorError

# Ω from north on, clockwise in steps of 22.5° (table of the usage notes). Two neighbouring
# contacts closed at once are two resistors in parallel.
_OHM = (
    33000, 6570, 8200, 891, 1000, 688, 2200, 1410, 3900, 3140, 16000, 14120, 120000, 42120, 64900,
    21880,
)  # fmt: skip
_STEP_DEG = 22.5
_PULL_UP_OHM = 10000
_SUPPLY_UV = 3300000
_SHORTED = 0.03
_OPEN = 0.965


class WindVane:
    """The vane on an ADC with `read_uv()`, with a pull-up to a supply of `supply_uv`.

    With 10 kΩ at 3.3 V its voltage goes up to 3.05 V: an ESP32-C3, whose converter ends at 2.5 V,
    needs another supply for it. `north_deg` is what it reads when it points north.
    """

    BUS = "adc"
    FIELDS = ("wind_from_deg",)

    def __init__(
        self,
        adc,
        clock,
        pull_up_ohm: int = _PULL_UP_OHM,
        supply_uv: int = _SUPPLY_UV,
        north_deg: float = 0.0,
    ) -> None:
        self._adc = adc
        self._supply_uv = supply_uv
        self._north_deg = north_deg
        self._shares = [ohm / (ohm + pull_up_ohm) for ohm in _OHM]

    async def measure(self) -> tuple:
        """Return where the wind comes from (°).

        SensorError "skipped" where the cable is broken or shorted.
        """
        # Between two directions the voltage passes by others: the middle of three is one of them.
        a, b, c = self._adc.read_uv(), self._adc.read_uv(), self._adc.read_uv()
        share = max(min(a, b), min(max(a, b), c)) / self._supply_uv
        if not _SHORTED < share < _OPEN:
            raise SensorError("skipped")
        best = 0
        for i in range(1, len(self._shares)):
            if abs(self._shares[i] - share) < abs(self._shares[best] - share):
                best = i
        return ((best * _STEP_DEG - self._north_deg) % 360,)


DRIVER = WindVane

"""What one field of a sensor gave over an interval: mean, sum, highest, or a mean of directions."""

from math import atan2, cos, pi, sin, sqrt

from node.wire.cbor import UNDEFINED

# All other fields are means. Directions are a vector mean of unit vectors (WMO-No. 8, part I,
# 5.8.3): 350° and 10° are north.
# A sum is told in whole tenths, and what is left over goes into the next interval: else a gauge of
# 0.2794 mm would rain 0.3 mm with each of its tips.
_SUMS = ("rain_mm",)
_TENTHS = 10
_HIGHEST = ("gust_ms",)
_DIRECTIONS = ("wind_from_deg",)

# Fields that tell more of the same values, by the field they are of: (lowest, highest, standard
# deviation), None where the schema has none.
SPREAD = {
    "temperature_c": ("temperature_min_c", "temperature_max_c", None),
    "pm25_ugm3": (None, "pm25_max_ugm3", None),
    "wind_ms": ("wind_min_ms", None, "wind_sd_ms"),
}


class Interval:
    """Takes the values of the field `name` and gives what a record says of them.

    A sensor that failed at times leaves its good values standing; one that gave none is UNDEFINED.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._kind = 0
        self._left = 0
        if name in _SUMS:
            self._kind = 1
        elif name in _HIGHEST:
            self._kind = 2
        elif name in _DIRECTIONS:
            self._kind = 3
        self._clear()

    def _clear(self) -> None:
        self._count = 0
        self._failed = False
        # Mean and sum of squared differences from it (Welford), or the sums of sine and cosine.
        self._mean = 0
        self._square = 0
        self._low = self._high = None

    def fail(self) -> None:
        """Take note that the sensor gave nothing."""
        self._failed = True

    def add(self, value) -> None:
        """Take a value; None is none, UNDEFINED a failure."""
        if value is None:
            return
        if value is UNDEFINED or value != value:
            self._failed = True
            return
        self._count += 1
        if self._kind == 1:
            self._mean += value
        elif self._kind == 2:
            self._mean = value if self._count == 1 else max(self._mean, value)
        elif self._kind == 3:
            self._mean += sin(value * pi / 180)
            self._square += cos(value * pi / 180)
        elif self._count == 1:
            self._mean = self._low = self._high = value
        else:
            step = value - self._mean
            self._mean += step / self._count
            self._square += step * (value - self._mean)
            self._low = min(self._low, value)
            self._high = max(self._high, value)

    def put(self, values: dict, spread: bool) -> None:
        """Put what the record says into `values` and begin the next interval.

        A number stays that another sensor has put there. With `spread` the fields of SPREAD go
        there, too.
        """
        before = values.get(self.name, UNDEFINED)
        if before is UNDEFINED or before is None:
            if self._count:
                values[self.name] = self._value()
                more = SPREAD.get(self.name) if spread else None
                if more is not None:
                    self._put_spread(values, more)
            elif self._failed:
                values[self.name] = UNDEFINED
        self._clear()

    def _value(self):
        if self._kind == 1:
            total = self._mean + self._left
            told = round(total * _TENTHS) / _TENTHS
            self._left = total - told
            return told
        if self._kind != 3:
            return self._mean
        # Directions that cancel each other out have no mean.
        if self._count > 1 and abs(self._mean) + abs(self._square) < 1e-6 * self._count:
            return None
        return atan2(self._mean, self._square) * 180 / pi % 360

    def _put_spread(self, values: dict, names) -> None:
        low, high, deviation = names
        if low is not None:
            values[low] = self._low
        if high is not None:
            values[high] = self._high
        if deviation is not None:
            values[deviation] = sqrt(max(self._square, 0) / self._count)

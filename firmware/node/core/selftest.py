"""The self-test: items that are done one after the other, and how each is told of.

An item is a coroutine function of a `Report`. It tells each value with its limits; what it raises
is told as its end. `core.selftest_items` has them.
"""

import asyncio
import json

from node.core.log import describe
from node.radio import RadioError
from node.sensors import SensorError
from node.wire.const import const

PASS = "PASS"  # noqa: S105 -- no password
FAIL = "FAIL"
ERROR = "ERROR"
TIMEOUT = "TIMEOUT"
SKIP = "SKIP"

_LONGEST_DETAIL = const(120)
_LOOK_MS = const(50)
_ENODEV = const(19)


class Report:
    """Tells results as lines of JSON with `write(text)`."""

    def __init__(self, write) -> None:
        self._write = write

    def tell(self, item, verdict, value=None, unit="", low=None, high=None, detail="") -> None:
        """Tell how an item ended."""
        line = {
            "item": item,
            "verdict": verdict,
            "value": value,
            "unit": unit,
            "low": low,
            "high": high,
            "detail": detail[:_LONGEST_DETAIL],
        }
        self._write(json.dumps(line) + "\n")

    def measured(self, item, value, unit="", low=None, high=None, detail="") -> None:
        """Tell a value; one that is outside of its limits, or no number, is a failure."""
        if not isinstance(value, (int, float)) or value - value != 0:  # infinite, or NaN
            self.tell(item, FAIL, None, unit, low, high, detail or "no number")
            return
        fine = (low is None or value >= low) and (high is None or value <= high)
        if isinstance(value, float):
            value = round(value, 3)
        self.tell(item, PASS if fine else FAIL, value, unit, low, high, detail)

    def skip(self, item, why) -> None:
        """Tell that there is nothing to measure."""
        self.tell(item, SKIP, detail=why)

    def ended(self, item, error) -> None:
        """Tell of an item that an exception has ended."""
        if isinstance(error, (SensorError, RadioError)):
            self.tell(item, FAIL, detail=describe(error))
        elif isinstance(error, OSError):
            silent = error.args and error.args[0] == _ENODEV
            self.tell(item, FAIL, detail="no answer" if silent else describe(error))
        elif isinstance(error, asyncio.TimeoutError):
            self.tell(item, TIMEOUT, detail="took too long")
        else:
            self.tell(item, ERROR, detail=describe(error))


class Run:
    """Does items, (name, limit in ms, coroutine function), one after the other, in pieces.

    `doing` has the names of the items that are not yet told of.
    """

    def __init__(self, report: Report, items, clock) -> None:
        self.doing = [each[0] for each in items]
        self._report = report
        self._items = items
        self._clock = clock
        self._task = None

    async def go(self, within_ms=None) -> bool:
        """Go on for about so long, or to the end; return whether there is more to do.

        An item that does not wait is not cut short.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        waited = 0
        while not self._task.done():
            if within_ms is not None and waited >= within_ms:
                return True
            await self._clock.sleep_ms(_LOOK_MS)
            waited += _LOOK_MS
        return False

    def cancel(self) -> None:
        """Leave it where it is."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        for name, limit_ms, item in self._items:
            try:
                await asyncio.wait_for_ms(item(self._report), limit_ms)
            except Exception as error:
                self._report.ended(name, error)
            self.doing.pop(0)

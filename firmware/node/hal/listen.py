"""The traffic sensor after mounting, from the REPL: what it sees, and what is wrong with that.

`citynode calibrate` makes a `Listener` and has it `listen` a few seconds at a time.
"""

import json
import time

from node.core import config as config_file
from node.core.clock import Clock
from node.hal.about import read
from node.hal.sensing import Wiring
from node.hal.traffic import Site
from node.sensors import SensorError
from node.traffic import kinds
from node.traffic.calibrate import FieldCalibration, RangeCalibration

_POINTS = 200  # of each `listen` that are told, to be drawn
_PAUSE_MS = 10
_FAST_HZ = 100


class Listener:
    """The sensor that the node's configuration has; ValueError names what is wrong with that."""

    def __init__(self) -> None:
        config = config_file.load(read("/config.cbor"))
        if config.traffic is None:
            raise ValueError("traffic")
        clock = Clock(None, False)
        self._traffic = config.traffic
        try:
            self._site = Site(config, clock, Wiring(config, clock))
        except (ImportError, AttributeError):
            raise ValueError("traffic.sensor")
        except (ValueError, OSError, IndexError):
            raise ValueError("traffic.ports")
        self._detector = detector = self._site.detector()
        self._fields: list = []  # of a magnetometer
        self._sights: list = []  # the one that there is while the sensor works
        kind = self._site.kind
        limit = kinds.SENSORS[self._traffic.sensor][1]
        count = len(self._traffic.ports)
        self._parts: list = []
        if kind == kinds.FIELD:
            self._parts = [FieldCalibration() for _ in range(count)]
            names = ("first", "second") if count > 1 else ("field",)
            self._fields = [getattr(detector, name) for name in names]
        elif kind == kinds.RANGE:
            self._parts = [RangeCalibration(limit) for _ in range(count)]
        self._samples = 0
        self._errors: dict = {}

    def listen(self, ms: int) -> None:
        """Listen for some time; print one line of JSON.

        points: [ms, value] (µT off the baseline, mm, mm/s); passages: [ms, direction, mm/s, class,
        ms seen]; samples, errors (how many of each), and the results so far.
        """
        points: list = []
        passages: list = []
        every = max(1, ms * _FAST_HZ // 1000 // _POINTS)
        end = time.ticks_add(time.ticks_ms(), ms)
        while time.ticks_diff(end, time.ticks_ms()) > 0:
            try:
                if not self._sights:
                    sight = self._site.sight()
                    sight.start()
                    self._sights.append(sight)
                self._sights[0].collect()
                self._take(self._sights[0], points, passages, every)
            except (OSError, SensorError) as error:
                name = error.kind if isinstance(error, SensorError) else "bus"
                self._errors[name] = self._errors.get(name, 0) + 1
                self.stop()
                if name == "bus":
                    self._site.recover()
                time.sleep_ms(500)
            time.sleep_ms(_PAUSE_MS)
        print(
            json.dumps(
                {
                    "points": points,
                    "passages": passages,
                    "samples": self._samples,
                    "errors": self._errors,
                    "results": [part.result() for part in self._parts],
                    "threshold_nt": [field.on for field in self._fields],
                }
            )
        )

    def stop(self) -> None:
        """Let the sensor be."""
        for sight in self._sights:
            sight.stop()
        self._sights.clear()

    def _take(self, sight, points: list, passages: list, every: int) -> None:
        ring = self._site.ring
        rows = ring.rows
        kind = self._site.kind
        while ring.take():
            at = ring.at
            t, first = rows[at], rows[at + 1]
            if kind == kinds.FIELD:
                for number in range(len(self._parts)):
                    i = at + 3 * number
                    self._parts[number].feed(t, rows[i + 1], rows[i + 2], rows[i + 3])
            elif kind == kinds.RANGE:
                self._parts[rows[at + 3]].feed(t, first, rows[at + 2])
            passage = sight.feed(self._detector)
            if kind == kinds.FIELD:
                first = self._fields[0].level
            self._samples += 1
            if self._samples % every == 0 and not (kind == kinds.RANGE and rows[at + 3]):
                points.append([t, first])
            if passage is not None:
                passages.append(
                    [
                        passage.t_ms,
                        passage.direction,
                        passage.speed_mms,
                        passage.kind,
                        passage.occupied_ms,
                    ]
                )

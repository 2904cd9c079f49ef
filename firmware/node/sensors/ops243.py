"""OmniPreSense OPS243-A: Doppler radar (API interface AN-010, user manual UM-003), 19200 baud.

It says one line of JSON for each 1024 samples at 10 kHz (102 ms, steps of 0.06 m/s). After a power
cut it has what was saved in it, which may be other units: whatever it says that is not as it was
told, and silence, has it told again.
"""

import json

from node.sensors import SensorError
from node.sensors.stream import FULL
from node.wire.const import const

# JSON, magnitudes, no units, two reports at once, m/s with two decimals, 10 kHz, both directions,
# and a line of zeros where nothing moves, without which a free road is silence. Its units are the
# last: the answer to that tells that it has heard the others.
_SETTINGS = ("OJ", "OM", "Ou", "O2", "F2", "SX", "R|", "BZ", "UM")
_UNITS = "m-per-sec"
_UNIT = "mps"
_PRODUCT = "OPS243"

_LONGEST = const(160)  # of a line
_CHUNK = const(32)
_MOST = const(9)  # reports at once
_FASTEST = const(140)  # m/s, more than it can measure
_GAP_MS = const(20)
_ANSWER_MS = const(400)
_POLL_MS = const(10)
_TRIES = const(3)
_QUIET_MS = const(1000)
_SILENT_MS = const(2000)
_NEWLINE = const(10)
_BLANK = const(32)


def targets(report: dict) -> tuple:
    """Return (mm/s, magnitude) of each target in a report; what comes nearer is positive.

    Speed and magnitude are numbers or texts, or lists of them; a speed of 0 needs no magnitude.
    Raises ValueError, TypeError, KeyError.
    """
    speeds = report["speed"]
    if not isinstance(speeds, list) and not float(speeds):
        return ()
    magnitudes = report["magnitude"]
    if not isinstance(speeds, list):
        speeds, magnitudes = [speeds], [magnitudes]
    if len(speeds) != len(magnitudes) or len(speeds) > _MOST:
        raise ValueError
    found = []
    for number in range(len(speeds)):
        speed = float(speeds[number])
        magnitude = float(magnitudes[number])
        if not (-_FASTEST < speed < _FASTEST and 0 <= magnitude < 1e9):
            raise ValueError
        if speed:
            found.append((int(speed * 1000 + (0.5 if speed > 0 else -0.5)), int(magnitude)))
    return tuple(found)


class Lines:
    """Lines of a UART; one that is longer than 160 bytes is none."""

    def __init__(self, uart) -> None:
        self._uart = uart
        self._line = bytearray(_LONGEST)
        self._chunk = bytearray(_CHUNK)
        self._at = self._end = 0
        self._count = 0

    def flush(self) -> None:
        """Forget all that has come so far, and the rest of the line that it ends in."""
        while self._uart.any():
            if not self._uart.readinto(self._chunk):
                break
        self._at = self._end = 0
        self._count = _LONGEST + 1

    def next(self):
        """Return the next line without its end (bytes, not empty), None if there is none yet."""
        while True:
            if self._at == self._end:
                if not self._uart.any():
                    return None
                self._at = 0
                self._end = self._uart.readinto(self._chunk) or 0
                if not self._end:
                    return None
            byte = self._chunk[self._at]
            self._at += 1
            if byte == _NEWLINE:
                count, self._count = self._count, 0
                if 0 < count <= _LONGEST:
                    return bytes(memoryview(self._line)[:count])
            elif byte >= _BLANK:
                if self._count < _LONGEST:
                    self._line[self._count] = byte
                if self._count <= _LONGEST:
                    self._count += 1


class OPS243:
    """The radar on `uart` (19200 baud, 8N1, timeout 0, rxbuf 256 or more).

    After a `read` that was True the report is in `t_ms` (ticks) and `targets`: (mm/s, magnitude)
    of each, () if nothing moves. `strange` counts lines that were nothing it says.
    """

    def __init__(self, uart, clock) -> None:
        self._uart = uart
        self._clock = clock
        self._lines = Lines(uart)
        self.t_ms = self._heard_ms = self._told_ms = clock.ticks_ms()
        self.targets = ()
        self.strange = 0
        self._sure = False  # of its units
        product = self._ask("?P", "Product")
        if not product.startswith(_PRODUCT):
            raise SensorError("id")
        for setting in _SETTINGS:
            self._uart.write(setting)
            clock.wait_ms(_GAP_MS)
        if self._ask("UM", "Units") != _UNITS:
            raise SensorError("refused")
        self._lines.flush()
        self._heard_ms = clock.ticks_ms()
        self._sure = True

    def read(self) -> bool:
        """Take the next report, if there is one; to be called until it is False, every 100 ms.

        Raises SensorError "timeout", once for each 2 s in which it said nothing at all.
        """
        clock = self._clock
        now = clock.ticks_ms()
        if self._uart.any() >= FULL:
            # What is in it has lost something in the middle, and is old.
            self._lines.flush()
            self._heard_ms = now
        while True:
            line = self._lines.next()
            if line is None:
                break
            self._heard_ms = now
            try:
                report = json.loads(line)
                if "speed" not in report:
                    self._answered(report, now)
                    continue
                if report.get("unit", _UNIT) != _UNIT:
                    raise ValueError
                found = targets(report)
            except (ValueError, TypeError, KeyError, AttributeError):
                self.strange += 1
                if b"{" not in line or b"}" in line:
                    # Not a piece of JSON, but another form, or other units.
                    self._sure = False
                    self._tell(now)
                continue
            if self._sure:
                self.targets = found
                self.t_ms = now
                return True
            self._tell(now)
        silence = clock.ticks_diff(now, self._heard_ms)
        if silence > _QUIET_MS:
            self._sure = False
            self._tell(now)
        if silence > _SILENT_MS:
            self._heard_ms = now
            raise SensorError("timeout")
        return False

    def _answered(self, report: dict, now: int) -> None:
        """Take what is no report: the answer to a command, or what it says when it starts."""
        if "Units" in report:
            self._sure = report["Units"] == _UNITS
        elif "Product" in report:
            self._sure = False
            self._tell(now)

    def _tell(self, now: int) -> None:
        """Set it up again, once a second at most; it answers to that even if nothing moves."""
        if self._clock.ticks_diff(now, self._told_ms) > _QUIET_MS:
            self._told_ms = now
            for setting in _SETTINGS:
                self._uart.write(setting)

    def _ask(self, command: str, key: str) -> str:
        for _ in range(_TRIES):
            self._uart.write(command)
            for _ in range(_ANSWER_MS // _POLL_MS):
                self._clock.wait_ms(_POLL_MS)
                line = self._lines.next()
                while line is not None:
                    try:
                        return str(json.loads(line)[key])
                    except (ValueError, TypeError, KeyError, IndexError):
                        line = self._lines.next()
        raise SensorError("timeout")


DRIVER = OPS243

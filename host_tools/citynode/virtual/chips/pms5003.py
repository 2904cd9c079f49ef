"""Plantower PMS5003 and PMS7003: particles by laser (data manuals V2.3 and V2.5), on a UART.

Awake in active mode it sends a frame every 2.3 s, and faster where the air changes. Its values
come up from nothing while the fan gets the old air out.
"""

import struct

from citynode.virtual.chips import Around, Timeline
from citynode.virtual.chips.uart import MS, SerialChip

_ACTIVE, _PASSIVE = 1, 0
_STABLE_NS = 2300 * MS
_FAST_NS = 800 * MS
_CHANGE = 0.15  # from frame to frame; more is "fast mode"
_START_NS = 1500 * MS
_DEAF_NS = 1000 * MS
_SETTLED_NS = 30_000 * MS
# What the manual calls "CF=1" reads higher than "atmospheric" above this many µg/m³, by up to half.
_CF_FROM, _CF_TO = 30.0, 60.0
_VERSION = 0x97


class PMS5003(SerialChip):
    """The module; `mode` and `awake` are what it was left in (`SET` is open).

    `faults` beside those of `SerialChip`: "error-code" (its own fault byte is set), "slow-start"
    (it hears no commands in the second after it was woken).
    """

    noise = b"\x10\x42"

    def __init__(
        self, timeline: Timeline, around: Around, *, mode: int = _ACTIVE, awake: bool = True
    ) -> None:
        super().__init__(timeline, 9600)
        self._around = around
        self._heard = bytearray()
        self._generation = 0
        self._last = 0.0
        self.start()
        self.mode = mode
        if not awake:
            self._sleep()

    def start(self) -> None:
        """Start awake, in active mode."""
        self.mode = _ACTIVE
        self._heard.clear()
        self._wake()

    def spoilt(self, data: bytes) -> bytes:
        """Return a frame whose sum is wrong."""
        return data[:-1] + bytes((data[-1] ^ 0x20,))

    # -- commands -------------------------------------------------------------------------------

    def hear(self, data: bytes) -> None:
        """Collect commands of seven bytes (appendix I)."""
        self._heard += data
        while len(self._heard) >= 7:
            part = bytes(self._heard[:7])
            if part[:2] != b"BM" or sum(part[:5]) != int.from_bytes(part[5:], "big"):
                del self._heard[0]
                continue
            del self._heard[:7]
            self._do(part[2], part[4])

    def _do(self, code: int, value: int) -> None:
        if not self.awake:
            if code == 0xE4 and value == 1:
                self._wake()
            return  # nothing is answered out of sleep
        if "slow-start" in self.faults and self.now - self._since_ns < _DEAF_NS:
            return
        if code == 0xE1:
            self.mode = value & 1
            self._echo(code, value)
            self._plan(self.now + _STABLE_NS)
        elif code == 0xE2 and self.mode == _PASSIVE:
            self._send()
        elif code == 0xE4:
            self._echo(code, value)
            if not value:
                self._sleep()

    def _echo(self, code: int, value: int) -> None:
        self._frame(bytes((code, value)))

    def _wake(self) -> None:
        self.awake = True
        self._since_ns = self.now
        self._plan(self.now + _START_NS)

    def _sleep(self) -> None:
        self.awake = False
        self._generation += 1

    # -- frames ---------------------------------------------------------------------------------

    def _plan(self, due_ns: int) -> None:
        self._generation += 1
        generation = self._generation
        self.later(due_ns, lambda: self._tick(generation))

    def _tick(self, generation: int) -> None:
        if generation != self._generation or not self.awake:
            return
        changed = False
        if self.mode == _ACTIVE:
            changed = self._send()
        self._plan(self.now + (_FAST_NS if changed else _STABLE_NS))

    def _send(self) -> bool:
        """Send a measurement; return whether it was much different from the last one."""
        around = self._around(self.now)
        if around is None:
            return False
        share = min(1.0, (self.now - self._since_ns) / _SETTLED_NS)
        true = [share * v for v in (around.pm1_ugm3, around.pm25_ugm3, around.pm10_ugm3)]
        changed = abs(true[1] - self._last) > _CHANGE * max(self._last, 10.0)
        self._last = true[1]
        factor = [1 + 0.5 * min(1.0, max(0.0, (v - _CF_FROM) / (_CF_TO - _CF_FROM))) for v in true]
        counts = (900.0, 260.0, 40.0, 5.0, 1.0, 0.5)
        error = 0x04 if "error-code" in self.faults else 0
        values = [
            *(v * f for v, f in zip(true, factor, strict=True)),
            *true,
            *(v * true[0] / 8 for v in counts),
        ]
        words = [min(0xFFFF, round(v)) for v in values]
        self._frame(struct.pack(">12HBB", *words, _VERSION, error))
        return changed

    def _frame(self, data: bytes) -> None:
        body = b"BM" + struct.pack(">H", len(data) + 2) + data
        self.say(body + struct.pack(">H", sum(body) & 0xFFFF))

"""Nova Fitness SDS011: particles by laser (control protocol V1.3), on a UART.

Asleep it takes no command but the one that wakes it. Its values come up from nothing while the fan
gets the old air out. The reporting mode stays over a power cut.
"""

import random

from citynode.virtual.chips import Around, Timeline
from citynode.virtual.chips.uart import MS, SerialChip

_SECOND = 1000 * MS
_SETTLED_NS = 20 * _SECOND
_BOOT_NS = 800 * MS
_VERSION = bytes((18, 11, 16))


class SDS011(SerialChip):
    """The module; `mute` after "falls-mute" until its supply was off.

    `faults` beside those of `SerialChip`: "falls-mute" (with the next query of data).
    """

    noise = b"\x37\xaa"

    def __init__(self, timeline: Timeline, around: Around, rng: random.Random) -> None:
        super().__init__(timeline, 9600)
        self.id = rng.randbytes(2)
        self.asked_only = False
        self.period_min = 0
        self.working = True
        self.mute = False
        self._around = around
        self._heard = bytearray()
        self._generation = 0
        self.start()

    def start(self) -> None:
        """Start working; what was set for reporting stays."""
        self.mute = False
        self._heard.clear()
        self._boot_ns = self.now + _BOOT_NS
        self._work()

    def spoilt(self, data: bytes) -> bytes:
        """Return a frame whose sum is wrong."""
        return data[:8] + bytes((data[8] ^ 0x01,)) + data[9:]

    def hear(self, data: bytes) -> None:
        """Collect commands of 19 bytes (section 3)."""
        if self.mute or self.now < self._boot_ns:
            return
        self._heard += data
        while len(self._heard) >= 19:
            part = bytes(self._heard[:19])
            fits = part[0] == 0xAA and part[1] == 0xB4 and part[18] == 0xAB
            if not fits or sum(part[2:17]) & 0xFF != part[17]:
                del self._heard[0]
                continue
            del self._heard[:19]
            if part[15:17] in (b"\xff\xff", self.id):
                self._do(part)

    def _do(self, part: bytes) -> None:
        code, setting, value = part[2:5]
        if not self.working and not (code == 6 and setting and value):
            return
        if code == 2:
            if setting:
                self.asked_only = bool(value)
            self._answer(code, setting, int(self.asked_only))
        elif code == 4:
            if "falls-mute" in self.faults:
                self.faults.discard("falls-mute")
                self.mute = True
                return
            self._report()
        elif code == 5:
            self.id = part[13:15]
            self._answer(code, 0, 0)
        elif code == 6:
            was = self.working
            if setting and value and not was:
                self._work()
            self._answer(code, setting, int(self.working if not setting else value))
            if setting and not value:
                self.working = False
                self._generation += 1
        elif code == 7:
            self._frame(0xC5, bytes((7, *_VERSION)))
        elif code == 8:
            if setting:
                self.period_min = min(value, 30)
            self._answer(code, setting, self.period_min)

    def _answer(self, code: int, setting: int, value: int) -> None:
        self._frame(0xC5, bytes((code, setting, value, 0)))

    def _work(self) -> None:
        self.working = True
        self._since_ns = self.now
        self._plan()

    def _plan(self) -> None:
        self._generation += 1
        generation = self._generation
        self.later(self.now + _SECOND, lambda: self._tick(generation))

    def _tick(self, generation: int) -> None:
        if generation != self._generation or self.mute:
            return
        if self.working and not self.asked_only:
            self._report()
        self._plan()

    def _report(self) -> None:
        around = self._around(self.now)
        if around is None:
            return
        share = min(1.0, (self.now - self._since_ns) / _SETTLED_NS)
        pm25 = min(9999, round(10 * share * around.pm25_ugm3))
        pm10 = min(19999, round(10 * share * around.pm10_ugm3))
        self._frame(0xC0, pm25.to_bytes(2, "little") + pm10.to_bytes(2, "little"))

    def _frame(self, kind: int, data: bytes) -> None:
        body = data + self.id
        self.say(bytes((0xAA, kind)) + body + bytes((sum(body) & 0xFF, 0xAB)), after_ms=5)

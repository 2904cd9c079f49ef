"""Benewake's TF lidars (TF-Luna manual A05, TF02-Pro A02, TFmini-S A00), on a UART.

Where nobody knows what is before it, it sends what it sends when it sees nothing.
"""

from abc import ABC, abstractmethod

from citynode.virtual.chips import Range, Timeline
from citynode.virtual.chips.uart import MS, SerialChip

_VERSION, _RESET, _RATE, _TRIGGER, _UNIT = 0x01, 0x02, 0x03, 0x04, 0x05
_OUTPUT, _RESTORE, _SAVE = 0x07, 0x10, 0x11
_CENTIMETRES, _MILLIMETRES = 1, 6
_FACTORY = {_RATE: 100, _UNIT: _CENTIMETRES, _OUTPUT: 1}
_START_NS = 80 * MS
_SATURATED = 65535
_WARM = (40 + 256) * 8


def closed(data: bytes) -> bytes:
    """Return a frame with its sum."""
    return data + bytes((sum(data) & 0xFF,))


class TFLidar(SerialChip, ABC):
    """The lidar; `settings` is what it works with, `saved` what it starts with.

    `faults` beside those of `SerialChip`: "deaf" (hears no commands),
    "dazzled" (strength 65535, and a distance that looks like one).
    """

    noise = b"\x5a\x59\x59\x13\x59"
    version = (0, 0, 0)
    commands = True
    weakest = 100

    def __init__(self, timeline: Timeline, seen: Range, *, saved: dict[int, int] | None = None):
        super().__init__(timeline, 115200)
        self.saved = _FACTORY | (saved or {})
        self._seen = seen
        self._heard = bytearray()
        self._generation = 0
        self.start()

    # -- what a family fills in -----------------------------------------------------------------

    @abstractmethod
    def none(self, strength: int) -> int:
        """Return the distance (cm) that it sends in the place of one that it has not."""

    # -- what they have in common ---------------------------------------------------------------

    def start(self) -> None:
        """Start with what was saved."""
        self.settings = dict(self.saved)
        self._heard.clear()
        self._plan(self.now + _START_NS)

    def spoilt(self, data: bytes) -> bytes:
        """Return a frame whose sum is wrong."""
        return data[:-1] + bytes((data[-1] ^ 0x04,))

    def hear(self, data: bytes) -> None:
        """Collect commands; a sum of zero is taken, too."""
        if "deaf" in self.faults or not self.commands:
            return
        self._heard += data
        while len(self._heard) >= 4:
            length = self._heard[1]
            if self._heard[0] != 0x5A or not 4 <= length <= 8:
                del self._heard[0]
                continue
            if len(self._heard) < length:
                return
            part = bytes(self._heard[:length])
            if part[-1] not in (0, sum(part[:-1]) & 0xFF):
                del self._heard[0]
                continue
            del self._heard[:length]
            self._do(part[2], int.from_bytes(part[3:-1], "little"))

    def _do(self, code: int, value: int) -> None:
        answer = bytes((0,))
        if code == _VERSION:
            answer = bytes(self.version)
        elif code == _TRIGGER:
            self._send()
            return
        elif code in self.settings:
            self.settings[code] = value
            answer = value.to_bytes(2 if code == _RATE else 1, "little")
        elif code == _SAVE:
            self.saved = dict(self.settings)
        elif code == _RESTORE:
            self.saved = self.settings = dict(_FACTORY)
        elif code != _RESET:
            return
        self.say(closed(bytes((0x5A, len(answer) + 4, code)) + answer))
        if code == _RESET:
            self.start()
        elif code == _RATE:
            self._plan(self.now)

    def _plan(self, due_ns: int) -> None:
        self._generation += 1
        generation = self._generation
        if self.settings[_RATE]:
            self.later(due_ns, lambda: self._tick(generation))

    def _tick(self, generation: int) -> None:
        if generation == self._generation:
            self._plan(self.now + 1000 * MS // self.settings[_RATE])
            if self.settings[_OUTPUT]:
                self._send()

    def _send(self) -> None:
        seen = self._seen(self.now)
        mm, strength = (0.0, 0) if seen is None else seen
        strength = min(_SATURATED, max(0, strength))
        distance = mm if self.settings[_UNIT] == _MILLIMETRES else mm / 10
        if "dazzled" in self.faults:
            strength = _SATURATED
        elif not mm or strength < self.weakest or strength == _SATURATED:
            distance = self.none(strength)
        body = min(0xFFFF, round(distance)).to_bytes(2, "little") + strength.to_bytes(2, "little")
        self.say(closed(b"\x59\x59" + body + self.tail()))

    def tail(self) -> bytes:
        """Return what is behind the strength: its temperature."""
        return _WARM.to_bytes(2, "little")

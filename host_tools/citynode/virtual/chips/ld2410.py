"""Hi-Link LD2410: presence radar (serial protocol V1.02), on a UART at 256000 baud.

Its energies are the strength of the echo in percent. Where nobody knows what is before it, it sees
nothing.
"""

import struct
from collections.abc import Callable

from citynode.virtual.chips import Timeline
from citynode.virtual.chips.uart import MS, SerialChip

# Moving and still target at a time in ns: distance (mm) and energy (%), None where there is none.
Target = tuple[float, int] | None
Presence = Callable[[int], tuple[Target, Target]]

_PERIOD_NS = 100 * MS
_START_NS = 300 * MS
_GATE_CM, _GATES = 75, 8
_ENABLE, _END, _VERSION = 0xFF, 0xFE, 0xA0
_ENGINEERING, _NO_ENGINEERING = 0x62, 0x63


class LD2410(SerialChip):
    """The module; `engineering` is the long report, which a start of the module ends.

    `faults` beside those of `SerialChip`: "other-id", "refuses" (commands fail).
    """

    noise = b"\xf4\xf3\xfd\xfc\xf4"

    def __init__(self, timeline: Timeline, seen: Presence) -> None:
        super().__init__(timeline, 256_000)
        self._seen = seen
        self._heard = bytearray()
        self.start()

    def start(self) -> None:
        """Start to report."""
        self.engineering = self.enabled = False
        self._heard.clear()
        self.later(self.now + _START_NS, self._tick)

    def spoilt(self, data: bytes) -> bytes:
        """Return a frame whose end is wrong; it has no sum."""
        return data[:-1] + bytes((data[-1] ^ 0x01,))

    def hear(self, data: bytes) -> None:
        """Collect commands (section 2.1)."""
        self._heard += data
        while len(self._heard) >= 12:
            length = int.from_bytes(self._heard[4:6], "little") + 10
            if not self._heard.startswith(b"\xfd\xfc\xfb\xfa") or length > 64:
                del self._heard[0]
                continue
            if len(self._heard) < length:
                return
            part = bytes(self._heard[:length])
            del self._heard[:length]
            if part.endswith(b"\x04\x03\x02\x01"):
                self._do(part[6])

    def _do(self, code: int) -> None:
        failed = (not self.enabled and code != _ENABLE) or "refuses" in self.faults
        data = b""
        if failed:
            pass
        elif code == _ENABLE:
            self.enabled = True
            data = bytes.fromhex("01004000")
        elif code == _END:
            self.enabled = False
        elif code == _VERSION:
            kind = b"\x01\x02" if "other-id" in self.faults else b"\x00\x01"
            data = kind + bytes.fromhex("020116240622")
        elif code in (_ENGINEERING, _NO_ENGINEERING):
            self.engineering = code == _ENGINEERING
        else:
            failed = True
        body = bytes((code, 1, failed, 0)) + data
        self.say(self.frame(b"\xfd\xfc\xfb\xfa", body, b"\x04\x03\x02\x01"), after_ms=2)

    @staticmethod
    def frame(head: bytes, body: bytes, tail: bytes) -> bytes:
        """Return a frame with its length."""
        return head + len(body).to_bytes(2, "little") + body + tail

    def _tick(self) -> None:
        self.later(self.now + _PERIOD_NS, self._tick)
        if not self.enabled:
            self.say(self.frame(b"\xf4\xf3\xf2\xf1", self._report(), b"\xf8\xf7\xf6\xf5"))

    def _report(self) -> bytes:
        moving, still = self._seen(self.now)
        far = _GATE_CM * (_GATES + 1)
        cm = [min(far, round(each[0] / 10)) if each else 0 for each in (moving, still)]
        energy = [min(100, each[1]) if each else 0 for each in (moving, still)]
        nearest = min([d for d, each in zip(cm, (moving, still), strict=True) if each] or [0])
        state = (moving is not None) | (still is not None) << 1
        basic = struct.pack("<BHBHBH", state, cm[0], energy[0], cm[1], energy[1], nearest)
        if not self.engineering:
            return b"\x02\xaa" + basic + b"\x55\x00"
        gates = bytearray()
        for place, value in zip(cm, energy, strict=True):
            gates += bytes(value if place // _GATE_CM == gate else 0 for gate in range(_GATES + 1))
        return b"\x01\xaa" + basic + bytes((_GATES, _GATES)) + gates + b"\x00\x00\x55\x00"

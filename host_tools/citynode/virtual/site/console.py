"""A board's serial port as a soak hears it: whole lines, with what noise does to them."""

import random
from collections.abc import Callable

from citynode.soak.site import Ear
from citynode.virtual.world.clock import NS, Clock

_LONGEST = 4096
_GARBLED, _DROPPED = "garbled", "dropped"


class Console:
    """The log of one board that passes its output on to an ear as lines."""

    def __init__(self, clock: Clock, ear: Ear, node: str) -> None:
        self._clock = clock
        self._ear = ear
        self._node = node
        self._partial = bytearray()
        self._noises: list[tuple[str, float, random.Random]] = []

    def spoil(self, way: str, share: float, seed: int) -> Callable[[], None]:
        """Have a share of the bytes changed or dropped until what is returned is called."""
        noise = (way, share, random.Random(seed))
        self._noises.append(noise)

        def over() -> None:
            self._noises.remove(noise)
            self._partial.clear()  # the beginning of a line is no line

        return over

    def note(self, who: str, kind: str, detail: str = "", /) -> None:
        """Leave alone what no port shows."""

    def output(self, who: str, data: bytes, /) -> None:
        """Take bytes that have left the port."""
        for noise in self._noises:
            data = _spoil(data, *noise)
        self._partial += data
        *lines, rest = self._partial.split(b"\n")
        for line in lines:
            self._tell(line)
        self._partial = bytearray(rest[-_LONGEST:])

    def end_output(self, who: str, /) -> None:
        """Take note that nothing more comes before the next start."""
        if self._partial:
            self._tell(self._partial)
            self._partial.clear()

    def _tell(self, line: bytes | bytearray) -> None:
        text = line.rstrip(b"\r").decode("utf-8", "backslashreplace")
        self._ear.line(self._node, text, self._clock.now_ns() / NS)


def _spoil(data: bytes, way: str, share: float, rng: random.Random) -> bytes:
    spoilt = bytearray()
    for byte in data:
        if rng.random() >= share:
            spoilt.append(byte)
        elif way == _GARBLED:
            spoilt.append(byte ^ 1 << rng.randrange(8))
    return bytes(spoilt)

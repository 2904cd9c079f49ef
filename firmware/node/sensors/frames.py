"""Finds frames in the bytes of a UART, also behind noise and in the middle of what is no frame."""


class Scanner:
    """Collects bytes of `uart` until `judge(buffer, count)` finds a frame at the beginning.

    `judge` returns the length of a whole frame, 0 while it needs more, and -1 where no frame can
    begin there. Bytes of what was no frame are looked at again, one place further on: the real
    frame may begin in them (`42 42 4D`). `size` is the longest frame.
    """

    def __init__(self, uart, size: int, judge) -> None:
        self._uart = uart
        self._judge = judge
        self._count = 0
        self._taken = 0
        self._chunk = bytearray(32)
        self._begin = self._end = 0
        self.frame = bytearray(size)

    def flush(self) -> None:
        """Forget all that has come so far."""
        while self._uart.any():
            if not self._uart.readinto(self._chunk):
                break
        self._count = self._taken = 0
        self._begin = self._end = 0

    def poll(self) -> int:
        """Return the length of the next frame, which is in `frame` until the next call, or 0."""
        frame = self.frame
        self._drop(self._taken)
        self._taken = 0
        while True:
            while self._count:
                length = self._judge(frame, self._count)
                if length > 0:
                    self._taken = length
                    return length
                if length == 0:
                    break
                self._drop(1)
            if self._begin == self._end:
                if not self._uart.any():
                    return 0
                self._begin = 0
                self._end = self._uart.readinto(self._chunk) or 0
                if not self._end:
                    return 0
            frame[self._count] = self._chunk[self._begin]
            self._begin += 1
            self._count += 1

    def _drop(self, number: int) -> None:
        frame = self.frame
        self._count -= number
        for i in range(self._count):
            frame[i] = frame[i + number]

"""Ctrl-C for verbs that set up a lot: taken once, and not in the middle of setting up."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Self


class CtrlC:
    """While this is open, the first Ctrl-C raises KeyboardInterrupt and later ones do nothing.

    So what has to be undone is undone, however impatient somebody is. Belongs to the main thread.
    """

    def __init__(self) -> None:
        self._holding = False
        self._pressed = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Put it off until something that has to be undone is complete."""
        pressed_before = self._pressed
        self._holding = True
        try:
            yield
        finally:
            self._holding = False
        if self._pressed and not pressed_before:
            raise KeyboardInterrupt

    def _take(self, number: int, frame: FrameType | None) -> None:
        first, self._pressed = not self._pressed, True
        if first and not self._holding:
            raise KeyboardInterrupt

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

"""Turns on a bench whose networks are for all its boards: who cuts one is alone meanwhile."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import filelock

from citynode.errors import CitynodeError

_WAIT_S = 280.0  # for tests on other boards to end; less than pytest-timeout's usual five minutes


@contextlib.contextmanager
def turn(folder: Path, mine: Sequence[str], others: Sequence[str] = ()) -> Iterator[None]:
    """Hold the locks of a test's boards, and of all others if it cuts what they use.

    A test waits at a gate that who wants to be alone keeps shut, so that nobody waits for ever. The
    locks are the system's: a crash does not leave them behind. Raises CitynodeError.
    """
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder, "gate"):
                for name in sorted({*mine, *others}):
                    held.enter_context(_lock(folder, name))
        except filelock.Timeout:
            raise CitynodeError(
                f"the other boards were not free in {_WAIT_S:.0f} s",
                "run fewer tests at once, or give those that cut a network a bench of their own",
            ) from None
        yield


@contextlib.contextmanager
def _lock(folder: Path, name: str) -> Iterator[None]:
    safe = re.sub(r"[^A-Za-z0-9.-]+", "_", name)
    lock = filelock.FileLock(folder / f"hil-{safe}.lock", timeout=_WAIT_S)
    with lock:
        yield

"""What tells a signal's handler whether it may schedule just now; found where the interpreter has it.

`micropython.schedule` takes a lock of the interpreter's and raises if its queue is full. A handler
may do neither. The lock may be taken again by the thread that has it, but in the few steps in which
that thread has taken it and is not yet written down as its owner (or is no more), a handler that
interrupts it would wait for itself for ever. The C code is right not to expect that: it has no
handlers in Python.
"""

import _native
import uctypes

DEPTH = 4  # of the interpreter's queue
_POINTER = 8
# A `pthread_mutex_t` of Linux on 64-bit machines that may be taken again and is free.
_LOCK = {
    "held": uctypes.INT32 | 0,
    "count": uctypes.INT32 | 4,
    "owner": uctypes.INT32 | 8,
}
_FREE = b"\0" * 16 + b"\1" + b"\0" * 23
_FULL = -1  # a count that cannot grow: taking the lock again fails then, giving it back counts down


def _nothing(_):
    pass


def _span():
    """Return where the interpreter's variables begin and end, which its modules' dictionary is in."""
    inside = id(_native.sys.modules)
    start = end = 0
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, mode = line.split()[:2]
            first, last = (int(each, 16) for each in span.split("-"))
            if mode[:2] != "rw":
                continue
            if first != end:
                if start <= inside < end:
                    break
                start = first
            end = last
    return start, end


def _is_scheduling(lock, schedule, thread):
    """Tell whether it is this lock that scheduling takes. Nothing else may happen meanwhile."""
    lock.owner = thread
    lock.held = 1
    lock.count = _FULL
    schedule(_nothing, None)
    count = lock.count
    lock.count = 0
    lock.owner = 0
    lock.held = 0
    return count == _FULL - 1


def _find_lock(start, memory, schedule, thread):
    at = memory.find(_FREE)
    while at >= 0:
        if at % _POINTER == 0:
            lock = uctypes.struct(start + at, _LOCK)
            if _is_scheduling(lock, schedule, thread):
                return lock
        at = memory.find(_FREE, at + 1)
    return None


def _find_length(start, end, schedule):
    """Return the byte that has the length of the queue, which nothing is in now."""
    memory = uctypes.bytearray_at(start, end - start)
    # No jump in between, where what is scheduled would be called.
    none = bytes(memory)
    schedule(_nothing, None)
    one = bytes(memory)
    schedule(_nothing, None)
    two = bytes(memory)
    found = [at for at in range(len(none)) if two[at] == 2 and one[at] == 1 and none[at] == 0]
    return uctypes.bytearray_at(start + found[0], 1) if len(found) == 1 else None


def find(libc):
    """Return the lock (`held` is 0 while it is free) and the queue's length (`[0]`).

    None where the interpreter, or the machine, is not as expected.
    """
    schedule = _native.micropython.schedule
    try:
        thread = libc.func("i", "gettid", "")()
        start, end = _span()
    except OSError:
        return None
    lock = _find_lock(start, bytes(uctypes.bytearray_at(start, end - start)), schedule, thread)
    length = _find_length(start, end, schedule)
    _native.gc.collect()
    return None if lock is None or length is None else (lock, length)

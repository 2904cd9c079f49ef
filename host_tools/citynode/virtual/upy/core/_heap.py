"""The heap as the chip has it: words of the interpreter here are twice as wide, and it is locked
for programs, not for the modules that stand in for C code.
"""

import _native

_gc = _native.gc
_lock = _native.micropython.heap_lock
_unlock = _native.micropython.heap_unlock
_INITIAL = 56_000  # bytes that the port starts with; it doubles them as long as there is RAM
_BLOCK = 16
depth = 0  # how often the program has locked the heap
own = 0  # bytes that the virtual board's own modules take
per_byte = 2  # bytes that may be taken here before a collection for each that the program has said
spare = 0  # bytes for the emergency exceptions that the program has asked for


def lock():
    global depth
    depth += 1
    _lock()


def unlock():
    global depth
    if depth:
        depth -= 1
        _unlock()
    return depth


def release():
    """Unlock the heap whatever the program did; return what `restore` takes."""
    global depth
    was, depth = depth, 0
    for _ in range(was):
        _unlock()
    return was


def restore(was):
    """Lock the heap again."""
    global depth
    depth = was
    for _ in range(was):
        _lock()


def free():
    """Return the bytes that are free, as the chip counts them."""
    return _gc.mem_free() // 2


def used():
    """Return the bytes that the program has taken, as the chip counts them."""
    return max(0, _gc.mem_alloc() - own) // 2


def info():
    """Print what `micropython.mem_info` begins with."""
    taken, rest = used(), free()
    total = _INITIAL
    while total < taken:
        total *= 2
    total = min(total, taken + rest)
    print("stack: %d out of 15360" % (_native.micropython.stack_use() // 2))
    print(
        "GC: total: %d, used: %d, free: %d, max new split: %d"
        % (total, taken, total - taken, taken + rest - total)
    )
    # Blocks cannot be told apart from here; these are the usual shares of small ones.
    print(
        " No. of 1-blocks: %d, 2-blocks: %d, max blk sz: %d, max free sz: %d"
        % (taken // 70, taken // 300, taken // 160, (total - taken) // _BLOCK)
    )

"""`gc` with figures of the chip: words of the interpreter here are twice as wide."""

import _native

_gc = _native.gc
disable = _gc.disable
enable = _gc.enable
isenabled = _gc.isenabled
_own = 0  # bytes that the virtual board's own modules take


def collect():
    _gc.collect()


def threshold(*amount):
    if not amount:
        n = _gc.threshold()
        return n if n < 0 else n // 2
    return _gc.threshold(amount[0] if amount[0] < 0 else amount[0] * 2)


def mem_free():
    return _gc.mem_free() // 2


def mem_alloc():
    return (_gc.mem_alloc() - _own) // 2

"""`gc` with figures of the chip: words of the interpreter here are twice as wide."""

import _heap
import _native

_gc = _native.gc
disable = _gc.disable
enable = _gc.enable
isenabled = _gc.isenabled
mem_free = _heap.free
mem_alloc = _heap.used


def collect():
    _gc.collect()


def threshold(*amount):
    if not amount:
        n = _gc.threshold()
        return n if n < 0 else n // _heap.per_byte
    return _gc.threshold(amount[0] if amount[0] < 0 else amount[0] * _heap.per_byte)

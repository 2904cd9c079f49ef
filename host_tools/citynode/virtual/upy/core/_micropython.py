"""`micropython` with the interrupt character at the host, where the UART's interrupt is."""

import _heap
import _native
from _rpc import call as _call

_mp = _native.micropython
const = _mp.const
heap_lock = _heap.lock
heap_unlock = _heap.unlock
opt_level = _mp.opt_level
qstr_info = _mp.qstr_info
schedule = _mp.schedule
RingIO = _mp.RingIO


def kbd_intr(char):
    _call("kbd", char)


def alloc_emergency_exception_buf(size):
    if size < 0:
        raise ValueError
    _heap.spare = size


def stack_use():
    return _mp.stack_use() // 2


def mem_info(verbose=None):
    _heap.info()
    if verbose is not None:
        _mp.mem_info(verbose)

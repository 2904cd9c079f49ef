"""`micropython` with the interrupt character at the host, where the UART's interrupt is."""

import _native
from _rpc import call

_mp = _native.micropython
const = _mp.const
heap_lock = _mp.heap_lock
heap_unlock = _mp.heap_unlock
mem_info = _mp.mem_info
opt_level = _mp.opt_level
qstr_info = _mp.qstr_info
schedule = _mp.schedule
stack_use = _mp.stack_use
RingIO = _mp.RingIO


def kbd_intr(char):
    call("kbd", char)


def alloc_emergency_exception_buf(size):
    if size < 0:
        raise ValueError

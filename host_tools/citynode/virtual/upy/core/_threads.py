"""`_thread` of the port; in virtual time no second one can be started (see `_lives`)."""

import _irq
import _thread as _native_thread

LockType = _native_thread.LockType
allocate_lock = _native_thread.allocate_lock
exit = _native_thread.exit
get_ident = _native_thread.get_ident
stack_size = _native_thread.stack_size


def start_new_thread(*args):
    return _irq.start_thread(_native_thread.start_new_thread, *args)

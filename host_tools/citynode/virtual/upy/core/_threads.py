"""`_thread` in virtual time: one thread, as threads that compute at once have no one order."""

import _thread as _native_thread

LockType = _native_thread.LockType
allocate_lock = _native_thread.allocate_lock
exit = _native_thread.exit
get_ident = _native_thread.get_ident
stack_size = _native_thread.stack_size


def start_new_thread(*args):
    raise OSError("can't create thread in virtual time")

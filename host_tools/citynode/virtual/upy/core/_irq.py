"""Soft interrupts: the host signals, the scheduler calls what was attached to a channel."""

import _rpc
import micropython

_handlers = {}
_SIGINT = 2
_SIGUSR1 = 10 if not hasattr(micropython, "_darwin") else 30
# What the interpreter stops its other threads with for a collection (SIGRTMIN + 5 of Linux), and
# where `struct sigaction` has the signals that wait meanwhile.
_SIG_COLLECT = 39
_SIGACTION_SIZE, _MASK_AT = 152, 8


def attach(channel, fn):
    """Have `fn(value)` called for every interrupt of the channel; None detaches it."""
    if fn is None:
        _handlers.pop(channel, None)
    else:
        _handlers[channel] = fn


def run(handler, argument):
    """Call a program's handler from a soft interrupt: what it raises is shown and forgotten."""
    if handler is None:
        return
    try:
        handler(argument)
    except BaseException as error:
        from sys import print_exception

        print_exception(error)


def _take(_):
    if _rpc.busy():
        _rpc.put_off = _take
        return
    for channel, value in _rpc.call("irq.take"):
        fn = _handlers.get(channel)
        if fn is not None:
            fn(value)


def _on_signal(_):
    try:
        micropython.schedule(_take, None)
    except RuntimeError:
        pass  # the queue is full; the host signals again


def _calm_collection(libc):
    """Let no soft IRQ into a thread that has stopped for a collection.

    Who collects holds the lock that scheduling needs, and waits for all others.
    """
    sigaction = libc.func("i", "sigaction", "ipp")
    action = bytearray(_SIGACTION_SIZE)
    if sigaction(_SIG_COLLECT, None, action) == 0:
        for number in (_SIGINT, _SIGUSR1):
            action[_MASK_AT + (number - 1) // 8] |= 1 << (number - 1) % 8
        sigaction(_SIG_COLLECT, action, None)


def start():
    """Install the signal handler; it must stay referenced for as long as the program runs."""
    global _callback
    import ffi

    libc = ffi.open(None)
    _callback = ffi.callback("v", _on_signal, "i", lock=True)
    libc.func("p", "signal", "ip")(_SIGUSR1, _callback)
    try:
        # A board whose host dies has lost its power: PR_SET_PDEATHSIG, SIGKILL (Linux).
        libc.func("i", "prctl", "iLLLL")(1, 9, 0, 0, 0)
        _calm_collection(libc)
    except OSError:
        pass
    _rpc.call("irq.ready")

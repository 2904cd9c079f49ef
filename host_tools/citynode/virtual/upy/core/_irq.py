"""Soft interrupts: the host signals, the scheduler calls what was attached to a channel."""

import _rpc
import micropython

_handlers = {}
_SIGUSR1 = 10 if not hasattr(micropython, "_darwin") else 30


def attach(channel, fn):
    """Have `fn(value)` called for every interrupt of the channel; None detaches it."""
    if fn is None:
        _handlers.pop(channel, None)
    else:
        _handlers[channel] = fn


def _take(_):
    if _rpc.busy:
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
    except OSError:
        pass
    _rpc.call("irq.ready")

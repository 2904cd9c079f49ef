"""Soft interrupts: the host signals, the scheduler calls what was attached to a channel."""

import _ctrlc
import _rpc
import ffi
import micropython

_handlers = {}
_PINS = 100  # channels from here on are pins
_PINS_END = 200
edges = False  # whether a pin interrupts
_callbacks = []  # must stay referenced for as long as the program runs
_SIGUSR1 = 10 if not hasattr(micropython, "_darwin") else 30
# What the interpreter stops its other threads with for a collection (SIGRTMIN + 5 of Linux), and
# where `struct sigaction` has the signals that wait meanwhile.
_SIG_COLLECT = 39
_SIGACTION_SIZE, _MASK_AT = 152, 8


def attach(channel, fn):
    """Have `fn(value)` called for every interrupt of the channel; None detaches it."""
    global edges
    if fn is None:
        _handlers.pop(channel, None)
    else:
        _handlers[channel] = fn
    edges = any(_PINS <= each < _PINS_END for each in _handlers)


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
    if _rpc.busy() or _ctrlc.held:
        _rpc.put_off = _take
        return
    for channel, value in _rpc.call("irq.take"):
        fn = _handlers.get(channel)
        if fn is not None:
            fn(value)


def _on_signal(_):
    try:
        # Not followed by a jump, where a Ctrl-C that waits would come out, and go no further.
        return micropython.schedule(_take, None)
    except RuntimeError:
        return  # the queue is full; the host signals again


def _calm_collection(libc):
    """Let no soft IRQ into a thread that has stopped for a collection.

    Who collects holds the lock that scheduling needs, and waits for all others.
    """
    sigaction = libc.func("i", "sigaction", "ipp")
    action = bytearray(_SIGACTION_SIZE)
    if sigaction(_SIG_COLLECT, None, action) == 0:
        for number in (_ctrlc.SIGINT, _SIGUSR1):
            action[_MASK_AT + (number - 1) // 8] |= 1 << (number - 1) % 8
        sigaction(_SIG_COLLECT, action, None)


def _install(number, handler):
    libc = ffi.open(None)
    callback = ffi.callback("v", handler, "i", lock=True)
    _callbacks.append(callback)
    libc.func("p", "signal", "ip")(number, callback)
    libc.func("i", "siginterrupt", "ii")(number, 1)  # a wait ends, and what is pending comes out


def start():
    """Install the signal handlers."""
    _install(_SIGUSR1, _on_signal)
    _ctrlc.start(_install)
    libc = ffi.open(None)
    try:
        # A board whose host dies has lost its power: PR_SET_PDEATHSIG, SIGKILL (Linux).
        libc.func("i", "prctl", "iLLLL")(1, 9, 0, 0, 0)
        _calm_collection(libc)
    except OSError:
        pass
    _rpc.call("irq.ready")

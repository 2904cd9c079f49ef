"""Soft interrupts: the host signals, the scheduler calls what was attached to a channel."""

import _ctrlc
import _native
import _rpc
import _sched
import ffi
import micropython

_handlers = {}
_PINS = 100  # channels from here on are pins
_PINS_END = 200
edges = False  # whether a pin interrupts
off = 0  # how often the program has disabled them
_callbacks = []  # must stay referenced for as long as the program runs
_DARWIN = _native.sys.platform == "darwin"
_SIGUSR1 = 30 if _DARWIN else 10
_SIG_BLOCK, _SIG_SETMASK = (1, 3) if _DARWIN else (0, 2)
_SIGSET = 128  # bytes of a `sigset_t`
_libc = ffi.open(None)
_sigmask = _libc.func("i", "pthread_sigmask", "ipp")
_schedule = micropython.schedule
_asked = bytearray(1)  # 1 from the signal to the call of `_take`
_lock = _queued = None


def attach(channel, fn):
    """Have `fn(value)` called for every interrupt of the channel; None detaches it."""
    global edges
    if fn is None:
        _handlers.pop(channel, None)
    else:
        _handlers[channel] = fn
    edges = any(_PINS <= each < _PINS_END for each in _handlers)


def run(handler, argument):
    """Call a program's handler from a soft interrupt: what it raises is shown and forgotten.

    A Ctrl-C that comes now is the handler's, one that came before is the program's.
    """
    if handler is None:
        return
    try:
        _ctrlc.lend()
        handler(argument)
        _ctrlc.hold()
    except BaseException as error:
        _ctrlc.hold()
        from sys import print_exception

        print_exception(error)


def _take(_):
    _asked[0] = 0
    if _ctrlc.held:
        _ctrlc.late[0] = 1
        return
    if _rpc.busy() or off:
        _rpc.put_off = _take
        return
    _ctrlc.hold()
    for channel, value in _rpc.call("irq.take"):
        fn = _handlers.get(channel)
        if fn is not None:
            fn(value)
    return _ctrlc.let_go(None)


def _ask():
    _asked[0] = 1
    _schedule(_take, None)


def _later():
    pass  # the host signals again


_ways = (_later, _ask)

# A handler of a signal is straight-line code of small frames that takes no memory and raises
# nothing: it may come in the middle of C code, and at a jump everything may come out.


def _on_signal(_):
    _ways[(_lock.held == 0) & (_asked[0] == 0) & (_queued[0] < _sched.DEPTH)]()


def _on_signal_blindly(_):
    try:
        return _schedule(_take, None)
    except RuntimeError:
        return


_again = _on_signal_blindly


def _no_more_held():
    # The file system may go on, and hold it up once more.
    _ctrlc.late[0] = 0
    _again(None)


_ctrlc.then[1] = _no_more_held


def start_thread(start, *args):
    """Return `start(*args)`, which starts a thread. Signals are the first thread's alone.

    From now on they end no wait within C code: who collects waits until each thread has looked
    through its stack, and would go on too early. Sleeps, polls, and sockets with a timeout are
    interrupted all the same.
    """
    signals = bytearray(_SIGSET)
    for number in (_SIGUSR1, _ctrlc.SIGINT):
        _libc.func("i", "siginterrupt", "ii")(number, 0)
        signals[(number - 1) // 8] |= 1 << (number - 1) % 8
    before = bytearray(_SIGSET)
    # A thread begins with the mask of who starts it.
    _sigmask(_SIG_BLOCK, signals, before)
    try:
        return start(*args)
    finally:
        _sigmask(_SIG_SETMASK, before, None)


def _install(number, handler, lock=False):
    callback = ffi.callback("v", handler, "i", lock=lock)
    _callbacks.append(callback)
    _libc.func("p", "signal", "ip")(number, callback)
    _libc.func("i", "siginterrupt", "ii")(number, 1)  # a wait ends, and what is pending comes out


def start():
    """Install the signal handlers."""
    global _lock, _queued, _again
    found = _sched.find(_libc)
    if found:
        _lock, _queued = found
        _again = _on_signal
        _install(_SIGUSR1, _again)
    else:
        _install(_SIGUSR1, _again, lock=True)
    _ctrlc.start(_install)
    try:
        # A board whose host dies has lost its power: PR_SET_PDEATHSIG, SIGKILL (Linux).
        _libc.func("i", "prctl", "iLLLL")(1, 9, 0, 0, 0)
    except OSError:
        pass
    _rpc.call("irq.ready")

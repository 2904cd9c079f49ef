"""Starts of the program in virtual time: each is a child of the process that has loaded it all."""

import _clock
import _native
import _virtual
import json
from micropython import const

_COST = const(10_000)  # as in `_virtual`
_SIGKILL = const(9)


def next_life(facts):
    """Return in a child for each start of the program, with the facts that hold then."""
    import ffi

    libc = ffi.open(None)
    fork = libc.func("i", "fork", "")
    waitpid = libc.func("i", "waitpid", "ipi")
    getpid = libc.func("i", "getpid", "")
    while True:
        _virtual.exchange(["life"])
        child = fork()
        if child == 0:
            break
        waitpid(child, None, 0)
        _native.gc.collect()
    _die_with_parent()
    _virtual.exchange(["born", getpid()])
    facts = json.loads(_virtual.call("app.facts"))
    _clock._offset_ns = facts["clock_offset_ns"]
    import random

    random.seed()
    _virtual.cost = _COST
    return facts


def _die_with_parent():
    """A board whose host dies has lost its power: PR_SET_PDEATHSIG (Linux)."""
    import ffi

    try:
        ffi.open(None).func("i", "prctl", "iLLLL")(1, _SIGKILL, 0, 0, 0)
    except OSError:
        pass


def _refuse(*args):
    # Threads that compute at once have no one order.
    raise OSError("can't create thread in virtual time")


def _begin(uptime_us, offset_ns):
    """Take over the time of day; the time since the start came with the first answer."""
    _die_with_parent()
    import _facade
    import _port
    import _select
    import _sockets
    import _threads

    _threads.start_new_thread = _refuse
    _facade.module("select", _select)
    _facade.module("socket", _sockets)
    _port.begin()


_native.next_life = next_life
_clock.start = _begin

"""Virtual time: the clock stands still while the program computes, and all waiting is the host's.

`virtual/soc/lockstep.py` is the other end and has the format. The board's time is kept here, and
goes on by `_COST` with each look at the clock and each call, so that a loop which waits for a time,
a pin or a register ends. Up to `_horizon` nothing can happen elsewhere: so far the clock may be
looked at without asking the host.

This module takes the place of parts of `_rpc`, `_native` and `_clock` before others import them.
"""

import _heap
import _native
import _rpc
import builtins
import json
import micropython
import sys
from struct import pack_into, unpack_from

_COST = 10_000  # ns: what a look at the clock or a call takes, with the bytecode around it
# How far the clock may be looked at beyond the horizon: the latency of a soft interrupt.
_SLACK = 200_000
_FOREVER = -1
_MS = 1_000_000
# Calls that only read what the host says the change of (`_NETWORK`), or other calls of that kind.
_STEADY = ("wlan.isconnected", "wlan.status")
_NONE = object()
_IRQ, _INTERRUPT, _NETWORK = 1, 2, 4
_HEAD = 26
_REST = _HEAD - 4  # what of an answer's length is in its head
_TWICE = (0, 0)

_file = open(int(sys.argv[0]), "r+b")
_read_into = _file.readinto
_read = _file.read
_write = _file.write
_head = bytearray(_HEAD)
calls = 0  # of the hardware
_now = 0  # ns since the start of the board
_horizon = 0
_cost = 0  # `_COST` once the program runs
_fed = 0  # when the watchdog was fed, if the host does not know yet
_known = {}  # answers of steady calls
printed = False  # whether there is output that the host has not put a time to
_scheduled = False  # whether `_take` is to run
_late = False  # whether there was no room for it
sockets_changed = False  # whether the host knows of sockets what is not known here


def _exchange(items, blob=b""):
    """Ask the host; its answer moves the clock."""
    global _now, _horizon, _fed, printed
    text = json.dumps(items).encode()
    message = bytearray(24)
    pack_into("<IQQI", message, 0, 20 + len(text) + len(blob), _now, _fed, len(text))
    _fed = 0
    printed = False
    # No jump from here until the answer is there: what a program has scheduled may run at a jump,
    # and may ask the host itself.
    _write(message + text + blob)
    _read_into(_head)
    length, _now, _horizon, flags, status, size = unpack_from("<IQQBBI", _head, 0)
    answer = _read(length - _REST)
    value = None
    if size:
        value = json.loads(answer[:size])
        if isinstance(value, (dict, list)):
            value = _rpc._fill(value, answer, size)[0]
    if flags:
        _deliver(flags)
    if status:
        _fail(status, value)
    return value


def _fail(status, value):
    if status == 1:
        raise OSError(value)
    kind = getattr(builtins, value[0])
    raise kind(value[1]) if value[1] else kind()


def _deliver(flags):
    """Have soft interrupts taken, and interrupt the program if someone has typed Ctrl-C."""
    global _scheduled, _late, sockets_changed
    if flags & _NETWORK:
        sockets_changed = True
        _known.clear()
    if flags & _IRQ and not _scheduled:
        try:
            micropython.schedule(_take, None)
            _scheduled = True
            _late = False
        except RuntimeError:
            _late = True  # the queue is full
    if flags & _INTERRUPT:
        raise KeyboardInterrupt


def _take(_):
    global _scheduled
    _scheduled = False
    _irq._take(None)


def call(name, a=_NONE, b=_NONE, c=_NONE, d=_NONE, e=_NONE, f=_NONE, g=_NONE):
    """Call the host's handler `name`; its OSError or other exception is raised here."""
    global _now, _fed
    if name == "wdt.feed":
        _now += _cost
        _fed = _now
        return None
    if name in _STEADY:
        return _steady(name)
    if name.startswith("wlan."):
        _known.clear()
    return _call(name, a, b, c, d, e, f, g)


def _call(name, a=_NONE, b=_NONE, c=_NONE, d=_NONE, e=_NONE, f=_NONE, g=_NONE):
    global _now, calls
    locked = _heap.depth and _heap.release()
    calls += 1
    try:
        _now += _cost
        items = [name]
        blob = b""
        for arg in (a, b, c, d, e, f, g):
            if arg is _NONE:
                break
            if isinstance(arg, (bytes, bytearray, memoryview)):
                arg = bytes(arg)
                items.append({"b": len(arg)})
                blob += arg
            else:
                items.append(arg)
        return _exchange(items, blob)
    finally:
        if locked:
            _heap.restore(locked)


def _steady(name):
    """Return what a steady call has answered since the last change, or ask."""
    global _now
    if name in _known and _now + _cost < _horizon:
        _now += _cost
        return _known[name]
    value = _known[name] = _call(name)
    return value


def _ask(items):
    """Ask without cost; the heap is open meanwhile."""
    locked = _heap.depth and _heap.release()
    try:
        _exchange(items)
    finally:
        if locked:
            _heap.restore(locked)


# -- time -------------------------------------------------------------------------------------


def us():
    """Return the microseconds since the board's start."""
    global _now
    _now += _cost
    if _now >= _horizon + _SLACK or printed:
        _ask(["sync"])
    return _now // 1000


def now_ns():
    """Return the time without looking at a clock: it takes none."""
    return _now


def _bus_us():
    return _now // 1000


def _spend_us(us):
    """Let time pass in which the program is not to be disturbed: bytes on a wire."""
    global _now
    if us > 0:
        _now += us * 1000


def _doze_us(us):
    await_news(_now + us * 1000)


def wait_until(ns):
    """Wait for a time, or for news before it: an interrupt, or input at the port."""
    global _now
    if 0 <= ns < _horizon and not printed:
        # Nothing comes before, and nobody is to be told.
        if ns > _now:
            _now = ns
        return
    await_news(ns)


def await_news(ns):
    """Wait as `wait_until`, for what may come without a time that is known before."""
    if _late:
        _deliver(_IRQ)
    else:
        _ask(["wait", ns])
    for _ in _TWICE:  # a jump, where soft interrupts come out
        pass


def sleep_ns(ns):
    until = _now + (ns if ns > _COST else _COST)
    while _now < until:
        wait_until(until)


def tick_after(ms):
    """Return when the clock shows `ms` milliseconds more than now."""
    return (_now // _MS + ms) * _MS


def rest_ms(ms):
    """Wait until the clock shows `ms` milliseconds more (None, below 0: for ever)."""
    if ms is None or ms < 0:
        while True:
            wait_until(_FOREVER)
    until = (_now // _MS + ms) * _MS
    while _now < until:
        wait_until(until)


class Time:
    """What other modules of the virtual board take from the interpreter's `time`."""

    gmtime = staticmethod(_native.time.gmtime)

    @staticmethod
    def sleep(seconds):
        sleep_ns(int(seconds * 1000) * 1_000_000)

    @staticmethod
    def sleep_ms(ms):
        sleep_ns(ms * 1_000_000)

    @staticmethod
    def sleep_us(us):
        sleep_ns(us * 1000)


# -- the port's input -------------------------------------------------------------------------

_stdin = _native.stdin


_print = builtins.print


def print(*args, **kwargs):
    global printed
    printed = True
    _print(*args, **kwargs)


_write_out = _native.write


def write(data):
    global printed
    printed = True
    return _write_out(data)


class Stdin:
    """The port's input as bytes."""

    @staticmethod
    def _await():
        while not _native.input_ready():
            wait_until(_FOREVER)

    def read(self, size):
        data = b""
        while len(data) < size:
            self._await()
            data += _stdin.read(1)
        return data

    def readinto(self, buf):
        view = memoryview(buf)
        for i in range(len(view)):
            self._await()
            _stdin.readinto(view[i : i + 1])
        return len(view)


# -- starts of the program --------------------------------------------------------------------


def next_life(facts):
    """Return in a child for each start of the program, with the facts that hold then."""
    global _cost
    import ffi

    libc = ffi.open(None)
    fork = libc.func("i", "fork", "")
    waitpid = libc.func("i", "waitpid", "ipi")
    getpid = libc.func("i", "getpid", "")
    while True:
        _exchange(["life"])
        child = fork()
        if child == 0:
            break
        waitpid(child, None, 0)
        _native.gc.collect()
    _die_with_parent()
    _exchange(["born", getpid()])
    facts = json.loads(call("app.facts"))
    _clock._offset_ns = facts["clock_offset_ns"]
    import random

    random.seed()
    _cost = _COST
    return facts


def _die_with_parent():
    """A board whose host dies has lost its power: PR_SET_PDEATHSIG, SIGKILL (Linux)."""
    import ffi

    try:
        ffi.open(None).func("i", "prctl", "iLLLL")(1, 9, 0, 0, 0)
    except OSError:
        pass


def begin(uptime_us, offset_ns):
    """Take over the time of day; the time since the start came with the first answer."""
    _die_with_parent()
    import _facade
    import _select
    import _sockets
    import _threads

    _facade.module("select", _select)
    _facade.module("socket", _sockets)
    _facade.module("_thread", _threads)
    builtins.print = print


_rpc.call = call
# The modules in the place of C code take bytes too, and each collection takes real time.
_heap.per_byte = 16

import _clock  # noqa: E402
import _irq  # noqa: E402

_native.next_life = next_life
_clock.us = us
_clock.bus_us = _bus_us
_clock.spend_us = _spend_us
_clock.doze_us = _doze_us
_clock.start = begin
_irq.start = lambda: call("irq.ready")
_native.time = Time
_native.stdin = Stdin()
_native.write = write

"""Virtual time: the clock stands still while the program computes, and all waiting is the host's.

`virtual/soc/lockstep.py` is the other end, `virtual/soc/lockline.py` has the format. The board's
time is kept here, and goes on by `_COST` with each look at the clock and each call, so that a loop
which waits for a time, a pin or a register ends. Up to `_horizon` nothing can happen elsewhere: so
far the clock may be looked at without asking the host. Calls that nothing answers are posted: they
go, each with its time, with the next one that is answered.

This module takes the place of parts of `_rpc`, `_native` and `_clock` before others import them.
"""

import _heap
import _native
import _rpc
import builtins
import json
import micropython
import sys
from micropython import const
from struct import pack_into, unpack_from

_COST = const(10_000)  # ns: what a look at the clock or a call takes, with the bytecode around it
# How far the clock may be looked at beyond the horizon: the latency of a soft interrupt.
_SLACK = const(200_000)
_MS = const(1_000_000)
# Calls that only read what the host says the change of (`_NETWORK`), or other calls of that kind.
_STEADY = ("wlan.isconnected", "wlan.status")
_NONE = object()
_IRQ, _INTERRUPT, _NETWORK = const(1), const(2), const(4)
_TWICE = (0, 0)
# What is posted, beside levels of a pin (0, 1); from _GET on it is answered.
_SPI, _GET, _TRANSFER, _WAIT, _SYNC = const(2), const(3), const(4), const(5), const(6)
_REQUEST = const(26)  # bytes before what is posted
_POSTED = const(12)  # bytes before the data of each
_ANSWER = const(26)
_REST = const(22)  # what of an answer's length is in its head
_SPACE = const(4096)
_ROOM = const(3500)  # bytes that may be posted: the rest is for the call that is answered
_LONGEST = const(300)  # bytes of an SPI transfer that is not a call like others

_file = open(int(sys.argv[0]), "r+b")
_read_into = _file.readinto
_read = _file.read
_write = _file.write
_out = bytearray(_SPACE)
_out_view = memoryview(_out)
_head = bytearray(_ANSWER)
calls = 0  # of the hardware
_now = 0  # ns since the start of the board
_horizon = 0
_limit = 0  # of looks at the clock
cost = 0  # `_COST` once the program runs
_fed = 0  # when the watchdog was fed, if the host does not know yet
_size = _REQUEST  # where what is posted ends
_known = {}  # answers of steady calls
printed = False  # whether there is output that the host has not put a time to
_scheduled = False  # whether `_take` is to run
_late = False  # whether there was no room for it
sockets_changed = False  # whether the host knows of sockets what is not known here


def exchange(items, blob=b""):
    """Ask the host; its answer moves the clock."""
    global _now, _horizon, _limit, _fed, _size, printed
    text = json.dumps(items).encode()
    # No jump from here until the answer is there: what a program has scheduled may run at a jump,
    # and may ask the host itself.
    pack_into(
        "<IQQIH",
        _out,
        0,
        _size - 4 + len(text) + len(blob),
        _now,
        _fed,
        len(text),
        _size - _REQUEST,
    )
    message = bytes(_out_view[:_size]) + text + blob
    _size = _REQUEST
    _fed = 0
    printed = False
    _write(message)
    _read_into(_head)
    length, _now, _horizon, flags, status, size = unpack_from("<IQQBBI", _head, 0)
    answer = _read(length - _REST)
    _limit = _horizon + _SLACK
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


def _swap():
    """Send what is posted, of which the last is answered; return the bytes of that answer."""
    global _now, _horizon, _limit, _fed, _size, printed
    # No jump here either.
    pack_into("<IQQIH", _out, 0, _size - 4, _now, _fed, 0, _size - _REQUEST)
    message = _out_view[:_size]
    _size = _REQUEST
    _fed = 0
    printed = False
    _write(message)
    _read_into(_head)
    length, _now, _horizon, flags, _, _ = unpack_from("<IQQBBI", _head, 0)
    answer = _read(length - _REST)
    _limit = _horizon + _SLACK
    if flags:
        _deliver(flags)
    return answer


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


# -- calls ------------------------------------------------------------------------------------


def call(name, a=_NONE, b=_NONE, c=_NONE, d=_NONE, e=_NONE, f=_NONE, g=_NONE):
    """Call the host's handler `name`; its OSError or other exception is raised here."""
    global _now, _fed
    if name == "wdt.feed":
        _now += cost
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
        _now += cost
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
        return exchange(items, blob)
    finally:
        if locked:
            _heap.restore(locked)


def _steady(name):
    """Return what a steady call has answered since the last change, or ask."""
    global _now
    if name in _known and _now + cost < _horizon:
        _now += cost
        return _known[name]
    value = _known[name] = _call(name)
    return value


def _posts():
    """Tell whether a call may be posted: nobody must be told of it at once."""
    return not (printed or _irq.edges or _now >= _limit or _size > _ROOM)


def _has_posted():
    """Note that from now on something may happen by what was posted."""
    global _horizon, _limit
    if _now < _horizon:
        _horizon = _now
        _limit = _now + _SLACK


def pin_set(pin, level):
    global _now, _size, calls
    if not _posts():
        _call("pin.set", pin, level)
        return
    calls += 1
    _now += cost
    pack_into("<QBBH", _out, _size, _now, pin, level, 0)
    _size += _POSTED
    _has_posted()


def pin_get(pin):
    global _now, _size, calls
    if _heap.depth:
        return _call("pin.get", pin)
    calls += 1
    _now += cost
    pack_into("<QBBH", _out, _size, _now, pin, _GET, 0)
    _size += _POSTED
    return _swap()[0]


def spi_write(sck, mosi, miso, data):
    if len(data) > _LONGEST or _heap.depth or not _posts():
        _call("spi.transfer", sck, mosi, miso, data)
        return
    _post_spi(_SPI, sck, mosi, miso, data)
    _has_posted()


def spi_transfer(sck, mosi, miso, data):
    if len(data) > _LONGEST or _heap.depth:
        return _call("spi.transfer", sck, mosi, miso, data)
    _post_spi(_TRANSFER, sck, mosi, miso, data)
    return _swap()


def _post_spi(what, sck, mosi, miso, data):
    # No jump: the message would not be whole.
    global _now, _size, calls
    calls += 1
    _now += cost
    size = len(data)
    pack_into("<QBBHbb", _out, _size, _now, sck & 0xFF, what, size + 2, mosi, miso)
    _out_view[_size + _POSTED + 2 : _size + _POSTED + 2 + size] = data
    _size += _POSTED + 2 + size


# -- time -------------------------------------------------------------------------------------


def us():
    """Return the microseconds since the board's start."""
    global _now
    _now += cost
    if _now >= _limit or printed:
        _sync()
    return _now // 1000


def _sync():
    """Hear what has happened up to now."""
    global _size
    locked = _heap.depth and _heap.release()
    try:
        pack_into("<QBBH", _out, _size, _now, 0, _SYNC, 0)
        _size += _POSTED
        _swap()
    finally:
        if locked:
            _heap.restore(locked)


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
    global _size
    if _late:
        _deliver(_IRQ)
    else:
        locked = _heap.depth and _heap.release()
        try:
            pack_into("<QBBHq", _out, _size, _now, 0, _WAIT, 8, ns)
            _size += _POSTED + 8
            _swap()
        finally:
            if locked:
                _heap.restore(locked)
    for _ in _TWICE:  # a jump, where soft interrupts come out
        pass


def sleep_ns(ns):
    until = _now + (ns if ns > _COST else _COST)
    while _now < until:
        wait_until(until)


def tick_after(ms):
    """Return when the clock shows `ms` milliseconds more than now."""
    return (_now // _MS + ms) * _MS


def skip_ms(ms):
    """Wait as `rest_ms` if all sockets are quiet until then; tell whether it is so."""
    global _now
    if sockets_changed or ms is None or ms < 0:
        return False
    if not ms:
        return True
    until = (_now // _MS + ms) * _MS
    if until >= _horizon or printed:
        return False
    if until > _now:
        _now = until
    return True


def rest_ms(ms):
    """Wait until the clock shows `ms` milliseconds more (None, below 0: for ever)."""
    if ms is None or ms < 0:
        while True:
            wait_until(FOREVER)
    until = (_now // _MS + ms) * _MS
    while _now < until:
        wait_until(until)


FOREVER = -1


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


_rpc.call = call
_rpc.pin_get = pin_get
_rpc.pin_set = pin_set
_rpc.spi_write = spi_write
_rpc.spi_transfer = spi_transfer
# The modules in the place of C code take bytes too, and each collection takes real time.
_heap.per_byte = 16

import _clock  # noqa: E402
import _irq  # noqa: E402

_native.time = Time
_clock.us = us
_clock.bus_us = _bus_us
_clock.spend_us = _spend_us
_clock.doze_us = _doze_us
_irq.start = lambda: call("irq.ready")

import _device  # noqa: E402, F401
import _lives  # noqa: E402, F401
import _port  # noqa: E402, F401

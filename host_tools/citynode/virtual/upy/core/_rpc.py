"""Calls to the models of the chip; `virtual/soc/rpc.py` is the other end and has the format.

An interrupt (Ctrl-C, a soft IRQ) may come at any point. A pending exception is raised by a read
that has not got a byte yet, or at a jump of the byte code: so a message is taken by straight-line
code, and an answer that nobody waits for any more is skipped by its number. A soft IRQ that comes
while a call waits must not call itself, it is put off until the call is done.
"""

import _heap
import _thread
import builtins
import json
import sys
from micropython import schedule
from struct import pack_into, unpack_from

_file = open(int(sys.argv[0]), "r+b")
_read_into = _file.readinto
_read = _file.read
_write = _file.write
_head = bytearray(4)
_number = 0
_NONE = object()
_lock = _thread.allocate_lock()
_turn = _thread.allocate_lock()  # of the one who waits for it: so no thread is passed over
put_off = None  # what is to be scheduled when the call is done


def _receive():
    _read_into(_head)
    return _read(unpack_from("<I", _head, 0)[0])


def call(name, a=_NONE, b=_NONE, c=_NONE, d=_NONE, e=_NONE, f=_NONE, g=_NONE):
    """Call the host's handler `name`; its OSError or other exception is raised here.

    Its arguments are no tuple, and the heap is open while it works: C code does not need the heap
    for a call either.
    """
    locked = _heap.depth and _heap.release()
    # Threads of the interpreter here have no lock in common; the chip's take turns.
    _turn.acquire()
    _lock.acquire()
    _turn.release()
    try:
        return _call(name, a, b, c, d, e, f, g)
    finally:
        _lock.release()
        if locked:
            _heap.restore(locked)
        resume()


def resume():
    """Schedule what was put off."""
    global put_off
    if put_off:
        again, put_off = put_off, None
        try:
            schedule(again, None)
        except RuntimeError:
            pass  # the queue is full; the host signals again


def _call(name, *args):
    global _number
    items = [name]
    blob = b""
    for arg in args:
        if arg is _NONE:
            break
        if isinstance(arg, (bytes, bytearray, memoryview)):
            arg = bytes(arg)
            items.append({"b": len(arg)})
            blob += arg
        else:
            items.append(arg)
    text = json.dumps(items).encode()
    message = bytearray(9)
    _number = (_number + 1) & 0xFF
    number = _number
    pack_into("<IBI", message, 0, 5 + len(text) + len(blob), number, len(text))
    _write(message + text + blob)
    while True:
        answer = _receive()
        if not answer:
            raise SystemExit  # the host has closed the line: the board lost its power
        if answer[0] == number:
            break
    status = answer[1]
    size = unpack_from("<I", answer, 2)[0]
    value = json.loads(answer[6 : 6 + size])
    if status == 1:
        raise OSError(value)
    if status:
        kind = getattr(builtins, value[0])
        raise kind(value[1]) if value[1] else kind()
    if isinstance(value, (dict, list)):
        return _fill(value, answer, 6 + size)[0]
    return value


# In virtual time others take the place of these.


def pin_get(pin):
    return call("pin.get", pin)


def pin_set(pin, level):
    call("pin.set", pin, level)


def spi_transfer(sck, mosi, miso, data):
    """Return what comes back on an SPI bus."""
    return call("spi.transfer", sck, mosi, miso, data)


def spi_write(sck, mosi, miso, data):
    """Write to an SPI bus, whatever comes back."""
    call("spi.transfer", sck, mosi, miso, data)


def _fill(value, answer, at):
    if isinstance(value, dict):
        size = value["b"]
        return answer[at : at + size], at + size
    if isinstance(value, list):
        for index in range(len(value)):
            value[index], at = _fill(value[index], answer, at)
    return value, at


def busy():
    """Tell whether a call is under way, which a soft IRQ may have come in the middle of."""
    return _lock.locked()

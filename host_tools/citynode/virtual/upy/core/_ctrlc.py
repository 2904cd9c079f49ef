"""Ctrl-C where the chip takes it: at a jump of the byte code or in a wait, never within C code.

The interpreter's own handler of the signal raises at once: in the middle of a collection, of the
file system's work, with a lock held. Here it leaves an exception where the interpreter looks for
one, and waits as long as the file system is at work: on a chip nothing interrupts that, while here
its block device is made of byte code.
"""

import _native
import uctypes
from array import array

SIGINT = 2
_WORD = 8
_ROOM = 1024  # bytes before the modules' dictionary that are looked through
# In halves: a field of 64 bits would make an integer on the heap.
_FIELD = {"low": uctypes.UINT32 | 0, "high": uctypes.UINT32 | 4}

held = 0  # 1 while the file system is at work
_exception = KeyboardInterrupt()
_address = id(_exception)
_LOW, _HIGH = _address & 0xFFFFFFFF, _address >> 32
# What tells where it was raised the last time.
_trace = uctypes.struct(_address + _WORD, {"used": uctypes.UINT32 | 4})
_nowhere = bytearray(_WORD)
# Where the interpreter looks, and where it does not.
_places = [uctypes.struct(uctypes.addressof(_nowhere), _FIELD)] * 2
# That one came while `held` was 0 (of no use), while it was 1, and before that.
_came = bytearray(3)


# A soft IRQ that came meanwhile (1), and what is called for it at the end.
late = bytearray(1)


def _nothing():
    pass


then = [_nothing, _nothing]


def hold():
    """Put Ctrl-C off. Straight-line code of small frames, like all that the file system calls."""
    # The signal may come between any two steps: nothing here depends on what it changes meanwhile.
    global held
    held = 1
    _came[2] |= _places[0].low == _LOW
    _places[0].low = 0
    _places[0].high = 0


def lend():
    """Let what comes from now on come out, and keep what came before."""
    global held
    held = 0


def let_go(result):
    """Let what was put off come out at the next jump; return `result`."""
    global held
    held = 0
    _leave(_places[1 - (_came[1] | _came[2])])
    _came[1] = 0
    _came[2] = 0
    then[late[0]]()
    return result


def _leave(place):
    place.low = _LOW
    place.high = _HIGH


def _on_signal(_):
    _trace.used = 0
    _came[held] = 1
    _leave(_places[held])


def _find():
    """Return the address where the interpreter keeps the exception to raise, None if unknown.

    In a row there are the dictionaries of locals and globals (one, while a module is loaded), two
    pointers to jump buffers, and that exception, a little before the dictionary of modules
    (`py/mpstate.h` since 1.22).
    """
    start = (id(_native.sys.modules) & -_WORD) - _ROOM
    words = array("L", bytes(uctypes.bytearray_at(start, _ROOM)))
    here = id(globals())
    for i in range(len(words) - 4):
        if words[i] == here and words[i + 1] == here and words[i + 4] == 0:
            return start + _WORD * (i + 4)
    return None


_place = _find()


def start(install):
    """Take the signal over by `install(number, handler)`, if the place was found."""
    if _place is not None:
        _places[0] = uctypes.struct(_place, _FIELD)
        install(SIGINT, _on_signal)

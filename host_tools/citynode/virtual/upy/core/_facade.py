"""Modules as the port's own are seen: their names only, no file, and nothing in them can be set."""

import _native
import uctypes

_modules = _native.sys.modules
# A dictionary's word behind its type: bits for "all keys are strings", "fixed", "ordered".
_FIXED, _ORDERED = 2, 4


def _mark(dictionary, flag):
    word = uctypes.bytearray_at(id(dictionary) + _WORD, 1)
    word[0] |= flag


def fix(dictionary):
    """Make a dictionary refuse changes, as one in ROM does."""
    if _known:
        _mark(dictionary, _FIXED)


def _knows():
    """Tell whether this interpreter keeps its dictionaries where `_mark` looks."""
    probe = {"name": 0}
    _mark(probe, _FIXED)
    try:
        probe["name"] = 1
    except TypeError:
        return len(probe) == 1 and probe["name"] == 0
    return False


_WORD = uctypes.sizeof({"type": (uctypes.PTR, uctypes.VOID)})
_known = _knows()


def module(name, source, first=(), fixed=True):
    """Return a module `name` with what is public in `source` (a module), and register it.

    Its names stand in the order of `first`, then as they come.
    """
    _modules.pop("_blank", None)
    import _blank

    del _modules["_blank"]
    names = _blank.__dict__
    names.clear()
    if _known:
        _mark(names, _ORDERED)
    names["__name__"] = name
    for each in list(first) + dir(source):
        if each[0] != "_":
            names[each] = getattr(source, each)
    if fixed:
        fix(names)
    _modules[name] = _blank
    return _blank


def frozen(name, path):
    """Show a loaded module as one that is frozen into the firmware under `path`."""
    _modules[name].__file__ = path

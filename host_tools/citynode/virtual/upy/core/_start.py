"""What the port's `main.c` does: take the chip's place, mount the flash, run boot.py, main.py, REPL."""

import _clock
import _facts
import _heap
import _irq
import _native
import builtins
import json
from _rpc import call

_LIB = "/.vb"
_TAKEN = 2 * 2048  # bytes of heap (of twice as wide words) that are in use at the prompt
# Modules in C of the port. They are all loaded here: importing one takes no file and no heap.
_BUILTIN = (
    "time",
    "os",
    "esp",
    "machine",
    "esp32",
    "socket",
    "network",
    "platform",
    "random",
    "_onewire",
)
_OLD_NAMES = (
    "time",
    "os",
    "machine",
    "socket",
    "platform",
    "random",
    "errno",
    "sys",
)  # with a u before them
# Modules in Python that are frozen into the firmware, by the files that they show.
_FROZEN = {
    "flashbdev": "flashbdev.py",
    "inisetup": "inisetup.py",
    "ntptime": "ntptime.py",
    "ssl": "ssl.py",
    "onewire": "onewire.py",
    "ds18x20": "ds18x20.py",
    "dht": "dht.py",
    "neopixel": "neopixel.py",
    "apa106": "apa106.py",
    "umqtt": "umqtt/__init__.py",
    "umqtt.simple": "umqtt/simple.py",
    "umqtt.robust": "umqtt/robust.py",
    "upysh": "upysh.py",
    "urequests": "urequests.py",
    "webrepl": "webrepl.py",
}
_modules = _native.sys.modules
_path = _native.sys.path


def _take_over():
    """Put the modules of the chip in the place of the unix port's."""
    facts = json.loads(call("app.facts"))
    _facts.version = facts["version"]
    _facts.release = tuple(facts["release"])
    _facts.built = facts["built"]
    _facts.machine = facts["machine"]
    _facts.build = facts["build"]
    _facts.chip = facts["chip"]
    _facts.mpy = facts["mpy"]
    _facts.flash = open(facts["flash"], "rb")
    _clock.start(call("app.uptime_us"), facts["clock_offset_ns"])
    _irq.start()

    import _errno
    import _facade
    import _gc
    import _micropython
    import _rom
    import _sys
    import _threads
    import _vfs

    _rom.set_errno()
    _facade.fix(_errno.errorcode)
    _facade.module("errno", _errno)
    _facade.module("gc", _gc)
    _facade.module("micropython", _micropython, ("const", "opt_level"))
    _facade.module("_thread", _threads)
    _facade.module("vfs", _vfs)
    # What a program may set in it (ps1, path) is not told apart from what it may not.
    _facade.module("sys", _sys, fixed=False)
    _path[:] = [_LIB, ".frozen"] + _path
    for name in _BUILTIN:
        module = __import__(name)
        _facade.module(name, module)
    for name in _OLD_NAMES:
        _modules["u" + name] = _modules[name]
    import _tasks  # after `time`, whose ticks it goes by

    _modules["_asyncio"] = _tasks
    for name, path in _FROZEN.items():
        __import__(name)
        _facade.frozen(name, path)

    import _help
    import _repl

    builtins.input = _repl.input
    builtins.help = _help.help
    _repl.builtin_modules = _help.builtin_names()
    return facts, _repl


def _hide():
    """Take what is not on a board out of the list of modules."""
    for name in list(_modules):
        if (name[0] == "_" and name not in ("__main__", "_asyncio", "_onewire", "_thread")) or (
            name.startswith("machine.")
        ):
            del _modules[name]


def _mount(main):
    """Make the flash the root, as the frozen `_boot` does, which leaves its names behind."""
    import gc
    import inisetup
    import os
    import vfs
    from flashbdev import bdev

    main.update({"gc": gc, "vfs": vfs, "bdev": bdev})
    os.umount("/")
    _path[:] = ["", ".frozen", "/lib"]
    if bdev is None:
        return
    try:
        # Times of files would come from the machine; the flash shall depend on the board alone.
        blocks = bytearray(64)
        bdev.readblocks(0, blocks, 0)
        fat = bytes(blocks[54:59]) == b"FAT16" or b"MSDOS" in bytes(blocks[:16])
        fs = os.VfsFat(bdev) if fat else os.VfsLfs2(_native.device(bdev), mtime=False)
        os.mount(fs, "/")
    except OSError:
        main["inisetup"] = inisetup
        inisetup.setup()
    os.chdir("/")


def _give_way():
    """Forget frozen modules that a file of the program takes the place of."""
    files = {entry[0] for entry in _native.os.ilistdir("/")}
    for name in _FROZEN:
        top = name.split(".")[0]
        if top in files or top + ".py" in files or top + ".mpy" in files:
            _modules.pop(name, None)


def _leave(heap):
    """Leave the program the chip's heap, of which the port itself has taken a little.

    The interpreter's heap was made larger by what the modules of the virtual board may take; what
    they do not take of it goes out of the way.
    """
    gc = _native.gc
    gc.collect()
    spare = gc.mem_free() - (heap - _TAKEN)
    global _ballast
    _ballast = bytearray(spare - 64) if spare > 64 else None
    _heap.own = gc.mem_alloc() - _TAKEN


def run(main):
    """Run the board until its power is cut, in the name space `main`."""
    facts, repl = _take_over()
    facts = _native.next_life(facts)
    for name in list(main):
        if name != "__name__":
            del main[name]
    _mount(main)
    _give_way()
    _hide()
    _native.vfs.umount(_LIB)
    _leave(facts["heap"])
    repl.main(main, facts["raw"])

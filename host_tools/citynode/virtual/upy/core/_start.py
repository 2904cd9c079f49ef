"""What the port's `main.c` does: take the chip's place, mount the flash, run boot.py, main.py, REPL."""

import _clock
import _facts
import _irq
import _native
import builtins
import json
from _rpc import call

_LIB = "/.vb"
# Modules of the chip. They are all loaded here: the port has them built in, so that importing one
# takes no file and nearly no heap.
_CHIP = (
    "time",
    "os",
    "esp",
    "esp32",
    "machine",
    "socket",
    "network",
    "ssl",
    "ntptime",
)
_modules = _native.sys.modules
_path = _native.sys.path


def _take_over():
    """Put the modules of the chip in the place of the unix port's."""
    facts = json.loads(call("app.facts"))
    _facts.version = facts["version"]
    _facts.built = facts["built"]
    _facts.machine = facts["machine"]
    _facts.mpy = facts["mpy"]
    _facts.flash = open(facts["flash"], "rb")
    _clock.start(call("app.uptime_us"), facts["clock_offset_ns"])
    _irq.start()

    import _errno
    import _gc
    import _micropython
    import _sys
    import _vfs

    _modules["errno"] = _errno
    _modules["gc"] = _gc
    _modules["micropython"] = _micropython
    _modules["sys"] = _sys.make()
    _modules["vfs"] = _vfs
    _path.insert(0, _LIB)
    for name in _CHIP:
        module = __import__(name)
        _modules["u" + name] = module  # the old names with u
    import _tasks  # after `time`, whose ticks it goes by

    _modules["_asyncio"] = _tasks

    import _repl

    builtins.input = _repl.input
    return facts, _repl, _gc


def _mount():
    """Make the flash the root, as the frozen `_boot` does."""
    import inisetup
    import os
    from flashbdev import bdev

    os.umount("/")
    _path[:] = ["", ".frozen", "/lib"]
    if bdev is None:
        return
    try:
        # Times of files would come from the machine; the flash shall depend on the board alone.
        blocks = bytearray(64)
        bdev.readblocks(0, blocks, 0)
        fat = bytes(blocks[54:59]) == b"FAT16" or b"MSDOS" in bytes(blocks[:16])
        fs = os.VfsFat(bdev) if fat else os.VfsLfs2(bdev, mtime=False)
        os.mount(fs, "/")
    except OSError:
        inisetup.setup()
    os.chdir("/")


def run(main):
    """Run the board until its power is cut, in the name space `main`."""
    facts, repl, gc = _take_over()
    for name in list(main):
        if name != "__name__":
            del main[name]
    gc.collect()
    native = _native.gc
    # The heap was made larger by what the modules of the virtual board may take; what they do not
    # take of it goes out of the way, so that exactly the chip's heap is left.
    spare = native.mem_free() - facts["heap"]
    global _ballast
    _ballast = bytearray(spare - 64) if spare > 64 else None
    gc._own = native.mem_alloc()
    _mount()
    repl.main(main, facts["raw"])

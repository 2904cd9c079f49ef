"""`os` of the ESP32 port: the interpreter's file systems, the board's name and entropy."""

import _facts
from _native import os as _os
from _rpc import call as _call
from collections import namedtuple as _namedtuple
from vfs import VfsFat as VfsFat
from vfs import VfsLfs2 as VfsLfs2
from vfs import mount as mount
from vfs import umount as umount

chdir = _os.chdir
getcwd = _os.getcwd
ilistdir = _os.ilistdir
listdir = _os.listdir
mkdir = _os.mkdir
remove = _os.remove
rename = _os.rename
rmdir = _os.rmdir
sep = "/"
stat = _os.stat
unlink = _os.remove

_Uname = _namedtuple("", ("sysname", "nodename", "release", "version", "machine"))
_AT_ONCE = 1 << 12


def statvfs(path):
    # LittleFS counts free blocks below zero when it is full, and the chip's integers are signed.
    found = _os.statvfs(path)
    return tuple([n - (1 << 32) if n >> 31 else n for n in found])


def uname():
    release = _facts.version[1:] if _facts.version[:1] == "v" else _facts.version
    return _Uname(
        "esp32", "esp32", release, "%s on %s" % (_facts.version, _facts.built), _facts.machine
    )


def urandom(n):
    if n <= _AT_ONCE:
        return _call("app.random", n)
    return b"".join([_call("app.random", min(_AT_ONCE, n - at)) for at in range(0, n, _AT_ONCE)])


def sync():
    pass


def dupterm(stream, index=0):
    # The prompt is on the UART alone; taking away what is not there changes nothing.
    if stream is not None:
        raise OSError(22)

"""`os` of the ESP32 port: the interpreter's file systems, the board's name and entropy."""

import _facts
from _native import os as _os
from _rpc import call
from collections import namedtuple
from vfs import VfsFat, VfsLfs2, mount, umount

chdir = _os.chdir
getcwd = _os.getcwd
mkdir = _os.mkdir
remove = _os.remove
rename = _os.rename
rmdir = _os.rmdir
sep = "/"
stat = _os.stat
statvfs = _os.statvfs
unlink = _os.remove

_Uname = namedtuple("", ("sysname", "nodename", "release", "version", "machine"))


def ilistdir(path="."):
    # The folder that holds the virtual board's own modules is no part of the board.
    return filter(lambda entry: entry[0] != ".vb", _os.ilistdir(path))


def listdir(path="."):
    return [entry[0] for entry in ilistdir(path)]


def uname():
    release = _facts.version[1:] if _facts.version[:1] == "v" else _facts.version
    return _Uname(
        "esp32", "esp32", release, "%s on %s" % (_facts.version, _facts.built), _facts.machine
    )


def urandom(n):
    return call("app.random", n)


def sync():
    pass

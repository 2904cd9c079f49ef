"""`vfs` of the ESP32 port: the interpreter's own, without the mount that the board does not have."""

from _native import vfs as _vfs

VfsFat = _vfs.VfsFat
VfsLfs2 = _vfs.VfsLfs2
umount = _vfs.umount


def mount(*args, **kwargs):
    if args or kwargs:
        return _vfs.mount(*args, **kwargs)
    return [each for each in _vfs.mount() if each[1] != "/.vb"]

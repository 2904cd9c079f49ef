"""`vfs` of the ESP32 port: the interpreter's own."""

from _native import vfs as _vfs

VfsFat = _vfs.VfsFat
VfsLfs2 = _vfs.VfsLfs2
mount = _vfs.mount
umount = _vfs.umount

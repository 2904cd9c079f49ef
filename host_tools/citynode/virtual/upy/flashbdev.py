"""The block device of the file system: the partition `vfs`, or the flash behind the last one."""

from esp32 import Partition

_found = Partition.find(Partition.TYPE_DATA, label="vfs")
bdev = _found[0] if _found else None

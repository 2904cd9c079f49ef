"""Make the file system of a board that has none."""

import os
import time

from flashbdev import bdev

_BOOT_PY = "# Runs at every start of the board, also after deep sleep, before main.py.\n"


def _is_blank():
    block = bytearray(bdev.ioctl(5, 0))
    bdev.readblocks(0, block)
    return all(byte == 0xFF for byte in block)


def setup():
    while not _is_blank():
        print("The file system in flash is damaged. Save what you need, then erase the flash.")
        time.sleep(3)
    print("Performing initial setup")
    os.VfsLfs2.mkfs(bdev)
    fs = os.VfsLfs2(bdev, mtime=False)
    os.mount(fs, "/")
    with open("boot.py", "w") as f:
        f.write(_BOOT_PY)
    return fs

"""A NOR flash under MicroPython's own LittleFS, with a journal to cut the power in."""

import os

import vfs
from node.core.spool import Spool
from node.core.state import State

SECTOR = 4096
BLOCKS = 24
FOLDER = "/f/spool"

PROGRAM, ERASE = "program", "erase"
_BLANK = b"\xff" * SECTOR


class Flash:
    """A block device as the ESP32's partition is one: erasing sets bits, programming clears them.

    `journal` gets each program and erase as (kind, address, bytes) where it is a list.
    `fault(kind, address, count)` is asked before each operation, "read" too; a number that it
    returns is the error given to LittleFS, and the operation is not done.
    """

    def __init__(self, cells=None, blocks=BLOCKS):
        self.cells = cells or bytearray(_BLANK * blocks)
        self.journal = None
        self.fault = lambda kind, address, count: 0

    def readblocks(self, block, buffer, offset=0):
        at = block * SECTOR + offset
        buffer[:] = memoryview(self.cells)[at : at + len(buffer)]
        return self.fault("read", at, len(buffer))

    def writeblocks(self, block, buffer, offset=0):
        at = block * SECTOR + offset
        error = self.fault(PROGRAM, at, len(buffer))
        if not error:
            self._do((PROGRAM, at, bytes(buffer)))
        return error

    def ioctl(self, operation, argument):
        if operation == 4:
            return len(self.cells) // SECTOR
        if operation == 5:
            return SECTOR
        error = 0
        if operation == 6:
            error = self.fault(ERASE, argument * SECTOR, SECTOR)
            if not error:
                self._do((ERASE, argument * SECTOR, b""))
        return error

    def _do(self, operation):
        if self.journal is not None:
            self.journal.append(operation)
        apply(self.cells, operation)


def apply(cells, operation):
    """Do one operation of a journal."""
    kind, at, data = operation
    if kind == ERASE:
        cells[at : at + SECTOR] = _BLANK
        return
    if cells[at : at + len(data)] != b"\xff" * len(data):
        # The cells only lose bits; LittleFS writes where it has erased, a torn write apart.
        data = bytes([cells[at + i] & data[i] for i in range(len(data))])
    cells[at : at + len(data)] = data


def tear(cells, operation, way):
    """Do a part of an operation: the power goes in its midst, in one of three ways."""
    kind, at, data = operation
    size = SECTOR if kind == ERASE else len(data)
    done = (4, size // 2, size - 4)[way]
    if kind == ERASE:
        cells[at : at + done] = _BLANK[:done]
        # Cells on their way from 0 to 1 read as either.
        for i in range(at + done, min(at + done + 64, at + size)):
            cells[i] |= 0x5A
    else:
        apply(cells, (kind, at, data[:done]))
        if done < size:
            apply(cells, (kind, at + done, bytes((data[done] | 0x5A,))))


class Files:
    """The spool's files on a flash: mounts it, and unmounts it at the end of a `with`."""

    def __init__(self, flash):
        self.flash = flash

    def __enter__(self):
        vfs.mount(vfs.VfsLfs2(self.flash), "/f")
        return self

    def __exit__(self, *_):
        vfs.umount("/f")

    def spool(self, limit, new_epoch):
        """Return a new Spool and its State, as the node's start makes them."""
        state = State(FOLDER + "/state")
        return Spool(FOLDER, limit, state, new_epoch), state


def formatted(blocks=BLOCKS):
    """Return a flash with an empty file system that has the spool's folder."""
    flash = Flash(blocks=blocks)
    vfs.VfsLfs2.mkfs(flash)
    with Files(flash):
        os.mkdir(FOLDER)
    return flash


def read_all(spool):
    """Return all records that the spool gives from here on."""
    records = []
    while True:
        record = spool.read()
        if record is None:
            return records
        records.append(record)

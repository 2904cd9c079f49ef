"""The interpreter's own modules, kept from before others take their names."""

import errno
import gc
import io
import micropython
import os
import random
import select
import socket
import sys
import time
import vfs

# Unlike others it is kept by its name, which is to be the board's.
sys.modules.pop("random", None)
write = sys.stdout.write
_poller = select.poll()
_input = sys.stdin.buffer
_poller.register(_input, 1)
_read = _input.read
_readinto = _input.readinto


def input_ready():
    """Tell whether there is input at the port."""
    return bool(_poller.poll(0))


# Waits for input at the port. Soft IRQs come out of that always, of a read while there is one
# thread only (`_irq.start_thread`).
await_input = _poller.ipoll


class _Stdin:
    """The port's input as bytes; there are fewer than asked for if the host has closed the line."""

    @staticmethod
    def read(size):
        data = b""
        while len(data) < size:
            await_input()
            byte = _read(1)
            if not byte:
                break
            data += byte
        return data

    @staticmethod
    def readinto(buf):
        view = memoryview(buf)
        for i in range(len(view)):
            await_input()
            if not _readinto(view[i : i + 1]):
                return i
        return len(view)


stdin = _Stdin

try:
    import tls
except ImportError:
    tls = None


def next_life(facts):
    """Wait for the program's start, and return the facts that hold then."""
    return facts


def device(partition):
    """Return what a file system reads and writes a partition by."""
    return partition

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
stdin = sys.stdin.buffer  # the port's input
write = sys.stdout.write
_poller = select.poll()
_poller.register(stdin, 1)


def input_ready():
    """Tell whether there is input at the port."""
    return bool(_poller.poll(0))


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

"""The interpreter's own modules, kept from before others take their names."""

import errno
import gc
import io
import micropython
import os
import select
import socket
import sys
import time
import vfs

try:
    import tls
except ImportError:
    tls = None

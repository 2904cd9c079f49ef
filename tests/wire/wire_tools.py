"""What the portable wire tests share; runs on CPython and on MicroPython."""

import struct

from citynode.wire import cbor


def error_of(error_type, call, *args):
    """Call; return the error's kind, or None when there was none."""
    try:
        call(*args)
    except error_type as error:
        return error.kind
    return None


def put(value, size=600):
    """Return the encoding of a value."""
    buffer = bytearray(size)
    end = cbor.put(buffer, 0, value)
    return bytes(buffer[:end])


def fold(value):
    """Return bytes that two values share only when they are the same, types included."""
    if value is None or value is cbor.UNDEFINED or value is True or value is False:
        return str(value).encode()
    if isinstance(value, int):
        return b"i%d" % value
    if isinstance(value, float):
        return b"nan" if value != value else b"f" + struct.pack(">d", value)
    if isinstance(value, str):
        raw = value.encode()
        return b"t%d:" % len(raw) + raw
    if isinstance(value, bytes):
        return b"b%d:" % len(value) + value
    if isinstance(value, list):
        return b"[" + b",".join([fold(item) for item in value]) + b"]"
    pairs = sorted([(key.encode(), fold(item)) for key, item in value.items()])
    return b"{" + b",".join([key + b":" + item for key, item in pairs]) + b"}"


class Chance:
    """Numerical Recipes' linear congruential generator: the same numbers everywhere."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        """Return 0 … n-1."""
        self.state = (self.state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (self.state >> 8) % n

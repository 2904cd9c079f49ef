"""`_onewire`: the bits of a 1-Wire bus (MicroPython, modonewire.c), each call one to the host."""

from _rpc import call

from machine._bus import now_us, spend
from machine._pin import number

_RESET_US = 960
_SLOT_US = 71


def _slots(name, pin, *args):
    start = now_us()
    try:
        return call(name, number(pin), *args)
    finally:
        spend(start, args[-1] * _SLOT_US, 1000000)


def reset(pin):
    """Return whether a chip answers: the line stays high when there is none."""
    start = now_us()
    present = call("onewire.reset", number(pin))
    spend(start, _RESET_US, 1000000)
    return present


def readbit(pin):
    return _slots("onewire.read", pin, 1)


def readbyte(pin):
    return _slots("onewire.read", pin, 8)


def writebit(pin, value):
    _slots("onewire.write", pin, int(bool(value)), 1)


def writebyte(pin, value):
    _slots("onewire.write", pin, value & 0xFF, 8)


def crc8(data):
    """Return the CRC of Maxim's chips (x^8 + x^5 + x^4 + 1, from the lowest bit)."""
    crc = 0
    for byte in data:
        for _ in range(8):
            carry = (crc ^ byte) & 1
            crc = crc >> 1 ^ (0x8C if carry else 0)
            byte >>= 1
    return crc

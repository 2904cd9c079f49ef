"""`_onewire`: the bits of a 1-Wire bus, on which no chip is modelled."""


def reset(pin):
    """Return whether a chip answers: the line stays high when there is none."""
    return not pin.value()


def readbit(pin):
    return pin.value()


def readbyte(pin):
    return 0xFF if pin.value() else 0


def writebit(pin, value):
    pass


def writebyte(pin, value):
    pass


def crc8(data):
    """Return the CRC of Maxim's chips (x^8 + x^5 + x^4 + 1, from the lowest bit)."""
    crc = 0
    for byte in data:
        for _ in range(8):
            carry = (crc ^ byte) & 1
            crc = crc >> 1 ^ (0x8C if carry else 0)
            byte >>= 1
    return crc

"""`machine.I2C` and `machine.SoftI2C` of the ESP32 port, each transfer one call to the host."""

from _rpc import call

from machine._bus import now_us, spend
from machine._pin import number

_UNSET = object()
_BITS = 9  # of a byte with its acknowledge
_FREQ = 400000
_TIMEOUT_US = 50000
_defaults = call("i2c.defaults")
_opened = {}


class _Master:
    """What both controllers have in common; `_soft` tells the host which it is."""

    def _open(self, scl, sda, freq):
        self._scl = scl
        self._sda = sda
        self._freq = freq
        call("i2c.open", scl, sda)

    def _transfer(self, name, size, addr, *args):
        start = now_us()
        try:
            return call(name, self._scl, self._sda, self._soft, addr, *args)
        finally:
            spend(start, (size + 1) * _BITS, self._freq)

    def scan(self):
        start = now_us()
        found = call("i2c.scan", self._scl, self._sda, self._soft)
        spend(start, 112 * (_BITS + 1), self._freq)
        return found

    def readfrom(self, addr, nbytes, stop=True):
        return self._transfer("i2c.read", nbytes, addr, nbytes, bool(stop))

    def readfrom_into(self, addr, buf, stop=True):
        view = memoryview(buf)
        view[:] = self._transfer("i2c.read", len(view), addr, len(view), bool(stop))

    def writeto(self, addr, buf, stop=True):
        data = _bytes(buf)
        return self._transfer("i2c.write", len(data), addr, data, bool(stop))

    def writevto(self, addr, vector, stop=True):
        return self.writeto(addr, b"".join([_bytes(part) for part in vector]), stop)

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        register = _register(memaddr, addrsize)
        return self._transfer("i2c.write_read", len(register) + 1 + nbytes, addr, register, nbytes)

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        view = memoryview(buf)
        view[:] = self.readfrom_mem(addr, memaddr, len(view), addrsize=addrsize)

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        data = _register(memaddr, addrsize) + _bytes(buf)
        self._transfer("i2c.write", len(data), addr, data, True)


def _bytes(buf):
    return buf.encode() if isinstance(buf, str) else bytes(buf)


def _register(memaddr, addrsize):
    if addrsize & 7 or addrsize > 32:
        raise ValueError("invalid addrsize")
    return (memaddr & ((1 << addrsize) - 1)).to_bytes(addrsize // 8, "big")


def _unsupported(self, *args, **kwargs):
    raise OSError("I2C operation not supported")


class I2C(_Master):
    """A hardware controller; made again, it keeps the pins it has."""

    _soft = False

    def __new__(cls, id=0, **kwargs):
        if id == -1:
            print("Warning: I2C(-1, ...) is deprecated, use SoftI2C(...) instead")
            return SoftI2C(**kwargs)
        if not 0 <= id < len(_defaults):
            raise ValueError("I2C(%d) doesn't exist" % id)
        if id not in _opened:
            _opened[id] = object.__new__(cls)
            _opened[id]._scl, _opened[id]._sda = _defaults[id]
        return _opened[id]

    def __init__(self, id=0, *, scl=_UNSET, sda=_UNSET, freq=_FREQ, timeout=_TIMEOUT_US):
        self._id = id
        self._open(
            self._scl if scl is _UNSET else number(scl),
            self._sda if sda is _UNSET else number(sda),
            freq,
        )

    def __repr__(self):
        return "I2C(%d, scl=%d, sda=%d, freq=%d)" % (self._id, self._scl, self._sda, self._freq)

    init = start = stop = readinto = write = _unsupported


class SoftI2C(_Master):
    """A controller made of two pins."""

    _soft = True

    def __init__(self, scl, sda, *, freq=_FREQ, timeout=_TIMEOUT_US):
        self.init(scl, sda, freq=freq, timeout=timeout)

    def __repr__(self):
        return "SoftI2C(scl=%d, sda=%d, freq=%d)" % (self._scl, self._sda, self._freq)

    def init(self, scl, sda, *, freq=_FREQ, timeout=_TIMEOUT_US):
        # Half a bit takes whole microseconds, so that not all speeds are what they are asked for.
        half_us = 500000 // freq or 1
        self._open(number(scl), number(sda), 500000 // half_us)

    def start(self):
        call("i2c.start", self._scl, self._sda)

    def stop(self):
        call("i2c.stop", self._scl, self._sda)

    def readinto(self, buf, nack=True):
        view = memoryview(buf)
        start = now_us()
        view[:] = call("i2c.raw_read", self._scl, self._sda, len(view))
        spend(start, len(view) * _BITS, self._freq)

    def write(self, buf):
        data = _bytes(buf)
        start = now_us()
        acks = call("i2c.raw_write", self._scl, self._sda, data)
        spend(start, len(data) * _BITS, self._freq)
        return acks

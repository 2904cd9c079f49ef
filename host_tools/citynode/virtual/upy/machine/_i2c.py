"""`machine.I2C` and `machine.SoftI2C` of the ESP32 port, each transfer one call to the host."""

from _rpc import call

from machine._pin import number

_UNSET = object()
_defaults = call("i2c.defaults")
_opened = {}


class _Master:
    """What both controllers have in common; `_soft` tells the host which it is."""

    def _open(self, scl, sda, freq, timeout):
        self._scl = scl
        self._sda = sda
        self._freq = freq
        self._timeout = timeout
        call("i2c.open", scl, sda)

    def scan(self):
        return call("i2c.scan", self._scl, self._sda, self._soft)

    def readfrom(self, addr, nbytes, stop=True):
        return call("i2c.read", self._scl, self._sda, self._soft, addr, nbytes, bool(stop))

    def readfrom_into(self, addr, buf, stop=True):
        view = memoryview(buf)
        view[:] = call("i2c.read", self._scl, self._sda, self._soft, addr, len(view), bool(stop))

    def writeto(self, addr, buf, stop=True):
        return call("i2c.write", self._scl, self._sda, self._soft, addr, _bytes(buf), bool(stop))

    def writevto(self, addr, vector, stop=True):
        return self.writeto(addr, b"".join([_bytes(part) for part in vector]), stop)

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        register = _register(memaddr, addrsize)
        return call("i2c.write_read", self._scl, self._sda, self._soft, addr, register, nbytes)

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        view = memoryview(buf)
        view[:] = self.readfrom_mem(addr, memaddr, len(view), addrsize=addrsize)

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        data = _register(memaddr, addrsize) + _bytes(buf)
        call("i2c.write", self._scl, self._sda, self._soft, addr, data, True)


def _bytes(buf):
    return buf.encode() if isinstance(buf, str) else bytes(buf)


def _register(memaddr, addrsize):
    return (memaddr & ((1 << addrsize) - 1)).to_bytes(addrsize // 8, "big")


class I2C(_Master):
    """A hardware controller; made again, it keeps the pins it has."""

    _soft = False

    def __new__(cls, id=0, *args, **kwargs):
        if not 0 <= id < len(_defaults):
            raise ValueError("I2C(%d) doesn't exist" % id)
        if id not in _opened:
            _opened[id] = object.__new__(cls)
            _opened[id]._scl, _opened[id]._sda = _defaults[id]
        return _opened[id]

    def __init__(self, id=0, *, scl=_UNSET, sda=_UNSET, freq=400000, timeout=50000):
        self._id = id
        self._open(
            self._scl if scl is _UNSET else number(scl),
            self._sda if sda is _UNSET else number(sda),
            freq,
            timeout,
        )

    def __repr__(self):
        return "I2C(%d, scl=%d, sda=%d, freq=%d)" % (self._id, self._scl, self._sda, self._freq)

    def init(self, *args, **kwargs):
        raise OSError("I2C operation not supported")

    start = stop = readinto = write = init


class SoftI2C(_Master):
    """A controller made of two pins."""

    _soft = True

    def __init__(self, scl, sda, *, freq=400000, timeout=50000):
        self.init(scl, sda, freq=freq, timeout=timeout)

    def __repr__(self):
        return "SoftI2C(scl=%d, sda=%d, freq=%d)" % (self._scl, self._sda, self._freq)

    def init(self, scl, sda, *, freq=400000, timeout=50000):
        self._open(number(scl), number(sda), freq, timeout)

    def start(self):
        call("i2c.start", self._scl, self._sda)

    def stop(self):
        call("i2c.stop", self._scl, self._sda)

    def readinto(self, buf, nack=True):
        view = memoryview(buf)
        view[:] = call("i2c.raw_read", self._scl, self._sda, len(view))

    def write(self, buf):
        return call("i2c.raw_write", self._scl, self._sda, _bytes(buf))

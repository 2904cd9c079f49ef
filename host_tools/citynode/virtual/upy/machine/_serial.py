"""`machine.UART`, `machine.SPI` and `machine.SoftSPI` of the ESP32 port."""

import io

from _native import time as _time
from _rpc import call

from machine._pin import number

_count = call("uart.count")
_DEFAULT_RX_TX = {1: (9, 10), 2: (16, 17)}
_UNSET = object()
_POLL = 3
_READABLE = 1
_WRITABLE = 4


class UART(io.IOBase):
    """A serial controller; the first one is the REPL's."""

    INV_TX = 0x20
    INV_RX = 0x04
    INV_RTS = 0x40
    INV_CTS = 0x08
    RTS = 1
    CTS = 2

    def __init__(self, id, *args, **kwargs):
        if not 0 <= id < _count:
            raise ValueError("UART(%d) does not exist" % id)
        if id == 0:
            raise ValueError("UART(0) is disabled (dedicated to REPL)")
        self._id = id
        self._rx, self._tx = _DEFAULT_RX_TX[id]
        self._baud, self._bits, self._parity, self._stop = 115200, 8, None, 1
        self._rxbuf = self._txbuf = 256
        self._timeout = self._timeout_char = 0
        self.init(*args, **kwargs)

    def __repr__(self):
        parity = "None" if self._parity is None else "10"[self._parity]
        return (
            "UART(%d, baudrate=%d, bits=%d, parity=%s, stop=%d, tx=%d, rx=%d, rts=-1, cts=-1, "
            "txbuf=%d, rxbuf=%d, timeout=%d, timeout_char=%d)"
            % (
                self._id,
                self._baud,
                self._bits,
                parity,
                self._stop,
                self._tx,
                self._rx,
                self._txbuf,
                self._rxbuf,
                self._timeout,
                self._timeout_char,
            )
        )

    def init(
        self,
        baudrate=0,
        bits=0,
        parity=_UNSET,
        stop=0,
        *,
        tx=None,
        rx=None,
        rts=None,
        cts=None,
        txbuf=-1,
        rxbuf=-1,
        timeout=0,
        timeout_char=0,
        invert=0,
        flow=0,
    ):
        if bits not in (0, 5, 6, 7, 8):
            raise ValueError("invalid data bits")
        if stop not in (0, 1, 2):
            raise ValueError("invalid stop bits")
        self._baud = baudrate or self._baud
        self._bits = bits or self._bits
        self._stop = stop or self._stop
        if parity is not _UNSET:
            self._parity = None if parity is None else 1 - (parity & 1)
        self._tx = self._tx if tx is None else number(tx)
        self._rx = self._rx if rx is None else number(rx)
        self._rxbuf = self._rxbuf if rxbuf < 0 else rxbuf
        self._txbuf = self._txbuf if txbuf < 0 else txbuf
        self._timeout = timeout
        # A whole character at least: 13 bits to be safe.
        self._timeout_char = max(timeout_char, 13000 // self._baud + 1)
        call("uart.open", self._id, self._baud, self._rx, self._tx, self._rxbuf)

    def deinit(self):
        call("uart.close", self._id)

    def any(self):
        return call("uart.any", self._id)

    def read(self, size=-1):
        data = self._take(size if size >= 0 else self._rxbuf)
        return data or None

    def readinto(self, buf, size=-1):
        size = len(buf) if size < 0 else min(size, len(buf))
        data = self._take(size)
        buf[: len(data)] = data
        return len(data) or None

    def readline(self, size=-1):
        line = bytearray()
        while size < 0 or len(line) < size:
            byte = self._take(1)
            line += byte
            if byte in (b"", b"\n"):
                break
        return bytes(line) or None

    def write(self, data):
        return call("uart.write", self._id, data.encode() if isinstance(data, str) else data)

    def flush(self):
        pass

    def txdone(self):
        return True

    def sendbreak(self):
        self.write(b"\0")

    def ioctl(self, request, argument):
        if request == _POLL:
            ready = argument & _WRITABLE
            if argument & _READABLE and self.any():
                ready |= _READABLE
            return ready
        return -22

    def _take(self, size):
        """Wait for the first byte and then for each next as long as the settings say."""
        data = call("uart.read", self._id, size)
        wait = self._timeout_char if data else self._timeout
        while len(data) < size and wait > 0:
            _time.sleep_ms(1)
            more = call("uart.read", self._id, size - len(data))
            if more:
                data += more
                wait = self._timeout_char if self._timeout else 0
            else:
                wait -= 1
        return data


class _SPI:
    MSB = 0
    LSB = 1

    def read(self, nbytes, write=0):
        return self._transfer(bytes([write] * nbytes))

    def readinto(self, buf, write=0):
        view = memoryview(buf)
        view[:] = self._transfer(bytes([write] * len(view)))

    def write(self, buf):
        self._transfer(buf)

    def write_readinto(self, write_buf, read_buf):
        if len(write_buf) != len(read_buf):
            raise ValueError("buffers must be the same length")
        memoryview(read_buf)[:] = self._transfer(write_buf)

    def _transfer(self, data):
        if self._closed:
            raise OSError("transfer on deinitialized SPI")
        return call("spi.transfer", self._sck, self._mosi, self._miso, data)

    def _setup(self, baudrate, polarity, phase, bits, firstbit, sck, mosi, miso):
        self._closed = False
        self._settings = baudrate, polarity, phase, bits, firstbit
        self._sck = number(sck)
        self._mosi = number(mosi)
        self._miso = number(miso)

    def deinit(self):
        self._closed = True

    def init(self, baudrate=None, *, polarity=None, phase=None, bits=None, firstbit=None):
        given = baudrate, polarity, phase, bits, firstbit
        self._settings = tuple([o if n is None else n for n, o in zip(given, self._settings)])
        self._closed = False

    def _text(self, head):
        return "%sbaudrate=%d, polarity=%d, phase=%d, bits=%d, firstbit=%d, " % (
            (head,) + self._settings
        ) + "sck=%d, mosi=%d, miso=%d)" % (self._sck, self._mosi, self._miso)


# (SCK, MOSI, MISO) of each controller where a program gives none: the pins of the IO MUX.
_SPI_PINS = {
    "esp32": ((14, 13, 12), (18, 23, 19)),
    "esp32s3": ((12, 11, 13), (36, 35, 37)),
    "esp32c3": ((6, 7, 2),),
}
_chip = call("system.facts")[0]


class SPI(_SPI):
    """A hardware controller: 1 or 2."""

    def __init__(
        self,
        id=1,
        baudrate=500000,
        *,
        polarity=0,
        phase=0,
        bits=8,
        firstbit=0,
        sck=None,
        mosi=None,
        miso=None,
    ):
        pins = _SPI_PINS[_chip]
        if not 1 <= id <= len(pins):
            raise ValueError("SPI(%d) doesn't exist" % id)
        self._id = id
        given = [p if n is None else n for n, p in zip((sck, mosi, miso), pins[id - 1])]
        self._setup(baudrate, polarity, phase, bits, firstbit, *given)

    def __repr__(self):
        return self._text("SPI(id=%d, " % self._id)


class SoftSPI(_SPI):
    """A controller made of three pins."""

    def __init__(
        self, baudrate=500000, *, polarity=0, phase=0, bits=8, firstbit=0, sck, mosi, miso
    ):
        self._setup(baudrate, polarity, phase, bits, firstbit, sck, mosi, miso)

    def __repr__(self):
        return self._text("SoftSPI(")

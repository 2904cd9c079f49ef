"""`machine.UART` of the ESP32 port; the first controller is the prompt's."""

import io

import _irq
from _clock import bus_us, doze_us
from _native import time as _time
from _rpc import call

from machine._pin import number

_CHANNEL = 400  # of the soft interrupts: this plus the controller's number
_count = call("uart.count")
_DEFAULT_RX_TX = {0: (-1, -1), 1: (9, 10), 2: (16, 17)}
_FIFO = 128  # bytes that the controller itself takes to send
_UNSET = object()
_POLL, _FLUSH = 3, 1
_READABLE, _WRITABLE = 1, 4
_ETIMEDOUT = 116


class _Irq:
    """What UART.irq() returns."""

    def __repr__(self):
        return "<irq>"

    def __init__(self, uart):
        self._uart = uart
        self._flags = 0
        self._trigger = 0
        self._handler = None

    def __call__(self):
        if self._handler is not None:
            self._handler(self._uart)

    def flags(self):
        return self._flags

    def trigger(self, trigger=None):
        old = self._trigger
        if trigger is not None:
            self._set(self._handler, trigger)
        return old

    def _set(self, handler, trigger):
        self._handler = handler
        self._trigger = trigger
        id = self._uart._id
        _irq.attach(_CHANNEL + id, None if handler is None else self._take)
        call("uart.irq", id, 0 if handler is None else trigger)

    def _take(self, flags):
        self._flags = flags
        _irq.run(self._handler, self._uart)


class UART(io.IOBase):
    """A serial controller."""

    INV_TX = 0x20
    INV_RX = 0x04
    INV_RTS = 0x40
    INV_CTS = 0x08
    RTS = 1
    CTS = 2
    IRQ_RX = 1
    IRQ_BREAK = 2
    IRQ_RXIDLE = 0x1000

    def __init__(self, id, *args, **kwargs):
        if not 0 <= id < _count:
            raise ValueError("UART(%d) does not exist" % id)
        self._id = id
        self._rx, self._tx = _DEFAULT_RX_TX[id]
        self._rts = self._cts = -1
        self._baud, self._bits, self._parity, self._stop = 115200, 8, None, 1
        self._rxbuf = self._txbuf = 256
        self._timeout = self._timeout_char = self._invert = self._flow = 0
        self._irq = None
        self.init(*args, **kwargs)

    def __repr__(self):
        text = "UART(%d, baudrate=%d, bits=%d, parity=%s, stop=%d, tx=%d, rx=%d, rts=%d, cts=%d" % (
            self._id,
            self._baud,
            self._bits,
            "None" if self._parity is None else "01"[self._parity],
            self._stop,
            self._tx,
            self._rx,
            self._rts,
            self._cts,
        )
        text += ", txbuf=%d, rxbuf=%d, timeout=%d, timeout_char=%d, irq=%d" % (
            self._txbuf,
            self._rxbuf,
            self._timeout,
            self._timeout_char,
            0 if self._irq is None else self._irq._trigger,
        )
        names = ("INV_TX", "INV_RX", "INV_RTS", "INV_CTS")
        inverted = [name for name in names if self._invert & getattr(UART, name)]
        if inverted:
            text += ", invert=" + "|".join(inverted)
        flow = [name for name in ("RTS", "CTS") if self._flow & getattr(UART, name)]
        if flow:
            text += ", flow=" + "|".join(flow)
        return text + ")"

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
        timeout=-1,
        timeout_char=-1,
        invert=-1,
        flow=-1,
    ):
        if self._id == 0 and (txbuf >= 0 or rxbuf >= 0):
            raise ValueError("UART buffer size is fixed")
        self._rxbuf = self._rxbuf if rxbuf < 0 else rxbuf
        self._txbuf = self._txbuf if txbuf < 0 else txbuf
        self._baud = baudrate if baudrate > 0 else self._baud
        self._tx = self._tx if tx is None else number(tx)
        self._rx = self._rx if rx is None else number(rx)
        self._rts = self._rts if rts is None else number(rts)
        self._cts = self._cts if cts is None else number(cts)
        if bits not in (0, 5, 6, 7, 8):
            raise ValueError("invalid data bits")
        self._bits = bits or self._bits
        if parity is not _UNSET:
            self._parity = None if parity is None else parity & 1
        if stop not in (0, 1, 2):
            raise ValueError("invalid stop bits")
        self._stop = stop or self._stop
        self._timeout = self._timeout if timeout == -1 else timeout
        self._timeout_char = self._timeout_char if timeout_char == -1 else timeout_char
        if invert != -1:
            if invert & ~(UART.INV_TX | UART.INV_RX | UART.INV_RTS | UART.INV_CTS):
                raise ValueError("invalid inversion mask")
            self._invert = invert
        if flow != -1:
            if flow & ~(UART.RTS | UART.CTS):
                raise ValueError("invalid flow control mask")
            self._flow = flow
        if self._id:
            frame = 1 + self._bits + (self._parity is not None) + self._stop
            call("uart.open", self._id, self._baud, frame, self._rx, self._tx, self._rxbuf)

    def deinit(self):
        if self._id:
            call("uart.close", self._id)

    def irq(self, handler=None, trigger=0, hard=False):
        if self._irq is None:
            self._irq = _Irq(self)
        if handler is not None and not callable(handler):
            raise ValueError("handler must be None or callable")
        refused = trigger & ~(UART.IRQ_RX | UART.IRQ_BREAK | UART.IRQ_RXIDLE)
        if refused:
            raise ValueError("trigger 0x%04x unsupported" % refused)
        if hard:
            raise ValueError("hard IRQ is not supported")
        self._irq._set(handler, trigger)
        return self._irq

    def any(self):
        return call("uart.any", self._id) if self._id else 0

    def read(self, size=-1):
        return self._take(size) or None

    def readinto(self, buf, size=-1):
        size = len(buf) if size < 0 else min(size, len(buf))
        data = self._take(size)
        buf[: len(data)] = data
        return len(data) or None

    def readline(self, size=-1):
        line = bytearray()
        while size < 0 or len(line) < size:
            byte = self._wait(1)
            line += byte
            if byte in (b"", b"\n"):
                break
        return bytes(line) or None

    def write(self, data, *span):
        if isinstance(data, str):
            data = data.encode()
        if span:
            data = bytes(memoryview(data)[span[0] if len(span) > 1 else 0 :][: span[-1]])
        if not self._id:
            call("stdout.raw", bytes(data))
            return len(data)
        pending_us = call("uart.write", self._id, data)
        room = self._txbuf + _FIFO
        self._sleep(pending_us - room * 10 * 1000000 // self._baud)
        return len(data)

    def flush(self):
        if self._id:
            self._sleep(call("uart.pending", self._id))

    def txdone(self):
        return not self._id or call("uart.pending", self._id) == 0

    def sendbreak(self):
        if self._id:
            self.flush()
            self._sleep(call("uart.break", self._id))

    def ioctl(self, request, argument):
        if request == _POLL:
            ready = argument & _WRITABLE
            if argument & _READABLE and self.any():
                ready |= _READABLE
            return ready
        if request == _FLUSH:
            self.flush()
            return 0
        return -22

    def _sleep(self, us):
        if us > 0:
            _time.sleep_us(us)

    def _wait(self, size):
        """Return what comes of `size` bytes within the timeout."""
        if not self._id:
            return b""
        data = call("uart.read", self._id, size)
        end = bus_us() + 1000 * self._timeout
        while len(data) < size:
            left = end - bus_us()
            if left <= 0:
                break
            doze_us(left)
            data += call("uart.read", self._id, size - len(data))
        return data

    def _take(self, size):
        """Read until `size` bytes are there, or all (-1), or the timeout passes without one."""
        data = b""
        while size < 0 or len(data) < size:
            more = self._wait(size - len(data) if size >= 0 else self._rxbuf)
            if not more:
                break
            data += more
        return data

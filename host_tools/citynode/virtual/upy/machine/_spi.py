"""`machine.SPI` and `machine.SoftSPI` of the ESP32 port."""

import _facts
from _rpc import spi_transfer, spi_write

from machine._bus import now_us, spend
from machine._pin import input_only, number

_UNSET = object()
_APB_HZ = 80000000
_SOFT_MAX = 800000  # about what bit-banging reaches
# (SCK, MOSI, MISO) of each controller where a program gives none: the pins of the IO MUX.
_PINS = {
    "esp32": ((14, 13, 12), (18, 23, 19)),
    "esp32s3": ((12, 11, 13), (36, 35, 37)),
    "esp32c3": ((6, 7, 2),),
}[_facts.chip]
_made = {}


def _reversed(data):
    """Return bytes with their bits in the opposite order."""
    result = bytearray(len(data))
    for i in range(len(data)):
        value = 0
        for bit in range(8):
            value |= (data[i] >> bit & 1) << (7 - bit)
        result[i] = value
    return result


class _Spi:
    MSB = 0
    LSB = 1

    def read(self, nbytes, write=0):
        return self._transfer(bytes([write & 0xFF] * nbytes))

    def readinto(self, buf, write=0):
        view = memoryview(buf)
        view[:] = self._transfer(bytes([write & 0xFF] * len(view)))

    def write(self, buf):
        self._transfer(buf.encode() if isinstance(buf, str) else buf, spi_write)

    def write_readinto(self, write_buf, read_buf):
        if len(write_buf) != len(read_buf):
            raise ValueError("buffers must be the same length")
        memoryview(read_buf)[:] = self._transfer(write_buf)

    def _transfer(self, data, transfer=spi_transfer):
        start = now_us()
        data = bytes(data)
        if self._firstbit:
            data = _reversed(data)
        answer = transfer(self._sck, self._mosi, self._miso, data)
        spend(start, len(data) * 8, self._baudrate)
        return bytes(_reversed(answer)) if answer and self._firstbit else answer


class SPI(_Spi):
    """A hardware controller: 1 or 2; one object for each."""

    def __new__(cls, *args, **kwargs):
        if not args or args[0] == -1:
            print("Warning: SPI(-1, ...) is deprecated, use SoftSPI(...) instead")
            return SoftSPI(*args[1:], **kwargs)
        id = args[0]
        if not 1 <= id <= len(_PINS):
            raise ValueError("SPI(%d) doesn't exist" % id)
        if id not in _made:
            _made[id] = object.__new__(cls)
        return _made[id]

    def __init__(
        self,
        id,
        baudrate=500000,
        *,
        polarity=0,
        phase=0,
        bits=8,
        firstbit=0,
        sck=_UNSET,
        mosi=_UNSET,
        miso=_UNSET,
    ):
        self._id = id
        pins = [
            default if given is _UNSET else given
            for given, default in zip((sck, mosi, miso), _PINS[id - 1])
        ]
        self._set(baudrate, polarity, phase, bits, firstbit, *pins)

    def __repr__(self):
        return (
            "SPI(id=%d, baudrate=%d, polarity=%d, phase=%d, bits=%d, firstbit=%d, "
            "sck=%d, mosi=%d, miso=%d)"
            % (
                self._id,
                self._baudrate,
                self._polarity,
                self._phase,
                self._bits,
                self._firstbit,
                self._sck,
                self._mosi,
                self._miso,
            )
        )

    def init(
        self,
        baudrate=_UNSET,
        *,
        polarity=_UNSET,
        phase=_UNSET,
        bits=_UNSET,
        firstbit=_UNSET,
        sck=_UNSET,
        mosi=_UNSET,
        miso=_UNSET,
    ):
        given = baudrate, polarity, phase, bits, firstbit, sck, mosi, miso
        kept = self._baudrate, self._polarity, self._phase, self._bits, self._firstbit
        kept += self._sck, self._mosi, self._miso
        self._set(*[old if new is _UNSET else new for new, old in zip(given, kept)])

    def _set(self, baudrate, polarity, phase, bits, firstbit, sck, mosi, miso):
        if bits <= 0:
            raise ValueError("invalid bits")
        sck, mosi, miso = [
            -1 if pin is None or pin == -1 else number(pin) for pin in (sck, mosi, miso)
        ]
        if sck in input_only or mosi in input_only:
            raise OSError("invalid configuration")
        self._baudrate = _reachable(baudrate)
        self._polarity = polarity
        self._phase = phase
        self._bits = bits
        self._firstbit = firstbit
        self._sck = sck
        self._mosi = mosi
        self._miso = miso
        self._open = True

    def deinit(self):
        self._open = False

    def _transfer(self, data, transfer=spi_transfer):
        if not self._open:
            raise OSError("transfer on deinitialized SPI")
        if not len(data) * 8 // self._bits:
            raise ValueError("buffer too short")
        return super()._transfer(data, transfer)


def _reachable(baudrate):
    """Return the speed nearest to `baudrate` that dividing the bus clock gives."""
    if baudrate > _APB_HZ // 4 * 3:
        return _APB_HZ
    best = _APB_HZ
    for count in range(2, 65):
        divider = min(max((_APB_HZ // count + baudrate // 2) // baudrate, 1), 8192)
        speed = _APB_HZ // (divider * count)
        if abs(speed - baudrate) <= abs(best - baudrate):
            best = speed
    return best


class SoftSPI(_Spi):
    """A controller made of three pins."""

    def __init__(
        self,
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
        if bits != 8:
            raise ValueError("bits must be 8")
        if sck is None or mosi is None or miso is None:
            raise ValueError("must specify all of sck/mosi/miso")
        self.init(
            baudrate,
            polarity=polarity,
            phase=phase,
            firstbit=firstbit,
            sck=sck,
            mosi=mosi,
            miso=miso,
        )

    def __repr__(self):
        return (
            "SoftSPI(baudrate=%d, polarity=%d, phase=%d, firstbit=%d, sck=%d, mosi=%d, miso=%d)"
            % (
                self._baudrate,
                self._polarity,
                self._phase,
                self._firstbit,
                self._sck,
                self._mosi,
                self._miso,
            )
        )

    def init(
        self,
        baudrate=None,
        *,
        polarity=None,
        phase=None,
        firstbit=None,
        sck=None,
        mosi=None,
        miso=None,
    ):
        if baudrate is not None:
            self._baudrate = _SOFT_MAX
            if baudrate < _SOFT_MAX:
                # Half a bit takes whole microseconds.
                self._baudrate = 500000 // -(-500000 // baudrate)
        if polarity is not None:
            self._polarity = polarity
        if phase is not None:
            self._phase = phase
        if firstbit is not None:
            self._firstbit = firstbit
        if sck is not None:
            self._sck = number(sck)
        if mosi is not None:
            self._mosi = number(mosi)
        if miso is not None:
            self._miso = number(miso)

    def deinit(self):
        pass

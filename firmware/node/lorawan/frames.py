"""PHYPayloads: uplinks and join requests are built, downlinks and join accepts are read.

All of them are in a buffer of `new_buffer()` from offset ROOM on. The room before is for the
block B0 that a MIC begins with, so that it is computed over one piece of memory. Any bytes give
a value or a FrameError, and nothing is believed of a frame before its MIC.
"""

from node.lorawan.crypto import DOWN, MIC_BLOCK, UP, put_block
from node.wire.const import const

ROOM = const(16)
MAX_PHY = const(255)

ADR = const(0x80)
ADR_ACK_REQ = const(0x40)
ACK = const(0x20)
_PENDING = const(0x10)
MAX_FOPTS = const(15)

NO_PORT = const(-1)

_JOIN_REQUEST = const(0x00)
_JOIN_ACCEPT = const(0x20)
_DATA_UP = const(0x40)
_DATA_DOWN = const(0x60)
_CONFIRMED_UP = const(0x80)
_CONFIRMED_DOWN = const(0xA0)
_TYPE_AND_MAJOR = const(0xE3)

_MIC = const(4)
_HEADER = const(8)  # MHDR and FHDR without FOpts
_JOIN_NONCE = const(1)
_SHORT_ACCEPT = const(17)
_LONG_ACCEPT = const(33)


class FrameError(Exception):
    """Bytes that are no frame for this device.

    `kind`: "length", "type" (not a downlink of this version), "address", "counter" (used up),
    "mic", "options" (FOpts longer than the frame, or beside FPort 0).
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Downlink:
    """A data frame whose MIC is right; FOpts and FRMPayload are ranges of the buffer."""

    def __init__(self, mhdr: int, fctrl: int, fcnt: int) -> None:
        self.confirmed = mhdr == _CONFIRMED_DOWN
        self.ack = bool(fctrl & ACK)
        self.pending = bool(fctrl & _PENDING)
        self.fcnt = fcnt
        self.options = ROOM + _HEADER
        self.options_end = self.options + (fctrl & MAX_FOPTS)
        self.port = NO_PORT
        self.payload = 0
        self.payload_end = 0


class JoinAccept:
    """A join accept whose MIC is right; `nonces` are JoinNonce and NetID as on the air."""

    def __init__(self, data: bytes) -> None:
        self.nonces = data[:6]
        self.join_nonce = data[0] | data[1] << 8 | data[2] << 16
        self.dev_addr = data[6:10]
        self.dl_settings = data[10]
        self.rx_delay = data[11]
        self.cflist = data[12:]


def new_buffer() -> bytearray:
    """Return a buffer for a frame of any length, with the room before it."""
    return bytearray(ROOM + MAX_PHY)


def build_join_request(buffer, key, join_eui: bytes, dev_eui: bytes, dev_nonce: int) -> int:
    """Build a join request (TS001 section 6.2.5); return its length. EUIs are as printed."""
    buffer[ROOM] = _JOIN_REQUEST
    for i in range(8):
        buffer[ROOM + 1 + i] = join_eui[7 - i]
        buffer[ROOM + 9 + i] = dev_eui[7 - i]
    buffer[ROOM + 17] = dev_nonce & 0xFF
    buffer[ROOM + 18] = dev_nonce >> 8
    return _sign(buffer, ROOM, 19, key)


def build_data(
    buffer,
    nwk,
    app,
    confirmed: bool,
    dev_addr: bytes,
    fctrl: int,
    fcnt: int,
    options,
    port,
    payload,
) -> int:
    """Build an uplink (TS001 section 4.3); return its length.

    `fctrl` is without FOptsLen; `options` at most MAX_FOPTS bytes; `port` NO_PORT where there is
    no payload. What goes to port 0 is encrypted with the network's key.
    """
    buffer[ROOM] = _CONFIRMED_UP if confirmed else _DATA_UP
    buffer[ROOM + 1 : ROOM + 5] = dev_addr
    n = len(options)
    buffer[ROOM + 5] = fctrl | n
    buffer[ROOM + 6] = fcnt & 0xFF
    buffer[ROOM + 7] = (fcnt >> 8) & 0xFF
    end = ROOM + _HEADER + n
    buffer[ROOM + _HEADER : end] = options
    if port != NO_PORT:
        buffer[end] = port
        start = end + 1
        end = start + len(payload)
        buffer[start:end] = payload
        (app if port else nwk).stream(buffer, start, end, UP, dev_addr, fcnt)
    size = end - ROOM
    put_block(buffer, 0, MIC_BLOCK, UP, dev_addr, fcnt, size)
    return _sign(buffer, 0, size, nwk)


def parse_data(buffer, size: int, nwk, app, dev_addr: bytes, next_fcnt: int) -> Downlink:
    """Read and decrypt the downlink in `buffer`; raise FrameError for anything else.

    `next_fcnt` is the lowest counter not yet seen; the 16 bits on the air are taken for the
    first counter from there on that ends in them (TS001 section 4.3.1.5).
    """
    if not _HEADER + _MIC <= size <= MAX_PHY:
        raise FrameError("length")
    mhdr = buffer[ROOM] & _TYPE_AND_MAJOR
    if mhdr not in (_DATA_DOWN, _CONFIRMED_DOWN):
        raise FrameError("type")
    for i in range(4):
        if buffer[ROOM + 1 + i] != dev_addr[i]:
            raise FrameError("address")
    low = buffer[ROOM + 6] | buffer[ROOM + 7] << 8
    fcnt = next_fcnt + ((low - next_fcnt) & 0xFFFF)
    if fcnt > 0xFFFFFFFF:
        raise FrameError("counter")
    put_block(buffer, 0, MIC_BLOCK, DOWN, dev_addr, fcnt, size - _MIC)
    _check(buffer, 0, size, nwk)
    frame = Downlink(mhdr, buffer[ROOM + 5], fcnt)
    end = ROOM + size - _MIC
    if frame.options_end > end:
        raise FrameError("options")
    if frame.options_end < end:
        frame.port = buffer[frame.options_end]
        if frame.port == 0 and frame.options_end > frame.options:
            raise FrameError("options")
        frame.payload = frame.options_end + 1
        frame.payload_end = end
        key = app if frame.port else nwk
        key.stream(buffer, frame.payload, end, DOWN, dev_addr, fcnt)
    return frame


def parse_join_accept(buffer, size: int, key) -> JoinAccept:
    """Read and decrypt the join accept in `buffer`; raise FrameError for anything else.

    The network encrypts it with AES decryption, so that encryption here reads it (TS001
    section 6.2.6).
    """
    if size not in (_SHORT_ACCEPT, _LONG_ACCEPT):
        raise FrameError("length")
    if buffer[ROOM] & _TYPE_AND_MAJOR != _JOIN_ACCEPT:
        raise FrameError("type")
    key.encrypt(buffer, ROOM + 1, ROOM + size)
    _check(buffer, ROOM, size, key)
    return JoinAccept(bytes(memoryview(buffer)[ROOM + _JOIN_NONCE : ROOM + size - _MIC]))


def _sign(buffer, start: int, size: int, key) -> int:
    # `start` is where the MIC's computation begins, `size` the frame's without its MIC.
    end = ROOM + size
    mic = key.cmac(buffer, start, end)
    for i in range(_MIC):
        buffer[end + i] = mic[i]
    return size + _MIC


def _check(buffer, start: int, size: int, key) -> None:
    end = ROOM + size - _MIC
    mic = key.cmac(buffer, start, end)
    wrong = 0
    for i in range(_MIC):
        wrong |= buffer[end + i] ^ mic[i]
    if wrong:
        raise FrameError("mic")

"""What the operator tells a node in a downlink, signed with the node's own command key.

    command  code u8, counter u32, arguments, tag (8 bytes)

Numbers have their lowest byte first. The tag is the start of the AES-CMAC (RFC 4493) with the
command key over DevEUI (as printed), port (u8), code, counter and arguments. The counter has to
be greater than that of any command obeyed before, and is stored before the command is obeyed.

    1 interval   u32: seconds between samples; 0: what the profile says
    2 restart    3 rejoin    4 health
"""

import struct

from node.wire.const import const

PORT = const(10)

INTERVAL = const(1)
RESTART = const(2)
REJOIN = const(3)
HEALTH = const(4)
MARK = "command"

_HEAD = "<BI"
_HEAD_BYTES = const(5)
_TAG_BYTES = const(8)
_MOST_COUNTER = const(0x7FFFFFFF)
# Length of the arguments by code.
_ARGUMENTS = {INTERVAL: 4, RESTART: 0, REJOIN: 0, HEALTH: 0}


class Commands:
    """Reads commands. `key` is a `lorawan.crypto.Key`, or None: then none is obeyed.

    `marks` has `get(key)` and `set(key, number)` for the counter.
    """

    def __init__(self, key, dev_eui: bytes, marks) -> None:
        self._key = key
        self._dev_eui = dev_eui
        self._marks = marks
        self._last = marks.get(MARK)

    def take(self, port: int, data: bytes):
        """Return (code, argument) of a command to be obeyed now, None for anything else.

        Raises OSError where its counter cannot be stored; it must not be obeyed then.
        """
        end = len(data) - _TAG_BYTES
        if self._key is None or port != PORT or end < _HEAD_BYTES:
            return None
        signed = self._dev_eui + bytes((port,)) + data[:end]
        tag = self._key.cmac(signed, 0, len(signed))
        wrong = 0
        for i in range(_TAG_BYTES):
            wrong |= data[end + i] ^ tag[i]
        code, counter = struct.unpack_from(_HEAD, data)
        if wrong or not self._last < counter <= _MOST_COUNTER:
            return None
        if _ARGUMENTS.get(code) != end - _HEAD_BYTES:
            return None
        self._marks.set(MARK, counter)
        self._last = counter
        if code == INTERVAL:
            return code, struct.unpack_from("<I", data, _HEAD_BYTES)[0]
        return code, 0

"""The MAC's memory in flash: two files in turn, so that one of them is whole at any time.

    file   magic "cls1", serial u32, DevNonce u32, Unix seconds u32 (0: not known), state, CRC-32

The newest one counts. LittleFS replaces a file whole when it is closed, so that a power cut
leaves it as it was, or empty where it was new. A file that is neither whole nor empty is damage:
then the other one may be older than what was on the air, and neither counters nor session are
taken from it. For that day, and for the one when the file system is written anew, the DevNonce is
in `marks` as well (NVS), a little ahead, so that it is written there now and then only.
"""

import os
import struct
from binascii import crc32

from node.wire.const import const

_MAGIC = b"cls1"
_FORM = "<4sIII"
_HEAD = const(16)
_MOST = const(600)
_AHEAD = const(32)
_NAMES = ("a", "b")
MARK = "dev_nonce"


class Sessions:
    """What is in `folder`; `marks` has `get(key)` and `set(key, number)`.

    `state` is the newest state (b"": none), `saved_s` when it was written (Unix seconds, 0: not
    known), `first_nonce` what to begin with where there is no state, `damaged` whether a file was.
    """

    def __init__(self, folder: str, marks) -> None:
        self._folder = folder
        self._marks = marks
        self._mark = marks.get(MARK)
        self._serial = 0
        self._next = 0
        self.state = b""
        self.saved_s = 0
        self.damaged = False
        self.first_nonce = self._mark
        try:
            os.mkdir(folder)
        except OSError:
            pass  # it is there; or whatever is wrong shows with the first state
        for i in range(len(_NAMES)):
            data = self._read(_NAMES[i])
            if not data:
                continue
            if (
                not _HEAD + 4 <= len(data) < _MOST
                or data[:4] != _MAGIC
                or struct.unpack_from("<I", data, len(data) - 4)[0] != crc32(data[:-4])
            ):
                self.damaged = True
                self._next = i
                continue
            _, serial, nonce, saved_s = struct.unpack_from(_FORM, data)
            self.first_nonce = max(self.first_nonce, nonce + _AHEAD)
            if serial > self._serial:
                self._serial = serial
                self._next = 1 - i
                self.state = data[_HEAD:-4]
                self.saved_s = saved_s
        if self.damaged:
            self.state = b""

    def save(self, state: bytes, nonce: int, unix_s: int) -> None:
        """Store a state; when this returns it is on flash. Raises OSError."""
        if nonce > self._mark:
            try:
                self._marks.set(MARK, nonce + _AHEAD)
                self._mark = nonce + _AHEAD
            except OSError:
                pass  # the file below has the number itself
        serial = self._serial + 1
        data = struct.pack(_FORM, _MAGIC, serial, nonce, unix_s) + state
        with open(self._folder + "/" + _NAMES[self._next], "wb") as file:
            file.write(data + struct.pack("<I", crc32(data)))
        self._serial = serial
        self._next = 1 - self._next

    def _read(self, name: str) -> bytes:
        try:
            with open(self._folder + "/" + name, "rb") as file:
                return file.read(_MOST)
        except OSError:
            return b""

"""The breadcrumb in RTC memory: what the next start has to know and flash is too slow for.

It outlives deep sleep, a soft reset and a watchdog's, and is gone after a loss of power, as the
time of day is: whether that is known stands here.
"""

import struct
from binascii import crc32

_MAGIC = b"cnc3"
# magic, era, synced_s, health_s, aim_s, status, sizes of the counters and of the session
_FORM = "<4sHIIIHHH"


class Crumb:
    """`era` of the clock (0: none), `synced_s` when it was set (Unix, 0: never), `health_s`.

    `load()` returns the RTC memory, `store(bytes)` writes it. For the time after a deep sleep:
    `aim_s`, the instant that the node then samples at (0: none), `status`, the bits that the next
    record is to have, the counters, and what the uplink needs to go on: their bytes are in
    `found_counters` and `found_session`.
    """

    def __init__(self, load, store) -> None:
        self._store = store
        self.era = 0
        self.synced_s = 0
        self.health_s = 0
        self.aim_s = 0
        self.status = 0
        self.found_counters = b""
        self.found_session = b""
        data = bytes(load())
        head = struct.calcsize(_FORM)
        if len(data) < head + 4 or data[:4] != _MAGIC:
            return
        _, era, synced_s, health_s, aim_s, status, size, more = struct.unpack_from(_FORM, data)
        end = head + size + more
        if len(data) != end + 4 or struct.unpack_from("<I", data, end)[0] != crc32(data[:end]):
            return
        self.era, self.synced_s, self.health_s = era, synced_s, health_s
        self.aim_s, self.status = aim_s, status
        self.found_counters = data[head : head + size]
        self.found_session = data[head + size : end]

    def save(self, counters: bytes = b"", session: bytes = b"") -> None:
        """Write it."""
        data = struct.pack(
            _FORM,
            _MAGIC,
            self.era,
            self.synced_s & 0xFFFFFFFF,
            self.health_s & 0xFFFFFFFF,
            self.aim_s & 0xFFFFFFFF,
            self.status,
            len(counters),
            len(session),
        )
        data += counters + session
        self._store(data + struct.pack("<I", crc32(data)))

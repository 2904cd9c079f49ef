"""What is counted since the start of the program; a deep sleep does not end it."""

import struct

NAMES = (
    "sensor_faults",
    "lost",
    "crashes",
    "link_reconnects",
    "broker_reconnects",
    "config_faults",
    "dropped",
    "ignored",
)
_FORM = "<%dI" % len(NAMES)
SIZE = struct.calcsize(_FORM)


class Counters:
    """A number by each of `NAMES`.

    `sensor_faults`: records that a sensor gave nothing for; `lost`: records that flash did not
    take; `crashes`: tasks restarted; `dropped`: accepted records that a full spool gave up;
    `ignored`: downlinks that were no command, or one that could not be obeyed.
    """

    def __init__(self) -> None:
        self.sensor_faults = 0
        self.lost = 0
        self.crashes = 0
        self.link_reconnects = 0
        self.broker_reconnects = 0
        self.config_faults = 0
        self.dropped = 0
        self.ignored = 0

    def pack(self) -> bytes:
        """Return all of them as bytes."""
        return struct.pack(_FORM, *[getattr(self, name) & 0xFFFFFFFF for name in NAMES])

    def unpack(self, data: bytes) -> None:
        """Take over what `pack` gave before a deep sleep."""
        values = struct.unpack(_FORM, data)
        for i in range(len(NAMES)):
            setattr(self, NAMES[i], values[i])

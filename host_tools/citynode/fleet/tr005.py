"""The LoRaWAN device identification QR code (LoRa Alliance TR005-1.0.0); a key is never in it."""

import re
from dataclasses import dataclass

# No vendor's: VendorID and VendorProfileID come from the LoRa Alliance.
NO_PROFILE = "FFFFFFFF"

_PROFILE = re.compile(r"[0-9A-F]{8}")
# What QR codes keep in eleven bits for two (ISO/IEC 18004, table 5), less the separator.
_SERIAL = re.compile(r"[0-9A-Z $%*+./-]{1,64}")


@dataclass(frozen=True)
class Options:
    """What is the same on all labels: ProfileID (8 hex digits), whether there is a checksum."""

    profile_id: str = NO_PROFILE
    checksum: bool = False

    def __post_init__(self) -> None:
        if not _PROFILE.fullmatch(self.profile_id):
            raise ValueError("a ProfileID is 8 hex digits in capitals")


def text(dev_eui: str, join_eui: str, options: Options, serial: str | None = None) -> str:
    """Return LW:D0:<JoinEUI>:<DevEUI>:<ProfileID>[:S<serial>][:C<checksum>] in capitals.

    Raises ValueError for a serial number that TR005 has no room for.
    """
    parts = ["LW", "D0", join_eui.upper(), dev_eui.upper(), options.profile_id]
    if serial is not None:
        if not _SERIAL.fullmatch(serial):
            raise ValueError("a serial number is capitals, digits and -./+*%$")
        parts.append(f"S{serial}")
    whole = ":".join(parts)
    return f"{whole}:C{crc16(whole.encode()):04X}" if options.checksum else whole


def crc16(data: bytes) -> int:
    """Return the CRC of TR005's CheckSum: polynomial 0x8005 reflected, from 0xFFFF."""
    crc = 0xFFFF
    for each in data:
        crc ^= each
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return crc

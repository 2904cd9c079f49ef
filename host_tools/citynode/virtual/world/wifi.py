"""The air that WiFi stations hear: access points, each with its network and its key."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

OPEN = 0
WPA2_PSK = 3
BENCH_SSID = "citynode-bench"
BENCH_PASSWORD = "bochum-bench"  # noqa: S105 - printed in the manual: it opens nothing real
# Below this a station does not find the access point any more, or cannot talk to it.
SENSITIVITY_DBM = -92


@dataclass(slots=True)
class AccessPoint:
    """One access point as the boards hear it; `Wifi.change` changes it while they do.

    `ssid` up to 32 bytes of UTF-8, `password` "" for an open network, `rssi` in dBm, `channel` 1
    to 13, `bssid` 6 bytes (derived from the name if not given).
    """

    ssid: str
    password: str = ""
    rssi: int = -58
    channel: int = 6
    bssid: bytes = b""
    hidden: bool = False
    on: bool = True

    def __post_init__(self) -> None:
        if not self.bssid:
            # 02: locally administered, so it is nobody's real address.
            self.bssid = b"\x02" + hashlib.sha256(self.ssid.encode()).digest()[:5]

    @property
    def authmode(self) -> int:
        """The number that a scan reports: 0 open, 3 WPA2-PSK."""
        return WPA2_PSK if self.password else OPEN

    @property
    def audible(self) -> bool:
        """Whether a station hears it."""
        return self.on and self.rssi >= SENSITIVITY_DBM


class Wifi:
    """The access points in reach of the boards."""

    def __init__(self) -> None:
        self.access_points: list[AccessPoint] = []
        self._listeners: list[Callable[[], None]] = []

    def listen(self, fn: Callable[[], None]) -> None:
        """Call `fn` after every change."""
        self._listeners.append(fn)

    def change(
        self,
        point: AccessPoint,
        *,
        on: bool | None = None,
        rssi: int | None = None,
        password: str | None = None,
    ) -> None:
        """Switch an access point on or off, move it away, give it another password."""
        point.on = point.on if on is None else on
        point.rssi = point.rssi if rssi is None else rssi
        point.password = point.password if password is None else password
        self._changed()

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    def add(
        self,
        ssid: str,
        password: str = "",
        *,
        rssi: int = -58,
        channel: int = 6,
        bssid: bytes = b"",
        hidden: bool = False,
    ) -> AccessPoint:
        """Add an access point; a network's second one needs a `bssid` of its own."""
        point = AccessPoint(ssid, password, rssi, channel, bssid, hidden)
        self.access_points.append(point)
        self._changed()
        return point

    def audible(self) -> list[AccessPoint]:
        """Return what a scan finds, the strongest first."""
        heard = [point for point in self.access_points if point.audible]
        return sorted(heard, key=lambda point: -point.rssi)

    def find(self, ssid: str, bssid: bytes | None = None) -> AccessPoint | None:
        """Return the strongest audible access point of a network, or the one with `bssid`."""
        for point in self.audible():
            if point.ssid == ssid and bssid in (None, point.bssid):
                return point
        return None

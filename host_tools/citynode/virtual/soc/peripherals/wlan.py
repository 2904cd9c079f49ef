"""The WiFi driver: scanning, the station with its reconnects and its failures, an idle soft-AP.

Times are those of an ESP32 on a quiet channel; status and error numbers are ESP-IDF's.
"""

import random
from collections.abc import Callable
from enum import Enum

from citynode.virtual.engine import Engine, Timer
from citynode.virtual.soc.peripherals.pins import Host
from citynode.virtual.soc.rpc import HardwareError, Value
from citynode.virtual.world import World
from citynode.virtual.world.wifi import AccessPoint

_IDLE, _CONNECTING, _GOT_IP = 1000, 1001, 1010
_LEFT, _BEACON_TIMEOUT, _NO_AP, _AUTH_FAIL = 8, 200, 201, 202  # wifi_err_reason_t
_STATION, _SOFT_AP = 0, 1
_AP_AUTH = 0

_SCAN_ALL_S = (1.9, 2.3)  # 13 channels
_SCAN_FOUND_S = (0.4, 1.0)  # it stops at the network that it looks for
_JOIN_S = (0.10, 0.25)
_DHCP_S = (0.25, 0.60)
_HANDSHAKE_S = (3.0, 4.0)  # the access point repeats the message that a wrong key cannot answer
_BEACON_S = 6.0


class _State(Enum):
    DOWN = "down"
    CONNECTING = "connecting"
    UP = "up"


class Wlan:
    """One chip's radio and its driver; `on_link(up)` hears when there is an address and when not.

    `on_status` is called when the driver's status may have changed without a call of the program.
    `on_radio` is called when `on`, `joining` or `up` may have changed.
    `ip` is the address that the network's DHCP server gives this station.
    """

    def __init__(self, engine: Engine, world: World, rng: random.Random, ip: str) -> None:
        self.ip = ip
        self.on_link: Callable[[bool], None] = lambda up: None
        self.on_status: Callable[[], object] = lambda: None
        self.on_radio: Callable[[], object] = lambda: None
        self._engine = engine
        self._world = world
        self._rng = rng
        self._timer: Timer | None = None
        self._clear()
        world.wifi.listen(self._world_changed)

    def _clear(self) -> None:
        self._modes = {_STATION: False, _SOFT_AP: False}
        self._state = _State.DOWN
        self._requested = False
        self._reason = 0
        self._attempts_limit = 0  # 0: tries for ever
        self._attempts = 0
        self._ssid = ""
        self._password = ""
        self._bssid: bytes | None = None
        self._point: AccessPoint | None = None

    @property
    def joining(self) -> bool:
        """Whether the station looks for its network, or is about to join it."""
        return self._state is _State.CONNECTING

    @property
    def up(self) -> bool:
        """Whether the station has an address."""
        return self._state is _State.UP

    @property
    def hears(self) -> bool:
        """Whether packets come through: the access point may be gone and not missed yet."""
        return self.up and self._point is not None and self._point.audible

    @property
    def on(self) -> bool:
        """Whether the radio is in use."""
        return any(self._modes.values())

    def attach(self, app: Host) -> None:
        """Answer the calls of `network.WLAN`."""
        app.expose("wlan.active", self._active)
        app.expose("wlan.scan", self._scan)
        app.expose("wlan.connect", self._connect)
        app.expose("wlan.disconnect", self._disconnect)
        app.expose("wlan.isconnected", lambda: self.up)
        app.expose("wlan.status", self._status)
        app.expose("wlan.rssi", self._rssi)
        app.expose("wlan.channel", lambda: self._point.channel if self._point else 1)
        app.expose("wlan.ssid", lambda: self._ssid)
        app.expose("wlan.ip", lambda: self.ip if self.up else None)
        app.expose("wlan.reconnects", self._reconnects)

    def reset(self) -> None:
        """Switch the radio off and forget all that was set."""
        self._stop_timer()
        was_up = self.up
        self._clear()
        if was_up:
            self.on_link(False)
        self.on_radio()

    # -- the driver's calls ---------------------------------------------------------------------

    def _active(self, interface: int, on: bool | None) -> bool:
        if on is not None:
            self._modes[interface] = on
            if interface == _STATION and not on:
                self._requested = False
                self._down(_LEFT if self._state is not _State.DOWN else self._reason)
            self.on_radio()
        return self._modes[interface]

    def _scan(self) -> Value:
        if not self._modes[_STATION]:
            raise HardwareError("OSError", "STA must be active")
        if self._state is _State.CONNECTING:
            return ()  # the driver refuses, of which the port makes an empty list
        return tuple(
            (
                b"" if point.hidden else point.ssid.encode(),
                point.bssid,
                point.channel,
                self._measured(point),
                point.authmode,
                False,  # the port does not tell hidden ones apart
            )
            for point in self._world.wifi.audible()
        )

    def _connect(self, ssid: str | None, password: str, bssid: bytes | None) -> None:
        if not self._modes[_STATION]:
            raise HardwareError("OSError", "Wifi Not Started")
        if self._state is _State.CONNECTING:
            # The driver takes no new settings while it works with the old ones.
            raise HardwareError("OSError", "Wifi Internal State Error")
        if self._state is _State.UP:
            raise HardwareError("OSError", "Wifi Internal Error")
        if ssid is not None:
            self._ssid, self._password, self._bssid = ssid, password, bssid
        self._requested = True
        self._attempts = 0
        self._attempt()

    def _disconnect(self) -> None:
        if not self._modes[_STATION]:
            raise HardwareError("OSError", "Wifi Not Started")
        self._requested = False
        if self._state is not _State.DOWN:
            self._down(_LEFT)

    def _status(self) -> int:
        if self._state is _State.UP:
            return _GOT_IP
        # What hindered the last attempt shows while the next one goes on.
        if self._reason in (_NO_AP, _AUTH_FAIL):
            return self._reason
        if self._reason == _LEFT:
            return _IDLE
        if self._requested and (not self._attempts_limit or self._attempts < self._attempts_limit):
            return _CONNECTING
        return self._reason or _IDLE

    def _rssi(self) -> int:
        if self._state is not _State.UP or self._point is None:
            raise HardwareError("OSError", "Wifi Not Connected")
        return self._measured(self._point)

    def _reconnects(self, count: int | None) -> int:
        if count is not None:
            self._attempts_limit = 0 if count < 0 else count + 1
        return self._attempts_limit - 1

    def _measured(self, point: AccessPoint) -> int:
        return round(point.rssi + self._rng.gauss(0, 1.2))

    # -- the station ----------------------------------------------------------------------------

    def _attempt(self) -> None:
        self._state = _State.CONNECTING
        self._point = self._world.wifi.find(self._ssid, self._bssid)
        if self._point is None:
            self._after(_SCAN_ALL_S, self._down, _NO_AP)
        elif self._point.password and self._point.password != self._password:
            self._after(_HANDSHAKE_S, self._down, _AUTH_FAIL)
        else:
            times = (_SCAN_FOUND_S, _JOIN_S, _DHCP_S)
            span = (sum(low for low, _ in times), sum(high for _, high in times))
            self._after(span, self._joined)
        self.on_radio()

    def _joined(self) -> None:
        point = self._point
        if point is None or not point.audible:
            self._down(_NO_AP)
            return
        self._state = _State.UP
        self._reason = 0
        self.on_link(True)
        self.on_status()
        self.on_radio()

    def _down(self, reason: int) -> None:
        """Lose the network or the hope for it; try again if the program wants it and may."""
        self._stop_timer()
        was_up = self.up
        self._state = _State.DOWN
        self._point = None
        self._reason = reason
        if was_up:
            self.on_link(False)
        if self._requested:
            self._attempts += 1
            if not self._attempts_limit or self._attempts < self._attempts_limit:
                self._attempt()
        self.on_status()
        self.on_radio()

    def _world_changed(self) -> None:
        if self._state is not _State.UP or self._point is None:
            return
        lost = not self._point.audible or (
            bool(self._point.password) and self._point.password != self._password
        )
        if lost and self._timer is None:
            self._after((_BEACON_S, _BEACON_S), self._missed_beacons)

    def _missed_beacons(self) -> None:
        point = self._point
        if point is not None and point.audible and point.password in ("", self._password):
            return  # it was away for a moment only
        self._down(_BEACON_TIMEOUT)

    def _after(self, span_s: tuple[float, float], fn: Callable[..., None], *args: int) -> None:
        self._stop_timer()
        self._timer = self._engine.call_later(self._rng.uniform(*span_s), self._due, fn, args)

    def _due(self, fn: Callable[..., None], args: tuple[int, ...]) -> None:
        self._timer = None
        fn(*args)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""`network` of the ESP32 port: the WiFi interfaces; the driver is the host's."""

import _facts
import socket as _socket  # noqa: F401 - its listener for the link must be there before the link
from _native import time as _time
from _rpc import call as _call

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = STAT_CONNECT_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204
STAT_NO_AP_FOUND_W_COMPATIBLE_SECURITY = 210
STAT_NO_AP_FOUND_IN_AUTHMODE_THRESHOLD = 211
STAT_NO_AP_FOUND_IN_RSSI_THRESHOLD = 212
AUTH_OPEN = 0
AUTH_WEP = 1
AUTH_WPA_PSK = 2
AUTH_WPA2_PSK = 3
AUTH_WPA_WPA2_PSK = 4
AUTH_WPA2_ENTERPRISE = 5
AUTH_WPA3_PSK = 6
AUTH_WPA2_WPA3_PSK = 7
AUTH_WAPI_PSK = 8
AUTH_OWE = 9
AUTH_WPA3_ENT_192 = 10
AUTH_WPA3_EXT_PSK = 11
AUTH_WPA3_EXT_PSK_MIXED_MODE = 12
AUTH_MAX = 16
MODE_11B = 1
MODE_11G = 2
MODE_11N = 4
MODE_LR = 8

_NETMASK = "255.255.0.0"
_GATEWAY = "198.18.255.254"
_SCAN_MS = 2100
_UNSET = object()

_interfaces = {}
_names = {"hostname": "mpy-" + (_facts.chip or "esp32"), "country": "XX"}


def _state(id, name, default):
    return _interfaces[id]._settings.get(name, default)


class WLAN:
    """An interface: one object for each, however often it is made."""

    IF_STA = STA_IF
    IF_AP = AP_IF
    SEC_OPEN = AUTH_OPEN
    SEC_WEP = AUTH_WEP
    SEC_WPA = AUTH_WPA_PSK
    SEC_WPA2 = AUTH_WPA2_PSK
    SEC_WPA_WPA2 = AUTH_WPA_WPA2_PSK
    SEC_WPA2_ENT = AUTH_WPA2_ENTERPRISE
    SEC_WPA3 = AUTH_WPA3_PSK
    SEC_WPA2_WPA3 = AUTH_WPA2_WPA3_PSK
    SEC_WAPI = AUTH_WAPI_PSK
    SEC_OWE = AUTH_OWE
    SEC_WPA3_ENT_192 = AUTH_WPA3_ENT_192
    SEC_WPA3_EXT_PSK = AUTH_WPA3_EXT_PSK
    SEC_WPA3_EXT_PSK_MIXED_MODE = AUTH_WPA3_EXT_PSK_MIXED_MODE
    SEC_DPP = 13
    SEC_WPA3_ENT = 14
    SEC_WPA2_WPA3_ENT = 15
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    def __new__(cls, interface_id=STA_IF):
        if interface_id not in (STA_IF, AP_IF):
            raise ValueError("invalid WLAN interface identifier")
        if interface_id not in _interfaces:
            new = object.__new__(cls)
            new._id = interface_id
            new._settings = {}
            new._static = None
            _interfaces[interface_id] = new
        return _interfaces[interface_id]

    def __init__(self, interface_id=STA_IF):
        pass

    def __repr__(self):
        return "<WLAN>"

    def _require(self, id):
        if self._id != id:
            raise OSError("STA required" if id == STA_IF else "AP required")

    def active(self, is_active=None):
        return _call("wlan.active", self._id, None if is_active is None else bool(is_active))

    def connect(self, ssid=None, key=None, *, bssid=None):
        self._require(STA_IF)
        if bssid is not None and len(bssid) != 6:
            raise ValueError
        _call("wlan.connect", _text(ssid), _text(key) or "", bssid)

    def disconnect(self):
        self._require(STA_IF)
        _call("wlan.disconnect")

    def isconnected(self):
        return _call("wlan.isconnected") if self._id == STA_IF else False

    def status(self, param=None):
        if param is None:
            return _call("wlan.status") if self._id == STA_IF else None
        if param == "rssi":
            self._require(STA_IF)
            return _call("wlan.rssi")
        if param == "stations":
            self._require(AP_IF)
            return []
        raise ValueError("unknown status param")

    def scan(self):
        found = _call("wlan.scan")
        # It takes that long to listen on all channels, and the program waits for it.
        _time.sleep_ms(_SCAN_MS)
        return [tuple(point) for point in found]

    def ifconfig(self, settings=_UNSET):
        if settings is _UNSET:
            if self._static is not None:
                return self._static
            if self._id == AP_IF:
                return "192.168.4.1", "255.255.255.0", "192.168.4.1", "0.0.0.0"
            ip = _call("wlan.ip")
            if ip is None:
                return ("0.0.0.0",) * 4
            return ip, _NETMASK, _GATEWAY, _GATEWAY
        if settings == "dhcp":
            self._static = None
        elif isinstance(settings, (tuple, list)):
            ip, mask, gateway, dns = settings
            self._static = ip, _mask(mask) if isinstance(mask, int) else mask, gateway, dns
        else:
            raise ValueError("invalid arguments")

    def ipconfig(self, *param, **settings):
        if not settings:
            return self._ip(_only(param))
        if param:
            raise TypeError("can't specify pos and kw args")
        ip, mask, gateway, dns = self.ifconfig()
        for name, value in settings.items():
            if name == "dhcp4" and self._id == STA_IF:
                self._static = None if value else (ip, mask, gateway, dns)
                continue
            if name == "addr4":
                if isinstance(value, str):
                    ip, _, prefix = value.partition("/")
                    mask = _mask(int(prefix)) if prefix else mask
                elif value is not None:
                    ip, mask = value
            elif name == "gw4":
                gateway = value
            else:
                raise ValueError("unexpected key")
            self._static = ip, mask, gateway, dns

    def _ip(self, param):
        address = self.ifconfig()
        if param == "addr4":
            return address[:2]
        if param == "gw4":
            return address[2]
        if param == "dhcp4" and self._id == STA_IF:
            return self._static is None
        raise ValueError("unexpected key")

    def config(self, *param, **settings):
        if param and settings:
            raise TypeError("either pos or kw args are allowed")
        if settings:
            for name, value in settings.items():
                self._set(name, value)
            return None
        if len(param) != 1:
            raise TypeError("can query only one param")
        return self._get(param[0])

    def _set(self, name, value):
        if name == "reconnects":
            self._require(STA_IF)
            _call("wlan.reconnects", int(value))
        elif name in ("hostname", "dhcp_hostname"):
            hostname(value)
        elif name == "mac":
            if len(value) != 6:
                raise ValueError("invalid buffer length")
            self._settings[name] = bytes(value)
        elif name in _AP_NAMES:
            self._require(AP_IF)
            self._settings[_AP_NAMES[name]] = value
        elif name in _DEFAULTS:
            self._settings[name] = value
        else:
            raise ValueError("unknown config param")

    def _get(self, name):
        if name == "mac":
            if "mac" in self._settings:
                return self._settings["mac"]
            mac = bytearray(_call("app.mac"))
            mac[5] += self._id  # the access point's is the next one
            return bytes(mac)
        if name in ("ssid", "essid"):
            if self._id == STA_IF:
                return _call("wlan.ssid")
            last = self._get("mac")[3:]
            return self._settings.get("ssid", "ESP_%02X%02X%02X" % tuple(last))
        if name in ("security", "authmode", "hidden"):
            self._require(AP_IF)
            return self._settings.get(_AP_NAMES[name], False if name == "hidden" else 0)
        if name == "channel":
            return _call("wlan.channel")
        if name == "reconnects":
            self._require(STA_IF)
            return _call("wlan.reconnects", None)
        if name in ("hostname", "dhcp_hostname"):
            self._require(STA_IF)
            return hostname()
        if name == "ifname":
            return "ap2" if self._id == AP_IF else "st1"
        if name in _DEFAULTS:
            return self._settings.get(name, _DEFAULTS[name])
        raise ValueError("unknown config param")


_AP_NAMES = {
    "ssid": "ssid",
    "essid": "ssid",
    "hidden": "hidden",
    "security": "security",
    "authmode": "security",
    "key": "key",
    "password": "key",
    "max_clients": "max_clients",
}
_DEFAULTS = {"txpower": 20.0, "pm": 1, "protocol": 7, "channel": 1, "max_clients": 4}


def _text(value):
    return value.decode() if isinstance(value, (bytes, bytearray)) else value


def _mask(prefix):
    mask = (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF
    return ".".join([str(byte) for byte in mask.to_bytes(4, "big")])


def _only(param):
    if len(param) != 1:
        raise TypeError("must query one param")
    return param[0]


def hostname(*name):
    if not name:
        return _names["hostname"]
    if len(name[0]) > 32:
        raise ValueError
    _names["hostname"] = name[0]


def country(*code):
    if not code:
        return _names["country"]
    if len(code[0]) != 2:
        raise ValueError
    _names["country"] = code[0]


def ipconfig(*param, **settings):
    if param and settings:
        raise TypeError("can't specify pos and kw args")
    if (_only(param) if not settings else "dns") != "dns" or (settings and "dns" not in settings):
        raise ValueError("unexpected key")
    if not settings:
        return _names.get("dns") or WLAN(STA_IF).ifconfig()[3]
    _names["dns"] = settings["dns"]


def phy_mode(*mode):
    return None

"""The way out over WiFi: MQTT to the broker of the profile, time from SNTP."""

import os
import random

import machine
import network

from node.core.uplink import Uplink
from node.hal.about import read
from node.net.mqtt import Mqtt
from node.net.ntp import Sntp
from node.net.stream import open_stream
from node.net.wifi import Wifi

_FAILURES = {
    network.STAT_WRONG_PASSWORD: "wrong password",
    network.STAT_NO_AP_FOUND: "no access point",
    network.STAT_ASSOC_FAIL: "refused by the access point",
    network.STAT_HANDSHAKE_TIMEOUT: "handshake timed out",
    network.STAT_BEACON_TIMEOUT: "access point lost",
}


class Way:
    """How records of `node` get out; see `hal.compose`."""

    uplink = None
    quiet = None
    phase_s = 0
    sleep = staticmethod(machine.deepsleep)

    def __init__(self, node) -> None:
        identity = node.identity
        self.interval_s = node.config.interval_s
        self._node = node
        self._link = Wifi(
            network.WLAN(network.STA_IF),
            identity.text("wifi_ssid") or "",
            identity.text("wifi_psk") or "",
            _FAILURES,
            node.clock,
            random.random,
            node.counters,
            node.log,
        )

    def measured(self) -> dict:
        """Return what the link says of itself, by the names of a health record."""
        return {"rssi_dbm": self._link.rssi()}

    def tasks(self, app, sampler, health) -> list:
        """Return the tasks, as pairs of name and coroutine function."""
        node = self._node
        sntp = Sntp(
            node.config.ntp,
            self._link,
            node.clock,
            os.urandom,
            random.random,
            app.on_time,
            node.log,
        )
        return [("wifi", self._link.run), ("ntp", sntp.run), ("uplink", self._uplink().run)]

    def _uplink(self) -> Uplink:
        node = self._node
        config, identity, link = node.config, node.identity, self._link
        tls = _tls() if config.tls else None
        if config.tls and tls is None:
            node.log.error("mqtt", "no CA certificate in /ca.der: nothing is sent")

        async def connect():
            if config.tls and tls is None:
                raise OSError(2)  # ENOENT: never without a check of the server
            return await open_stream(config.host, config.port, tls, node.clock)

        mqtt = Mqtt(
            connect,
            node.id,
            identity.text("mqtt_user"),
            identity.text("mqtt_pass"),
            config.keepalive_s,
            "citynode/%s/status" % node.id,
            node.clock,
            node.recorder.accepted,
        )
        return Uplink(
            mqtt,
            "citynode/%s/up" % node.id,
            node.spool,
            node.recorder,
            link,
            config.tls,
            node.clock,
            random.random,
            node.counters,
            node.log,
        )


def _tls():
    """Return a TLS context that trusts the CA in `/ca.der` alone; None where there is none."""
    import ssl

    authority = read("/ca.der")
    if not authority:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority)
    return context

"""The servers inside the engine: an MQTT broker, a time server, a captive portal."""

import ssl
from functools import partial
from typing import TYPE_CHECKING

from citynode.virtual.world.innernet import GATEWAY, Host, InnerNetwork
from citynode.virtual.world.mqttbroker import MqttBroker
from citynode.virtual.world.network import NTP_ADDRESS, NTP_PORT
from citynode.virtual.world.ntp import TimeServer
from citynode.virtual.world.tcp import End
from citynode.virtual.world.tls import Tls

if TYPE_CHECKING:
    # The engine takes its clock and chance from this package.
    from citynode.virtual.engine import Timer

MQTT_PORT, MQTTS_PORT = 1883, 8883
BROKER_NAME, NTP_NAME = "broker.bench", "ntp.bench"
_HTTP_PORT = 80
_BACKLOG = 1 << 20  # bytes that wait for a client that does not read
_HEAD_LIMIT = 8192  # bytes of a request to the portal
_PORTAL = (
    b"HTTP/1.1 302 Found\r\nLocation: http://198.18.255.254/login\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Broker(MqttBroker):
    """The bench's MQTT broker: takes connections at port 1883 of `host` while it is started.

    With `tls`, a server's context that is set before `start`, it takes them at port 8883 too.
    Beside the faults of `MqttBroker`: `stop` and `start`; `host.silent` makes all packets to and
    from it disappear, so that connections stay half-open.
    """

    def __init__(self, network: InnerNetwork) -> None:
        super().__init__()
        self.host = network.serve(BROKER_NAME)
        self.tls: ssl.SSLContext | None = None
        self._network = network
        self.on_event = lambda client, text: network.note(BROKER_NAME, "mqtt", f"{client} {text}")
        self.start()

    def start(self) -> None:
        """Take connections."""
        self.host.listeners[MQTT_PORT] = partial(_Line, self, self._network)
        if self.tls is not None:
            self.host.listeners[MQTTS_PORT] = self._accept_tls

    def stop(self, *, reset: bool = True) -> None:
        """End as a broker that is killed: connections end (in order if not `reset`)."""
        for port in (MQTT_PORT, MQTTS_PORT):
            self.host.listeners.pop(port, None)
        self.drop(reset=reset)

    def _accept_tls(self, end: End) -> None:
        if self.tls is not None:
            _Line(self, self._network, Tls(self._network.engine, end, self.tls))


class _Line:
    """A client's connection, and the timer of what is due to it."""

    def __init__(self, broker: MqttBroker, network: InnerNetwork, end: End | Tls) -> None:
        self._engine = network.engine
        self._end = end
        self._unsent = bytearray()
        self._timer: Timer | None = None
        self._client = broker.connected(self, self._engine.clock.now_ns())
        end.on_change = self._changed
        self._arm()

    def send(self, data: bytes) -> None:
        """Send bytes, as soon as there is room."""
        self._unsent += data
        self._flush()
        if len(self._unsent) > _BACKLOG:
            self._client.end(reset=True)

    def close(self, *, reset: bool = False) -> None:
        """End the connection."""
        self._stop()
        if reset:
            self._end.abort()
        else:
            self._end.close()

    def _changed(self) -> None:
        if self._end.error is not None:
            self._stop()
            self._client.lost()
            return
        self._flush()
        if data := self._end.read(self._end.waiting):
            self._client.receive(data, self._engine.clock.now_ns())
        if self._end.eof and not self._client.closed:
            self._stop()
            self._client.lost()
            self._end.close()
        self._arm()

    def _flush(self) -> None:
        if self._unsent:
            del self._unsent[: self._end.write(bytes(self._unsent))]

    def _arm(self) -> None:
        if self._client.closed:
            self._stop()
            return
        due = self._client.due_ns
        if self._timer is None or due < self._timer.due_ns:
            self._stop()
            self._timer = self._engine.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._client.tick(self._engine.clock.now_ns())
        self._arm()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def serve_time(network: InnerNetwork, server: TimeServer) -> None:
    """Have a time server answer as ntp.bench, and under the address of all names on its port."""
    named = network.serve(NTP_NAME)
    for host in (named, network.join(Host(NTP_NAME, NTP_ADDRESS))):
        host.datagrams[NTP_PORT] = _TimeService(network, host, server)


class _TimeService:
    def __init__(self, network: InnerNetwork, host: Host, server: TimeServer) -> None:
        self._network = network
        self._host = host
        self._server = server

    def __call__(self, source: Host, port: int, data: bytes) -> None:
        reply = self._server.reply(data, self._network.engine.clock.unix_ns())
        if reply is not None:
            self._network.send(self._host, NTP_PORT, source.address, port, reply)


def serve_portal(network: InnerNetwork) -> None:
    """Have the gateway send everybody to a login page while the network has its portal on."""

    def accept(end: End) -> None:
        if not network.portal:
            end.abort()
            return
        request = bytearray()

        def read() -> None:
            request.extend(end.read(end.waiting))
            if b"\r\n\r\n" in request or end.eof or len(request) > _HEAD_LIMIT:
                end.write(_PORTAL)
                end.close()

        end.on_change = read

    network.join(Host("gateway", GATEWAY)).listeners[_HTTP_PORT] = accept

"""The network's events on an MQTT broker, and downlinks from it, on ChirpStack's topics."""

import base64
import binascii
import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from citynode.errors import CitynodeError
from citynode.virtual.air.network.events import Event
from citynode.virtual.air.network.server import Network
from citynode.virtual.engine import Engine

_DOWN = "application/+/device/+/command/down"
_CONNECT_S = 10.0
_MAX_BYTES = 4096
_MOST_QUEUED = 1000  # events, while the broker is away


class Publisher:
    """Publishes each event and queues what is asked for.

    Events go to `application/{application}/device/{dev_eui}/event/{event}`, downlinks come from
    `…/command/down` as JSON with devEui, fPort, data (base64), confirmed and id. `on_problem(text)`
    gets what is no downlink. The connection is made again when it is lost.
    """

    def __init__(
        self,
        engine: Engine,
        network: Network,
        host: str,
        port: int,
        *,
        user: str | None = None,
        password: str | None = None,
        on_problem: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._engine = engine
        self._network = network
        self._address = host, port
        self._on_problem = on_problem
        self._ready = threading.Event()
        self._refusal = ""
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv311)
        self._client.max_queued_messages_set(_MOST_QUEUED)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = self._connected
        self._client.on_message = self._message

    def open(self) -> None:
        """Connect; raises CitynodeError where there is no broker, or one that refuses."""
        host, port = self._address
        try:
            self._client.connect(host, port)
        except (OSError, ValueError) as error:
            raise CitynodeError(
                f"no MQTT broker at {host}:{port}: {error}", "start it, or correct --mqtt"
            ) from error
        self._client.loop_start()
        if not self._ready.wait(_CONNECT_S) or self._refusal:
            self.close()
            raise CitynodeError(
                f"the broker at {host}:{port} refuses the connection: "
                f"{self._refusal or 'no answer'}",
                "check CITYNODE_MQTT_USER and CITYNODE_MQTT_PASS",
            )
        self._network.observe(self._publish)

    def close(self) -> None:
        """Disconnect, and end the thread."""
        with contextlib.suppress(OSError, ValueError):
            self._client.disconnect()
        self._client.loop_stop()

    # -- on paho's thread -----------------------------------------------------------------------

    def _connected(
        self, client: Client, data: Any, flags: Any, reason: ReasonCode, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refusal = str(reason)
        else:
            self._refusal = ""
            client.subscribe(_DOWN, qos=1)
        self._ready.set()

    def _message(self, client: Client, data: Any, message: MQTTMessage) -> None:
        self._engine.call_soon_threadsafe(self._down, message.topic, bytes(message.payload))

    # -- on the engine's thread -----------------------------------------------------------------

    def _publish(self, event: Event) -> None:
        device = event.device
        prefix = f"application/{device.application_id}/device/{device.dev_eui.hex()}"
        self._client.publish(f"{prefix}/event/{event.kind}", json.dumps(event.body), qos=1)

    def _down(self, topic: str, payload: bytes) -> None:
        try:
            if len(payload) > _MAX_BYTES:
                raise ValueError("it is too long")
            self._queue(topic.split("/")[3], json.loads(payload))
        except (ValueError, RecursionError, binascii.Error) as error:
            self._on_problem(f"no downlink on {topic}: {error}")

    def _queue(self, topic_eui: str, command: object) -> None:
        if not isinstance(command, dict):
            raise ValueError("no JSON object")
        dev_eui, port = command.get("devEui"), command.get("fPort")
        data, confirmed = command.get("data", ""), command.get("confirmed", False)
        name = command.get("id")
        if not isinstance(dev_eui, str) or dev_eui.lower() != topic_eui.lower():
            raise ValueError("devEui is not that of the topic")
        if type(port) is not int or not isinstance(data, str) or not isinstance(confirmed, bool):
            raise ValueError("fPort, data or confirmed is wrong")
        if name is not None and not isinstance(name, str):
            raise ValueError("id is no text")
        device = self._network.devices.get(bytes.fromhex(dev_eui))
        if device is None:
            raise ValueError("no such device")
        raw = base64.b64decode(data, validate=True)
        device.enqueue(raw, port, confirmed=confirmed, id=name or None)

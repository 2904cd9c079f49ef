"""Where records arrive on a broker: from the nodes, or from the network server of LoRaWAN nodes."""

import re

from citynode.fleet import events

NODES = "citynode/+/up"
# Events of ChirpStack v4 and of The Things Stack v3, as their MQTT integrations publish them.
SERVERS = ("application/+/device/+/event/up", "v3/+/devices/+/up")

RECORDS_F_PORT = 1  # docs/lorawan.md; what comes on other ports is no record
_NODE_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_MAX_EVENT = 1 << 16  # bytes; an event has the metadata of every gateway


def read(topic: str, payload: bytes) -> tuple[str, bytes] | None:
    """Return the node's id and its frame; None for what is no message with records.

    A server's name for the device is the node's id, if it is one; else the DevEUI is.
    """
    match topic.split("/"):
        case ["citynode", name, "up"]:
            return (name, payload) if _NODE_ID.fullmatch(name) else None
        case ["application", _, "device", _, "event", "up"] | ["v3", _, "devices", _, "up"]:
            return _of_server(payload)
    return None


def _of_server(payload: bytes) -> tuple[str, bytes] | None:
    if len(payload) > _MAX_EVENT:
        return None
    try:
        (document,) = events.documents(payload.decode())
        uplink = events.uplink(document)
    except ValueError:  # an EventError is one, too
        return None
    if uplink is None or uplink.f_port != RECORDS_F_PORT:
        return None
    for name in (uplink.device, uplink.dev_eui):
        if name is not None and _NODE_ID.fullmatch(name.lower()):
            return name.lower(), uplink.payload
    return None

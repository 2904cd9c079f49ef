"""A bench network server for tests: it says what a network would, and what no network should.

`docs/network.md` shows how to use it.
"""

from citynode.virtual.air.network.device import Crafted, Device, Profile, Received, Session
from citynode.virtual.air.network.events import Event
from citynode.virtual.air.network.gateways import Downlink, Heard
from citynode.virtual.air.network.server import Network

__all__ = [
    "Crafted", "Device", "Downlink", "Event", "Heard", "Network", "Profile", "Received", "Session",
]  # fmt: skip

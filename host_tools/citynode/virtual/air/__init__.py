"""The radio medium between virtual boards, and a gateway by which a test is the network.

`docs/air.md` shows how to use it.
"""

from citynode.virtual.air.frames import Frame, Modulation
from citynode.virtual.air.gateway import Gateway, Uplink
from citynode.virtual.air.medium import Air
from citynode.virtual.air.stations import Event, Reception

__all__ = ["Air", "Event", "Frame", "Gateway", "Modulation", "Reception", "Uplink"]

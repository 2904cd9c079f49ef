"""Commands to nodes, as downlinks that a network server queues; the node's side is in firmware/."""

import struct
from enum import StrEnum

from citynode.errors import CitynodeError
from citynode.identity import Identity
from citynode.phy.crypto import cmac

PORT = 10
_EPOCH = 1_704_067_200  # 2024-01-01: seconds since then are the counter, good until 2092
_MOST = 0x7FFFFFFF
_TAG_BYTES = 8
_SHORTEST_S, _LONGEST_S = 10, 86_400


class Command(StrEnum):
    """What a node can be told."""

    INTERVAL = "interval"
    RESTART = "restart"
    REJOIN = "rejoin"
    HEALTH = "health"

    @property
    def code(self) -> int:
        """Its number on the air."""
        return list(Command).index(self) + 1


def payload(identity: Identity, command: Command, interval_s: int | None, unix_s: int) -> bytes:
    """Return the payload for FPort 10; of two for a node, the later one needs a later second.

    `interval_s` is for INTERVAL alone: 10 to 86400 seconds between samples, or 0 for the profile's.
    Raises CitynodeError.
    """
    if identity.command_key is None or identity.dev_eui is None:
        raise CitynodeError(
            f"{identity.node_id} has no command key",
            "provision it again on a board with a radio; a key is made then",
        )
    if (interval_s is not None) != (command is Command.INTERVAL):
        raise CitynodeError(
            "only 'interval' has a number of seconds, and it needs one",
            "say 'interval SECONDS', or restart, rejoin or health",
        )
    if interval_s and not _SHORTEST_S <= interval_s <= _LONGEST_S:
        raise CitynodeError(
            f"an interval of {interval_s} s is refused by every node",
            f"give {_SHORTEST_S} to {_LONGEST_S} seconds, or 0 for the profile's",
        )
    counter = unix_s - _EPOCH
    if not 0 < counter <= _MOST:
        raise CitynodeError("this machine's clock is wrong", "set it: commands count in seconds")
    body = struct.pack("<BI", command.code, counter)
    if interval_s is not None:
        body += struct.pack("<I", interval_s)
    signed = identity.dev_eui + bytes((PORT,)) + body
    return body + cmac(identity.command_key, signed)[:_TAG_BYTES]

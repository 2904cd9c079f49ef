"""The ADR back-off of TS001 section 4.3.1.1, table 9: the way back to a silent network.

`adr_count` is the number of new uplinks since the last downlink; retransmissions do not count.
"""

from node.wire.const import const

ACK_LIMIT = const(64)
ACK_DELAY = const(32)
# The longest way down, from DR5, ends at 64 + 7 * 32; then as many uplinks as at its beginning.
_LOST = const(352)


def asks(session) -> bool:
    """Return whether the next uplink asks the network for a sign (ADRACKReq)."""
    return session.adr_count >= ACK_LIMIT


def step(session) -> None:
    """Before a new uplink: do what its count asks for.

    First the power goes up, then the rate down step by step, at last default channels and
    NbTrans come back.
    """
    due = (session.adr_count - ACK_LIMIT) // ACK_DELAY
    while session.adr_steps < due:
        if session.adr_steps == 0:
            session.power = 0
        elif session.rate > 0:
            session.rate -= 1
            session.settle()
        else:
            session.nb_trans = 1
            session.enable_defaults()
        session.adr_steps += 1


def heard(session) -> None:
    """A downlink came."""
    session.adr_count = 0
    session.adr_steps = 0


def lost(session) -> bool:
    """Return whether nothing was heard for long, even with what reaches farthest."""
    return session.adr_count >= _LOST

"""The queue in which a gateway keeps downlinks until their time comes ("just in time").

The rules and their figures are those of Semtech's forwarder (jitqueue.c of packet_forwarder 4.0.1
and sx1302_hal); times are microseconds of the concentrator's counter, which wraps at 32 bits.
"""

from dataclasses import dataclass

TX_START_US = 1_500  # to program the concentrator
TX_MARGIN_US = 1_000  # between what is sent
TX_JIT_US = 40_000  # this much ahead a packet goes to the concentrator
TX_LEAD_US = TX_START_US + TX_JIT_US + TX_MARGIN_US  # before a packet, and between two
TX_ADVANCE_US = 4 * 128_000_000  # further ahead no time is believed
ROOM = 32

_MASK = 0xFFFFFFFF


@dataclass(frozen=True, eq=False)
class Slot:
    """A packet's time: its start, and how long it is on the air."""

    start_us: int
    airtime_us: int


class JitQueue:
    """Packets that wait."""

    def __init__(self) -> None:
        self._slots: list[Slot] = []

    def enqueue(self, now_us: int, start_us: int, airtime_us: int) -> Slot | str:
        """Keep a packet for a time of the counter; return its slot, or the error of TX_ACK."""
        if len(self._slots) >= ROOM:
            return "COLLISION_PACKET"  # the forwarder's word for a full queue too
        ahead = start_us - now_us & _MASK
        # A time that is over is nearly a whole turn of the counter ahead. That is too late after
        # PROTOCOL.TXT; some builds of the forwarder say too early.
        if ahead <= TX_LEAD_US or ahead > _MASK - TX_ADVANCE_US:
            return "TOO_LATE"
        if ahead > TX_ADVANCE_US:
            return "TOO_EARLY"
        if not self._is_free(start_us, airtime_us):
            return "COLLISION_PACKET"
        slot = Slot(start_us & _MASK, airtime_us)
        self._slots.append(slot)
        return slot

    def enqueue_soon(self, now_us: int, airtime_us: int) -> Slot | str:
        """Keep a packet for the first time that is free: now, or behind one that waits."""
        behind = (
            slot.start_us + slot.airtime_us + TX_LEAD_US + TX_JIT_US
            for slot in sorted(self._slots, key=lambda slot: slot.start_us - now_us & _MASK)
        )
        for start_us in (now_us + 2 * TX_JIT_US, *behind):
            if self._is_free(start_us, airtime_us):
                return self.enqueue(now_us, start_us, airtime_us)
        return "COLLISION_PACKET"

    def take(self, slot: Slot) -> None:
        """Take a packet out: it goes to the concentrator."""
        self._slots.remove(slot)

    def _is_free(self, start_us: int, airtime_us: int) -> bool:
        return all(
            start_us - slot.start_us & _MASK > slot.airtime_us + TX_LEAD_US
            and slot.start_us - start_us & _MASK > airtime_us + TX_LEAD_US
            for slot in self._slots
        )

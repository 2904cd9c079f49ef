"""The datagrams between a gateway and a network server: Semtech's UDP protocol, versions 1 and 2.

Source: PROTOCOL.TXT of Semtech's packet_forwarder (v1.4) and sx1302_hal (v1.6: `warn`). Any bytes
give a datagram or a SemtechError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from citynode.virtual.air.semtech_packets import (
    Fsk,
    Lora,
    RxPacket,
    SemtechError,
    Stat,
    TxPacket,
    json_object,
    json_text,
    member,
    number,
    read_rx_packet,
    read_stat,
    read_tx_packet,
    rx_json,
    short_text,
    stat_json,
    tx_json,
)

__all__ = [
    "Datagram", "Fsk", "Kind", "Lora", "PullAck", "PullData", "PullResp", "PushAck",
    "PushData", "RxPacket", "SemtechError", "Stat", "TxAck", "TxPacket", "decode", "encode",
]  # fmt: skip

VERSION = 2
MAX_BYTES = 65_507  # of a UDP datagram

_HEADER = 4
_EUI = 8
_MAX_RX = 256


class Kind(IntEnum):
    """The fourth byte."""

    PUSH_DATA = 0
    PUSH_ACK = 1
    PULL_DATA = 2
    PULL_RESP = 3
    PULL_ACK = 4
    TX_ACK = 5


@dataclass(frozen=True)
class PushData:
    """Uplinks and state, from a gateway."""

    token: int
    eui: bytes
    packets: tuple[RxPacket, ...] = ()
    stat: Stat | None = None
    version: int = VERSION


@dataclass(frozen=True)
class PushAck:
    """The server has got a PushData."""

    token: int
    version: int = VERSION


@dataclass(frozen=True)
class PullData:
    """A gateway opens the way for downlinks."""

    token: int
    eui: bytes
    version: int = VERSION


@dataclass(frozen=True)
class PullAck:
    """The server has got a PullData."""

    token: int
    version: int = VERSION


@dataclass(frozen=True)
class PullResp:
    """A downlink for a gateway."""

    token: int
    packet: TxPacket
    version: int = VERSION


@dataclass(frozen=True)
class TxAck:
    """What a gateway makes of a downlink: an error, or what it has changed (`warning`, `value`).

    Errors: NONE, TOO_LATE, TOO_EARLY, COLLISION_PACKET, COLLISION_BEACON, TX_FREQ, TX_POWER,
    GPS_UNLOCKED.
    """

    token: int
    eui: bytes
    error: str = "NONE"
    warning: str | None = None
    value: float | None = None
    version: int = VERSION


Datagram = PushData | PushAck | PullData | PullAck | PullResp | TxAck
_ACKS: dict[Kind, Callable[[int, int], PushAck | PullAck]] = {
    Kind.PUSH_ACK: PushAck,
    Kind.PULL_ACK: PullAck,
}


def decode(data: bytes) -> Datagram:
    """Take a datagram apart; raises SemtechError."""
    if not _HEADER <= len(data) <= MAX_BYTES:
        raise SemtechError("no header")
    version, token = data[0], int.from_bytes(data[1:3], "big")
    if version not in (1, 2):
        raise SemtechError(f"version {version}")
    try:
        kind = Kind(data[3])
    except ValueError:
        raise SemtechError(f"identifier {data[3]}") from None
    if kind in _ACKS:
        return _ACKS[kind](token, version)
    if kind is Kind.PULL_RESP:
        packet = member(json_object(data[_HEADER:]), "txpk")
        return PullResp(token, read_tx_packet(packet), version)
    eui, rest = data[_HEADER : _HEADER + _EUI], data[_HEADER + _EUI :]
    if len(eui) < _EUI:
        raise SemtechError("no EUI")
    if kind is Kind.PULL_DATA:
        return PullData(token, eui, version)
    if kind is Kind.TX_ACK:
        return _tx_ack(token, eui, rest, version)
    return _push_data(token, eui, json_object(rest), version)


def encode(datagram: Datagram) -> bytes:
    """Return a datagram's bytes."""
    head = bytes((datagram.version,)) + datagram.token.to_bytes(2, "big")
    match datagram:
        case PushAck():
            return head + bytes((Kind.PUSH_ACK,))
        case PullAck():
            return head + bytes((Kind.PULL_ACK,))
        case PullResp(packet=packet):
            return head + bytes((Kind.PULL_RESP,)) + json_text({"txpk": tx_json(packet)})
        case PullData(eui=eui):
            return head + bytes((Kind.PULL_DATA,)) + eui
        case TxAck(eui=eui, error=error, warning=warning, value=value):
            told: dict[str, object] = {"error": error}
            if warning is not None:
                told = {"warn": warning, "value": value}
            # Where there is nothing to tell, the forwarder sends no JSON.
            text = json_text({"txpk_ack": told}) if warning or error != "NONE" else b""
            return head + bytes((Kind.TX_ACK,)) + eui + text
        case PushData(eui=eui, packets=packets, stat=stat):
            root: dict[str, object] = {}
            if packets:
                root["rxpk"] = [rx_json(packet) for packet in packets]
            if stat is not None:
                root["stat"] = stat_json(stat)
            return head + bytes((Kind.PUSH_DATA,)) + eui + json_text(root)


# -- reading ------------------------------------------------------------------------------------


def _push_data(token: int, eui: bytes, root: Mapping[str, object], version: int) -> PushData:
    packets = root.get("rxpk", [])
    if not isinstance(packets, list) or len(packets) > _MAX_RX:
        raise SemtechError("rxpk is no array")
    stat = read_stat(member(root, "stat")) if "stat" in root else None
    return PushData(token, eui, tuple(map(read_rx_packet, packets)), stat, version)


def _tx_ack(token: int, eui: bytes, rest: bytes, version: int) -> TxAck:
    if not rest.strip(b"\0 \r\n\t"):
        return TxAck(token, eui, version=version)
    told = member(json_object(rest), "txpk_ack")
    return TxAck(
        token,
        eui,
        short_text(told, "error", None) or "NONE",
        short_text(told, "warn", None),
        number(told, "value", -1e9, 1e9) if told.get("value") is not None else None,
        version,
    )

"""Packets in Semtech's UDP protocol: the JSON objects, both ways (PROTOCOL.TXT, chapters 4 and 6).

Fields that we do not use are skipped, as the forwarder does.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_MAX_PAYLOAD = 255
_MAX_TEXT = 64
_MAX_U32 = 0xFFFFFFFF
_MAX_HZ = 4_000_000_000
_DATR = re.compile(r"SF([5-9]|1[0-2])BW(125|250|500)")
_CODR = re.compile(r"4/([5-8])")


class SemtechError(ValueError):
    """Bytes that are no datagram of the protocol; the text says why."""


@dataclass(frozen=True)
class Lora:
    """A LoRa data rate; `cr` counts the parity bits, 0 where the coding rate is not known."""

    sf: int
    bw_hz: int
    cr: int = 1


@dataclass(frozen=True)
class Fsk:
    """An FSK data rate, with its frequency deviation where it is a downlink's."""

    bit_rate: int
    deviation_hz: int = 0


@dataclass(frozen=True)
class RxPacket:
    """An uplink. `tmst`: the gateway's counter (µs) at its end; `crc` 1 right, -1 wrong, 0 none."""

    tmst: int
    freq_hz: int
    rate: Lora | Fsk
    payload: bytes
    rssi_dbm: float
    snr_db: float = 0.0
    crc: int = 1
    channel: int = 0
    rf_chain: int = 0
    time: str | None = None
    gps_ms: int | None = None


@dataclass(frozen=True)
class Stat:
    """The state of a gateway: packets heard, with a right CRC, forwarded; share of datagrams
    acknowledged (per cent); downlinks asked for and sent; where it is, if it knows.
    """

    time: str = ""
    rx: int = 0
    rx_ok: int = 0
    rx_forwarded: int = 0
    acknowledged_pct: float = 0.0
    downlinks: int = 0
    tx: int = 0
    latitude: float | None = None
    longitude: float | None = None
    altitude_m: int | None = None


@dataclass(frozen=True)
class TxPacket:
    """A downlink: at once, at a time of the counter (`tmst`), or at a GPS time (ms)."""

    freq_hz: int
    rate: Lora | Fsk
    payload: bytes
    immediately: bool = False
    tmst: int | None = None
    gps_ms: int | None = None
    power_dbm: int | None = None
    rf_chain: int = 0
    iq_inverted: bool = False
    preamble: int | None = None
    no_crc: bool = False


# -- reading ------------------------------------------------------------------------------------


def read_rx_packet(packet: object) -> RxPacket:
    """Read an item of `rxpk`; raises SemtechError."""
    if not isinstance(packet, dict):
        raise SemtechError("an item of rxpk is no object")
    return RxPacket(
        tmst=_integer(packet, "tmst", 0, _MAX_U32),
        freq_hz=_frequency(packet),
        rate=_rate(packet, need_codr=False),
        payload=_payload(packet),
        rssi_dbm=number(packet, "rssi", -300, 100),
        snr_db=number(packet, "lsnr", -100, 100, 0.0),
        crc=_integer(packet, "stat", -1, 1, 1),
        channel=_integer(packet, "chan", 0, 255, 0),
        rf_chain=_integer(packet, "rfch", 0, 255, 0),
        time=short_text(packet, "time", None),
        gps_ms=_optional(packet, "tmms"),
    )


def read_stat(stat: Mapping[str, object]) -> Stat:
    """Read `stat`; raises SemtechError."""

    def count(key: str) -> int:
        return _integer(stat, key, 0, _MAX_U32, 0)

    def place(key: str, most: float) -> float | None:
        return number(stat, key, -most, most) if stat.get(key) is not None else None

    altitude = place("alti", 1e6)
    return Stat(
        short_text(stat, "time", None) or "",
        count("rxnb"),
        count("rxok"),
        count("rxfw"),
        number(stat, "ackr", 0, 1000, 0.0),
        count("dwnb"),
        count("txnb"),
        place("lati", 90),
        place("long", 180),
        None if altitude is None else round(altitude),
    )


def read_tx_packet(packet: Mapping[str, object]) -> TxPacket:
    """Read `txpk`; raises SemtechError."""
    immediately = _flag(packet, "imme")
    tmst = _optional(packet, "tmst", _MAX_U32)
    gps_ms = _optional(packet, "tmms")
    if not immediately and tmst is None and gps_ms is None:
        raise SemtechError("neither imme nor tmst nor tmms")
    preamble = _optional(packet, "prea", 0xFFFF)
    power = number(packet, "powe", -100, 100) if packet.get("powe") is not None else None
    return TxPacket(
        freq_hz=_frequency(packet),
        rate=_rate(packet, need_codr=True),
        payload=_payload(packet),
        immediately=immediately,
        tmst=tmst,
        gps_ms=gps_ms,
        power_dbm=None if power is None else round(power),
        rf_chain=_integer(packet, "rfch", 0, 255, 0),
        iq_inverted=_flag(packet, "ipol"),
        preamble=preamble,
        no_crc=_flag(packet, "ncrc"),
    )


def json_object(data: bytes) -> Mapping[str, object]:
    """Return the object that a datagram ends with; raises SemtechError."""

    def refuse(name: str) -> object:
        raise SemtechError(f"{name} is no number of JSON")

    try:
        # The forwarder's own library takes the text as a C string.
        value = json.loads(data.rstrip(b"\0").decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError):
        raise SemtechError("no JSON") from None
    if not isinstance(value, dict):
        raise SemtechError("no JSON object")
    return value


def member(root: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return an object in an object; raises SemtechError."""
    value = root.get(key)
    if not isinstance(value, dict):
        raise SemtechError(f"{key} is no object")
    return value


def number(
    item: Mapping[str, object], key: str, low: float, high: float, default: float | None = None
) -> float:
    """Return a number of a range; raises SemtechError."""
    value = item.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SemtechError(f"{key} is no number from {low:g} to {high:g}")
    return value


def _integer(
    item: Mapping[str, object], key: str, low: int, high: int, default: int | None = None
) -> int:
    value = number(item, key, low, high, default)
    if value != int(value):
        raise SemtechError(f"{key} is no whole number")
    return int(value)


def _optional(item: Mapping[str, object], key: str, high: int = 1 << 53) -> int | None:
    return None if item.get(key) is None else _integer(item, key, 0, high)


def _flag(item: Mapping[str, object], key: str) -> bool:
    value = item.get(key)
    if value is not None and not isinstance(value, bool):
        raise SemtechError(f"{key} is neither true nor false")
    return value is True


def short_text(item: Mapping[str, object], key: str, default: str | None) -> str | None:
    """Return a text; raises SemtechError."""
    value = item.get(key, default)
    if value is not None and (not isinstance(value, str) or len(value) > _MAX_TEXT):
        raise SemtechError(f"{key} is no short text")
    return value


def _frequency(item: Mapping[str, object]) -> int:
    return round(number(item, "freq", 0, _MAX_HZ / 1e6) * 1e6)


def _rate(item: Mapping[str, object], *, need_codr: bool) -> Lora | Fsk:
    modulation = item.get("modu")
    if modulation == "FSK":
        return Fsk(_integer(item, "datr", 1, 1_000_000), _integer(item, "fdev", 0, 1_000_000, 0))
    if modulation != "LORA":
        raise SemtechError("modu is neither LORA nor FSK")
    datr, codr = short_text(item, "datr", None), short_text(item, "codr", None)
    rate, code = _DATR.fullmatch(datr or ""), _CODR.fullmatch(codr or "")
    if rate is None:
        raise SemtechError("datr is no data rate of LoRa")
    if code is None and (need_codr or codr not in (None, "", "OFF")):
        raise SemtechError("codr is no coding rate of LoRa")
    return Lora(int(rate[1]), int(rate[2]) * 1000, int(code[1]) - 4 if code else 0)


def _payload(item: Mapping[str, object]) -> bytes:
    """Read `data`: padding may be missing, and PROTOCOL.TXT's own examples use both alphabets."""
    text = item.get("data")
    if not isinstance(text, str):
        raise SemtechError("data is no text")
    letters = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        raw = base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SemtechError("data is not base64") from None
    if len(raw) > _MAX_PAYLOAD or len(raw) != _integer(item, "size", 0, _MAX_PAYLOAD):
        raise SemtechError("size is not that of data")
    return raw


# -- writing ------------------------------------------------------------------------------------


def json_text(root: Mapping[str, object]) -> bytes:
    """Return an object as the end of a datagram."""
    return json.dumps(root, separators=(",", ":")).encode()


def _rate_json(rate: Lora | Fsk) -> dict[str, object]:
    if isinstance(rate, Fsk):
        return {"modu": "FSK", "datr": rate.bit_rate}
    codr = f"4/{rate.cr + 4}" if rate.cr else "OFF"
    return {"modu": "LORA", "datr": f"SF{rate.sf}BW{rate.bw_hz // 1000}", "codr": codr}


def _data_json(payload: bytes) -> dict[str, object]:
    return {"size": len(payload), "data": base64.b64encode(payload).decode()}


def rx_json(packet: RxPacket) -> dict[str, object]:
    """Return an item of `rxpk`."""
    told: dict[str, object] = {"tmst": packet.tmst}
    if packet.time is not None:
        told["time"] = packet.time
    if packet.gps_ms is not None:
        told["tmms"] = packet.gps_ms
    told |= {
        "chan": packet.channel,
        "rfch": packet.rf_chain,
        "freq": packet.freq_hz / 1e6,
        "stat": packet.crc,
        **_rate_json(packet.rate),
    }
    if isinstance(packet.rate, Lora):
        told["lsnr"] = round(packet.snr_db, 1)
    return {**told, "rssi": round(packet.rssi_dbm), **_data_json(packet.payload)}


def stat_json(stat: Stat) -> dict[str, object]:
    """Return `stat`."""
    told: dict[str, object] = {"time": stat.time}
    places = {"lati": stat.latitude, "long": stat.longitude, "alti": stat.altitude_m}
    told |= {key: value for key, value in places.items() if value is not None}
    return told | {
        "rxnb": stat.rx,
        "rxok": stat.rx_ok,
        "rxfw": stat.rx_forwarded,
        "ackr": round(stat.acknowledged_pct, 1),
        "dwnb": stat.downlinks,
        "txnb": stat.tx,
    }


def tx_json(packet: TxPacket) -> dict[str, object]:
    """Return `txpk`."""
    told: dict[str, object] = {"imme": packet.immediately}
    if packet.tmst is not None:
        told["tmst"] = packet.tmst
    if packet.gps_ms is not None:
        told["tmms"] = packet.gps_ms
    told |= {"freq": packet.freq_hz / 1e6, "rfch": packet.rf_chain}
    if packet.power_dbm is not None:
        told["powe"] = packet.power_dbm
    told |= _rate_json(packet.rate)
    if isinstance(packet.rate, Fsk):
        told["fdev"] = packet.rate.deviation_hz
    told["ipol"] = packet.iq_inverted
    if packet.preamble is not None:
        told["prea"] = packet.preamble
    return {**told, "ncrc": packet.no_crc, **_data_json(packet.payload)}

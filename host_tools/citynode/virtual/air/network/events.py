"""What the network tells: the events of ChirpStack v4 in its JSON (integration.proto).

As there, fields that are 0, false or empty are left out.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from citynode.phy.mac import MacCommand
from citynode.virtual.air.network.device import Device, Received, Session
from citynode.virtual.air.network.gateways import Downlink, Heard

_TENANT = {"tenantId": "52f14cd4-c6f1-4fbd-8f87-4025e1d49242", "tenantName": "citynode bench"}
_PROFILE_ID = "a3a0b1d8-5f0c-4b0e-9d6a-0d1c6f6b8680"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BATTERY_EXTERNAL = 0
_BATTERY_UNKNOWN = 255


@dataclass(frozen=True)
class Event:
    """`kind` is one of up, join, ack, txack, log, status; `body` what ChirpStack publishes."""

    kind: str
    device: Device
    body: Mapping[str, object]


def _filled(**fields: object) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value or isinstance(value, float)}


def time_text(unix_ns: int) -> str:
    """Return a time with its nanoseconds, in UTC."""
    seconds, rest = divmod(unix_ns, 1_000_000_000)
    whole = _EPOCH + timedelta(seconds=seconds)
    return f"{whole:%Y-%m-%dT%H:%M:%S}.{rest:09}+00:00"


def _info(device: Device) -> dict[str, object]:
    return {
        **_TENANT,
        "applicationId": device.application_id,
        "applicationName": "citynode",
        "deviceProfileId": _PROFILE_ID,
        "deviceProfileName": "LoRaWAN 1.0.4 EU868",
        "deviceName": device.name,
        "devEui": device.dev_eui.hex(),
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _lora(sf: int, bw_hz: int, cr: int, **more: object) -> dict[str, object]:
    code = f"CR_4_{cr + 4}" if cr else "CR_UNDEFINED"
    return {"lora": {"bandwidth": bw_hz, "spreadingFactor": sf, "codeRate": code, **more}}


def _rx_info(copy: Heard, unix_ns: int, uplink_id: int) -> dict[str, object]:
    return _filled(
        gatewayId=copy.antenna.eui.hex(),
        uplinkId=uplink_id,
        nsTime=time_text(unix_ns),
        rssi=round(copy.rssi_dbm),
        snr=round(copy.snr_db, 2),
        context=_text((copy.context // 1000 & 0xFFFFFFFF).to_bytes(4)),
        metadata={"region_config_id": "eu868", "region_common_name": "EU868"},
        crcStatus="CRC_OK",
    )


def up(
    device: Device,
    session: Session,
    uplink: Received,
    *,
    id: str,
    unix_ns: int,
    uplink_ids: Iterable[int],
) -> Event:
    """Return the event of an uplink; it has no `data` where that was not for an application."""
    best = uplink.copies[0]
    body = _filled(
        deduplicationId=id,
        time=time_text(unix_ns),
        deviceInfo=_info(device),
        devAddr=f"{session.dev_addr:08x}",
        adr=uplink.adr,
        dr=uplink.rate,
        fCnt=uplink.f_cnt,
        fPort=uplink.f_port,
        confirmed=uplink.confirmed,
        data=_text(uplink.payload) if uplink.f_port else "",
        rxInfo=[
            _rx_info(copy, unix_ns, number)
            for copy, number in zip(uplink.copies, uplink_ids, strict=False)
        ],
        txInfo={
            "frequency": best.freq_hz,
            "modulation": _lora(best.sf, best.bw_hz, best.cr),
        },
    )
    return Event("up", device, body)


def join(device: Device, session: Session, *, id: str, unix_ns: int) -> Event:
    """Return the event of a join-accept that was sent."""
    body = _filled(
        deduplicationId=id,
        time=time_text(unix_ns),
        deviceInfo=_info(device),
        devAddr=f"{session.dev_addr:08x}",
    )
    return Event("join", device, body)


def ack(
    device: Device, *, id: str, unix_ns: int, item: tuple[str, int], acknowledged: bool
) -> Event:
    """Return the event of an uplink that acknowledges a confirmed downlink, or does not."""
    body = _filled(
        deduplicationId=id,
        time=time_text(unix_ns),
        deviceInfo=_info(device),
        queueItemId=item[0],
        acknowledged=acknowledged,
        fCntDown=item[1],
    )
    return Event("ack", device, body)


def txack(
    device: Device,
    *,
    downlink_id: int,
    unix_ns: int,
    item_id: str | None,
    f_cnt_down: int | None,
    copy: Heard,
    downlink: Downlink,
) -> Event:
    """Return the event of a gateway that has taken a downlink."""
    seconds = downlink.delay_ns / 1e9
    body = _filled(
        downlinkId=downlink_id,
        time=time_text(unix_ns),
        deviceInfo=_info(device),
        queueItemId=item_id,
        fCntDown=f_cnt_down,
        gatewayId=copy.antenna.eui.hex(),
        txInfo={
            "frequency": downlink.freq_hz,
            "power": downlink.power_dbm,
            "modulation": _lora(
                downlink.sf, downlink.bw_hz, 1, polarizationInversion=True, noCrc=True
            ),
            "timing": {"delay": {"delay": f"{seconds:g}s"}},
            "context": _text((copy.context // 1000 & 0xFFFFFFFF).to_bytes(4)),
        },
    )
    return Event("txack", device, body)


def log(
    device: Device,
    *,
    unix_ns: int,
    level: str,
    code: str,
    description: str,
    **context: str,
) -> Event:
    """Return the event of what is wrong: INFO, WARNING or ERROR, with a code of LogCode."""
    # A reader of lines should not have to know which level and code are the zeros.
    body = {
        "time": time_text(unix_ns),
        "deviceInfo": _info(device),
        "level": level,
        "code": code,
        "description": description,
        **({"context": context} if context else {}),
    }
    return Event("log", device, body)


def status(device: Device, command: MacCommand, *, id: str, unix_ns: int) -> Event:
    """Return the event of a DevStatusAns."""
    battery = int(command.fields["battery"])
    known = battery not in (_BATTERY_EXTERNAL, _BATTERY_UNKNOWN)
    body = _filled(
        deduplicationId=id,
        time=time_text(unix_ns),
        deviceInfo=_info(device),
        margin=int(command.fields["margin_db"]),
        externalPowerSource=battery == _BATTERY_EXTERNAL,
        batteryLevelUnavailable=battery == _BATTERY_UNKNOWN,
        batteryLevel=round(battery / 254 * 100, 2) if known else None,
    )
    return Event("status", device, body)

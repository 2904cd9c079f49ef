"""What a node is told by files: its board and profile, and whom its TLS trusts. Never a secret."""

from pathlib import Path

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from citynode import traffic
from citynode.boards import Battery, Board, Radio
from citynode.errors import CitynodeError
from citynode.profiles import LorawanUplink, Profile, Sensor, check_fits

_CONFIG_VERSION = 1
_MAX_CA_BYTES = 16 << 10


def config_cbor(board: Board, profile: Profile) -> bytes:
    """Return the node's `/config.cbor`: deterministic CBOR, without any secret.

    Raises CitynodeError as `check_fits` does.
    """
    check_fits(board, profile)
    described: dict[str, object] = {
        "id": board.id,
        "i2c": board.i2c.model_dump(),
        "led": board.led,
        "battery": _divider(board.battery),
    }
    # What few boards have is left out where it is not there.
    if board.i2c2 is not None:
        described["i2c2"] = board.i2c2.model_dump()
    if board.uarts:
        described["uarts"] = [uart.model_dump() for uart in board.uarts]
    if board.solar is not None:
        described["solar"] = _divider(board.solar)
    config = {
        "v": _CONFIG_VERSION,
        "board": described,
        "site": profile.site,
        "interval_s": profile.interval_s,
        "health_s": profile.health_s,
        "statistics": profile.statistics,
        "sensors": [_sensor(board, sensor) for sensor in profile.sensors],
        "uplink": profile.uplink.model_dump(),
        "ntp": profile.ntp,
        "sleep": profile.sleep,
        "spool_kib": profile.spool_kib,
        "log": profile.log,
    }
    if isinstance(profile.uplink, LorawanUplink) and board.radio is not None:
        described["radio"] = _radio(board.radio)
        del config["ntp"]  # the network tells the time
    if profile.traffic is not None:
        config["traffic"] = traffic.config(board, profile.traffic)
    return cbor2.dumps(config, canonical=True)


def _sensor(board: Board, sensor: Sensor) -> dict[str, object]:
    """Return what the node is told of a sensor, with terminals as pins."""
    row: dict[str, object] = {
        "chip": sensor.chip,
        "settle_ms": sensor.settle_ms,
        "retries": sensor.retries,
    }
    if sensor.address is not None:
        row["address"] = sensor.address
        if sensor.bus != 1:
            row["bus"] = sensor.bus
    elif sensor.uart is not None:
        row["uart"] = sensor.uart
    elif sensor.pin is not None:
        row["pin"] = board.terminals[sensor.pin]
    if sensor.switch is not None:
        row["switch"] = board.terminals[sensor.switch]
    if sensor.interval_s is not None:
        row["interval_s"] = sensor.interval_s
    adjusted = [
        field for field in sensor.driver.fields if field in {**sensor.offset, **sensor.factor}
    ]
    if adjusted:
        row["adjust"] = {
            field: [sensor.factor.get(field, 1.0), sensor.offset.get(field, 0.0)]
            for field in adjusted
        }
    if sensor.plausible:
        row["limits"] = {field: list(pair) for field, pair in sensor.plausible.items()}
    if sensor.options:
        row["options"] = dict(sensor.options)
    return row


def _divider(battery: Battery | None) -> dict[str, object] | None:
    if battery is None:
        return None
    described: dict[str, object] = {"pin": battery.pin, "ratio": battery.ratio}
    if battery.enable is not None:
        described |= {"switch": battery.enable.pin, "level": battery.enable.level}
    return described


def _radio(radio: Radio) -> dict[str, object]:
    """Return what the node's driver needs: all is polled over SPI and BUSY."""
    return {
        "chip": radio.chip,
        **{pin: getattr(radio, pin) for pin in ("sck", "miso", "mosi", "cs", "reset")},
        "busy": radio.busy if radio.chip == "sx1262" else None,
        "tcxo_mv": round((radio.tcxo_v or 0) * 1000),
        "dio2_switch": radio.dio2_switch,
    }


def ca_der(path: Path) -> bytes:
    """Return a CA certificate (PEM or DER file) as the DER that the node checks servers against.

    Raises CitynodeError (cannot be read, no certificate, a private key in it).
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CA_BYTES + 1)
    except OSError as error:
        raise CitynodeError(
            f"cannot read {path}: {error.strerror}", "give --ca the broker's CA certificate"
        ) from None
    if b"PRIVATE KEY" in data:
        raise CitynodeError(
            f"{path} holds a private key", "give --ca the certificate alone; the key stays secret"
        )
    try:
        if len(data) > _MAX_CA_BYTES:
            raise ValueError("too large")
        pem = b"-----BEGIN" in data
        certificate = (x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate)(
            data
        )
    except ValueError:
        raise CitynodeError(
            f"{path} is no certificate", "give --ca a CA certificate as PEM or DER"
        ) from None
    return certificate.public_bytes(Encoding.DER)

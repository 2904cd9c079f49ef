"""The profile of a board under test: quick to show something, and with what hangs on the board."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from citynode.hil.slots import Slot
from citynode.profiles import Profile, load_profile

# Sensors that a fixture can name, at the address that their boards usually have.
_ADDRESSES = {"bme280": 0x76, "sht4x": 0x44}
_INTERVAL_S = {"wifi": 1, "lorawan": 10}


def make(
    slot: Slot, network: str, uplink: Mapping[str, object], ntp: str, changes: Mapping[str, object]
) -> Profile:
    """Return the profile for a slot that sends over `network` ("wifi" or "lorawan").

    `changes` are keys of the profile that are to be other than usual. Raises CitynodeError.
    """
    values: dict[str, object] = {
        "description": "A board under test",
        "site": "hil",
        "interval_s": _INTERVAL_S[network],
        "health_s": 3600,
        "spool_kib": 64,
        **({"ntp": ntp} if network == "wifi" else {}),
        **changes,
    }
    if network == "wifi":
        sent: dict[str, object] = {"kind": "wifi", **uplink}
    else:
        sent = {"kind": "lorawan", "airtime_s_per_day": 864, "confirmed_every": 2}
    tables = "".join(
        f"\n[[sensors]]\n{_lines({'chip': chip, 'address': address})}"
        for chip, address in _sensors(slot)
    )
    text = f"{_lines(values)}{tables}\n[uplink]\n{_lines(sent)}"
    with tempfile.TemporaryDirectory(prefix="citynode-hil-") as folder:
        path = Path(folder) / "hil.toml"
        path.write_text(text, encoding="utf-8")
        return load_profile(str(path))


def _sensors(slot: Slot) -> list[tuple[str, int]]:
    """Return the sensors among a slot's fixtures; `bme280@0x77` tells another address."""
    found = []
    for fixture in slot.fixtures:
        chip, at, address = fixture.partition("@")
        if chip in _ADDRESSES:
            found.append((chip, int(address, 0) if at else _ADDRESSES[chip]))
    # A profile needs one: where none is, the node runs, and reports it as broken.
    return found or [("bme280", _ADDRESSES["bme280"])]


def _lines(values: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else f'"{value}"'
